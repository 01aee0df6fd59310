"""Streaming from object storage beside streaming from disk: cells/s and peak memory, on a generated atlas.

The server is moto's, in Python and on loopback: it measures what reading costs here, not what a network costs.
Writes ``results/object_storage.md``.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
from atlas import AtlasSettings
from fixtures import atlas_files, store_of
from harness import (
    Line,
    Step,
    machine,
    measured,
    passes_timed,
    run_step,
    table,
    take_turns,
    timed,
    work_folder,
    work_options,
    write_results,
)

import scnym

BUCKET = "cells"
LABEL = "cell_type"
PLACES = {"disk": "store on disk", "s3": "store in object storage"}


def stream(arguments: Sequence[str]) -> tuple[float, float]:
    """Stream shuffled batches of a store; a first pass warms up."""
    store = scnym.open_store(arguments[0])
    settings = scnym.StreamSettings(batch_size=256, class_balance="natural")
    codes_C = store.column(LABEL).cat.codes.to_numpy()
    batches = scnym.training_stream(store, codes_C, store.datasets[0].genes, settings, layout="csr")
    return passes_timed(lambda: sum(len(batch.labels) for batch in batches), n_passes=2)


def verify(arguments: Sequence[str]) -> tuple[float, float]:
    """Hash every file of a store."""
    report, seconds = timed(lambda: scnym.verify(arguments[0]))
    report.require_whole()
    return report.n_cells, seconds


STEPS: dict[str, Step] = {"stream": stream, "verify": verify}


@contextmanager
def server() -> Iterator[None]:
    """Run a server of S3 with an empty bucket, known to this process and those that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    account = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(account, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    try:
        for _ in range(100):
            try:
                urlopen(f"http://127.0.0.1:{port}/moto-api/").close()
                break
            except URLError:
                time.sleep(0.1)
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure, print and write the table."""
    parser = work_options(__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=20_000)
    options = parser.parse_args()
    with work_folder(options.work) as work, server():
        files = atlas_files(work, f"atlas_{options.cells}", AtlasSettings(n_cells=options.cells))
        places = {"disk": str(store_of(files, work / "cells.zarr")), "s3": f"s3://{BUCKET}/cells.zarr"}
        _, sending = timed(lambda: scnym.convert(files, places["s3"]))
        plan = {
            f"{step}, {place}": partial(measured, Path(__file__), step, where)
            for step in STEPS
            for place, where in places.items()
        }
        figures = take_turns(plan, options.rounds)
    lines = [
        Line(f"{step}, {words}", "", str(figures[f"{step}, {place}"]), None)
        for step in STEPS
        for place, words in PLACES.items()
    ]
    share = figures["stream, s3"].times(figures["stream, disk"])
    lines += [
        Line("streamed from object storage, as a share of the rate from disk", "", f"{share:.0%}", None),
        Line("convert and send", "", f"{options.cells / sending:,.0f} cells/s", None),
    ]
    text = (
        "# Object storage\n\n"
        f"A generated atlas of {options.cells:,} cells x 20,000 genes with 1,900 values a cell. Shuffled batches of\n"
        f"256 cells as CSR, all genes, two passes after one that warms up; medians of {options.rounds} rounds, each\n"
        "figure a process of its own; peak memory is that of the whole process, libraries included.\n"
        "The server is `moto`, written in Python, on loopback, and shares the cores with the reader: it is the limit\n"
        "here, and a real one has a network's delay in its place. The figures say that reading is bounded in memory\n"
        "and takes few requests; they do not say how fast a bucket is.\n"
        f"{machine()}. Written by `make bench-object-storage`.\n\n{table(lines)}\n"
    )
    write_results("object_storage", text, lines, figures)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STEPS:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
