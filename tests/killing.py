"""Commands that are stopped at some moment.

Each runs in a process that was forked from one that has loaded all it needs, so that a moment falls into its work and
not into seconds of imports.
"""

import multiprocessing
import os
import resource
import shlex
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pandas as pd
from helpers import bytes_but_cost, clustered_adata, write_csv, write_h5ad, write_loom

LOADED = ("cli.main", "scnym", "anndata", "loompy", "numba", "torch", "zarr", "zarrs", "scnym.runs.training")
LOADED += ("scnym.runs.batch_prediction", "scnym.runs.export", "cli.tables", "cli.progress")
TIMES = {"_log.csv": ["cells_per_second", "wait_share"], "summary.csv": ["seconds"]}
"""The only times in tables: columns, by the end of the file's name."""
TRAINING = (
    "train_tissue_independent --input_counts cells.h5ad --out_path OUT --lower_group cell_type --n_folds 2 "
    "--n_epochs 4 --n_hidden 8 --batch_size 64 --checkpoint_every 2"
)
PREDICT = "predict_cell_types --model_path model/tissue_independent --out_path OUT"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that takes a while; OUT stands for its folder."""

    line: str
    goes_on: str = ""
    """What is added to the line to go on."""
    target: str
    """What stands there whole or not at all."""
    way_on: str
    """What is said of it after Ctrl-C."""


COMMANDS = {
    "convert": Command(
        line="convert cells.h5ad samples/b.csv samples/c.loom OUT/cells.zarr --training_metadata labels.csv "
        "--cluster_by cell_type",
        target="cells.zarr",
        way_on="the same command goes on",
    ),
    "train": Command(
        line=TRAINING,
        goes_on="--resume",
        target="tissue_independent",
        way_on="--resume, and without --overwrite, goes on",
    ),
    "predict": Command(
        line=f"{PREDICT} --input_counts cells.h5ad --embedding --write_h5ad",
        target="predictions",
        way_on="the same command begins again",
    ),
    "batch": Command(
        line=f"{PREDICT} --input_counts samples --by_sample",
        target="",
        way_on="does those that are not finished",
    ),
}


def write_inputs(folder: Path) -> None:
    """Write what the commands read, but for the model."""
    (folder / "samples").mkdir()
    for path, seed in ((folder / "cells.h5ad", 0), (folder / "samples" / "a.h5ad", 1)):
        adata = clustered_adata(300, seed=seed)
        adata.obs["tissue"] = [("lung", "liver")[row % 2] for row in range(300)]
        write_h5ad(path, adata)
    write_csv(folder / "samples" / "b.csv", clustered_adata(200, seed=2))
    write_loom(folder / "samples" / "c.loom", clustered_adata(150, seed=3))
    frames: list[Any] = [clustered_adata(n, seed=seed).obs for n, seed in ((300, 0), (200, 2), (150, 3))]
    labels = pd.concat(frames)
    labels.assign(sample=["cells.h5ad"] * 300 + ["b.csv"] * 200 + ["c.loom"] * 150).to_csv(
        folder / "labels.csv", index_label="cell_id"
    )


@dataclass
class Bench:
    """Starts commands beside their inputs; none of them writes there but into its own OUT."""

    folder: Path
    context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))
    undisturbed: dict[str, tuple[dict[str, bytes], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context.set_forkserver_preload(list(LOADED))
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the process from which the others are forked
        write_inputs(self.folder)
        self.require(TRAINING, self.folder / "model")

    def whole(self, name: str) -> tuple[dict[str, bytes], float]:
        """Return the output of a command that nothing disturbed, and the seconds that it took: the same twice."""
        if name not in self.undisturbed:
            for out in (self.folder / f"{name}_once", self.folder / f"{name}_again"):
                seconds = self.require(COMMANDS[name].line, out)
                found = tree(out)
                assert found == self.undisturbed.setdefault(name, (found, seconds))[0]
                self.undisturbed[name] = found, seconds
        return self.undisturbed[name]

    def require(self, line: str, out: Path) -> float:
        """Let a command run to its good end; give the seconds that it took."""
        code, seconds = self.run(line, out)
        assert code == 0, self.said(out)
        return seconds

    def run(self, line: str, out: Path, largest_file: int = resource.RLIM_INFINITY) -> tuple[int, float]:
        """Let a command run to its end; give its exit code and the seconds that it took."""
        process, began = self.begin(line, out, largest_file), time.monotonic()
        process.join()
        return process.exitcode, time.monotonic() - began

    def stopped(self, line: str, out: Path, after: float, by: signal.Signals) -> tuple[int, float]:
        """Stop a command some seconds after it has begun; give its exit code and the seconds that it took to end."""
        process = self.begin(line, out)
        process.join(after)
        told = time.monotonic()
        if process.is_alive():
            os.kill(process.pid, by)
        process.join()
        return process.exitcode, time.monotonic() - told

    def begin(self, line: str, out: Path, largest_file: int = resource.RLIM_INFINITY) -> Any:
        """Return the process of a command that has begun. What would make a file larger, in bytes, has no room."""
        ours, theirs = self.context.Pipe(duplex=False)
        arguments = (line.replace("OUT", str(out)), self.folder, self._log(out), largest_file, theirs)
        process = self.context.Process(target=_command, args=arguments)
        process.start()
        theirs.close()
        ours.recv()
        return process

    def said(self, out: Path) -> str:
        """Return what the last command with this output said."""
        return self._log(out).read_text()

    def _log(self, out: Path) -> Path:
        return self.folder / f"{out.name}.txt"


def _command(line: str, folder: Path, log: Path, largest_file: int, begun: Any) -> None:
    import torch

    import scnym.disk.dataset
    import scnym.runs.checkpoints
    from cli.main import app

    torch.set_num_threads(1)
    scnym.disk.dataset.MAX_BLOCK_ELEMENTS = 2_000  # many parts of few cells
    scnym.runs.checkpoints.SECONDS_BETWEEN = 0
    os.chdir(folder)
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(opened, stream)
    sys.stdout, sys.stderr = (TextIOWrapper(FileIO(stream, "w", closefd=False), encoding="utf-8") for stream in (1, 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    code: Any = 1
    begun.send(True)
    try:
        app(shlex.split(line))
    except SystemExit as end:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = end.code
    except BaseException:  # noqa: BLE001 - is judged by whoever reads it
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too, without times, memory and the folder's own name."""
    return {str(path.relative_to(folder)): _content(path, folder) for path in folder.rglob("*") if path.is_file()}


def _content(path: Path, folder: Path) -> bytes:
    for end, columns in TIMES.items():
        if path.name.endswith(end):
            return (
                pd.read_csv(path)
                .drop(columns=columns, errors="ignore")
                .to_csv()
                .encode()
                .replace(str(folder).encode(), b"OUT")
            )
    return bytes_but_cost(path).replace(str(folder).encode(), b"OUT")
