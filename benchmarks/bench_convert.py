"""How fast raw files become a store, and in how much memory, beside annbatch and pandas; what each profile costs.

Each figure is a process of its own; all take turns, round by round. Writes ``results/convert.md``. Needs the rivals
(`make bench-rivals`).
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from atlas import AtlasSettings
from fixtures import atlas_files, csv_table, store_of
from harness import (
    ROOT,
    Figure,
    Line,
    Rounds,
    growth_lines,
    machine,
    measured,
    ratio_line,
    run_step,
    table,
    take_turns,
    timed,
    work_folder,
    work_options,
    write_results,
)
from rivals import ANNBATCH

import scnym

PROFILES = ("fast", "small", "archive")
CLUSTERED = '{"cluster_by": "cell_type"}'
TABLES = {
    "20,000 genes x 2,000 cells": AtlasSettings(n_cells=2_000),
    "36,000 genes x 500 cells": AtlasSettings(n_cells=500, n_genes=36_000),
}
MIN_RATE, MIN_CLUSTERED_RATE = 15_000, 7_500
"""Cells per second."""
Plan = dict[str, Callable[[], Figure]]


def convert(arguments: Sequence[str]) -> tuple[float, float]:
    """Convert: INPUT, settings as JSON. The store goes away."""
    convert_files, settings = scnym.convert, scnym.ConvertSettings(**json.loads(arguments[1]))
    with tempfile.TemporaryDirectory(dir=Path(arguments[0]).parent) as folder:
        target = Path(folder) / "cells.zarr"
        _, seconds = timed(lambda: convert_files([arguments[0]], target, settings))
        return scnym.open_store(target).n_cells, seconds


def read_csv(arguments: Sequence[str]) -> tuple[float, float]:
    """Read a CSV with pandas: INPUT."""
    frame, seconds = timed(lambda: pd.read_csv(arguments[0], index_col=0))
    return len(frame), seconds


STEPS = {"convert": convert, "read_csv": read_csv}
OURS = partial(measured, Path(__file__), "convert")
PANDAS = partial(measured, Path(__file__), "read_csv")
STREAM = partial(measured, ROOT / "benchmarks" / "bench_stream.py", "stream")


def annbatch_create(atlas: Path) -> Figure:
    """Make annbatch's collection of an h5ad, which goes away."""
    with tempfile.TemporaryDirectory(dir=atlas.parent) as folder:
        script, target = ROOT / "benchmarks" / "annbatch_steps.py", Path(folder) / "collection.zarr"
        return measured(script, "create", atlas, target, python=ANNBATCH.python)


def plan_of(work: Path, atlas: Path) -> Plan:
    """Name everything that is timed on the smaller atlas."""
    plan: Plan = {
        "scnym": partial(OURS, atlas, "{}"),
        "annbatch": partial(annbatch_create, atlas),
        "scnym, clustered": partial(OURS, atlas, CLUSTERED),
    }
    for size, settings in TABLES.items():
        for suffix in (".csv", ".csv.gz"):
            path = csv_table(work / f"table_{settings.n_genes}{suffix}", settings)
            plan[f"scnym, {size}, {suffix}"] = partial(OURS, path, "{}")
            plan[f"pandas, {size}, {suffix}"] = partial(PANDAS, path)
    for profile in PROFILES:
        store = store_of([atlas], profile_store(work, profile), profile=profile)
        plan[f"convert, {profile}"] = partial(OURS, atlas, json.dumps({"profile": profile}))
        plan[f"stream, {profile}"] = partial(STREAM, store, "natural", "csr", 64, 2)
    return plan


def profile_store(work: Path, profile: str) -> Path:
    """Where the store of a codec profile is."""
    return work / f"profile_{profile}.zarr"


def bytes_per_value(store: Path) -> float:
    """Bytes on disk of a stored value with its gene."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in scnym.open_store(store).datasets)
    arrays = (folder for name in ("data", "indices") for folder in store.glob(f"dataset_*/X/{name}"))
    return sum(file.stat().st_size for folder in arrays for file in folder.rglob("*") if file.is_file()) / n_values


def rate_line(what: str, wanted: float, ours: Rounds) -> Line:
    """Make a line that passes when our rate is at least so many cells per second."""
    return Line(what, f"{wanted:,.0f} cells/s", str(ours), ours.rate >= wanted)


def speed_lines(figures: dict[str, Rounds]) -> list[Line]:
    """Hold the figures of the smaller atlas against their bars."""
    ours, theirs = figures["scnym"], figures["annbatch"]
    memory = ours.peak_bytes / theirs.peak_bytes
    share = f"{memory:.2f} x: {ours.peak_bytes / 1e6:,.0f} MB"
    lines = [
        rate_line("h5ad", MIN_RATE, ours),
        ratio_line("h5ad", 3, ours, {"annbatch, shuffled collection": theirs}),
        Line("h5ad: peak memory", f"a fifth of {theirs.peak_bytes / 1e6:,.0f} MB (annbatch)", share, memory <= 0.2),
        rate_line("h5ad, clustered by class", MIN_CLUSTERED_RATE, figures["scnym, clustered"]),
    ]
    for size in TABLES:
        for suffix in (".csv", ".csv.gz"):
            rival = {"pandas.read_csv": figures[f"pandas, {size}, {suffix}"]}
            lines.append(ratio_line(f"{suffix}, {size}", 1, figures[f"scnym, {size}, {suffix}"], rival))
    return lines


def profile_table(work: Path, figures: dict[str, Rounds]) -> str:
    """Format what each codec profile costs and saves."""
    lines = ["| profile | bytes per stored value | convert | stream, sparse |", "|---|---|---|---|"]
    lines += [
        f"| {profile} | {bytes_per_value(profile_store(work, profile)):.2f} | {figures[f'convert, {profile}']} "
        f"| {figures[f'stream, {profile}']} |"
        for profile in PROFILES
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = work_options("Measure the converter beside its rivals.")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[100_000], help="cells of the atlas, and of a larger one"
    )
    options = parser.parse_args()
    with work_folder(options.work) as work:
        atlases = [atlas_files(work, f"atlas_{n}", AtlasSettings(n_cells=n))[0] for n in options.cells[:2]]
        figures = take_turns(plan_of(work, atlases[0]), options.rounds)
        lines = speed_lines(figures)
        profiles = profile_table(work, figures)
        for n_large, large in zip(options.cells[1:], atlases[1:], strict=False):
            for what, settings in (("h5ad", "{}"), ("h5ad, clustered by class", CLUSTERED)):
                names = [f"{what}, {n:,} cells" for n in (options.cells[0], n_large)]
                sizes = zip(names, (atlases[0], large), strict=True)
                tenfold = take_turns({name: partial(OURS, path, settings) for name, path in sizes}, options.rounds)
                lines += growth_lines(f"{names[1]} beside {options.cells[0]:,}", *(tenfold[name] for name in names))
                figures |= tenfold
        for profile in PROFILES:
            shutil.rmtree(profile_store(work, profile), ignore_errors=True)
    text = f"""# The converter, beside its rivals

A synthetic atlas of {options.cells[0]:,} cells x 20,000 genes with 1,900 values a cell, an uncompressed CSR h5ad in the
page cache, and wide tables of counts as CSV. {options.rounds} rounds in which all take turns; medians of rates and of
the ratios inside a round. Each figure is a process of its own, whose peak memory is given; loading libraries is not
counted. A larger h5ad that does not fit into the page cache is read from the disk. {ANNBATCH.requirements[0]}.
{machine()}. Written by `make bench-convert`.

{table(lines)}

## Codec profiles

{profiles}
"""
    write_results("convert", text, lines, figures)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STEPS:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
