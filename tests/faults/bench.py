"""Where mistakes are made: a folder each, with copies of finished things beside it; and what came of them."""

import contextlib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import anndata
from faults.fault import Fault
from helpers import clustered_adata, write_h5ad
from typer.testing import CliRunner

from cli.main import app

QUICK = "--n_folds 2 --n_epochs 1 --n_hidden 4 --batch_size 64 --lower_group cell_type"
TRAIN = f"train_tissue_independent --input_counts cells.zarr --out_path run {QUICK}"
MODEL = "run/tissue_independent"
READY = {
    "cells.zarr": "convert cells.h5ad cells.zarr",
    "run/tissue_independent": TRAIN,
    "run/tissue_dependent": TRAIN.replace("independent", "dependent"),
    "run/tissues": TRAIN.replace("independent", "specific"),
    "run/predictions": f"predict_cell_types --input_counts cells.zarr --out_path run --model_path {MODEL}",
    "run/tissue_ind_class_optimums": f"find_cell_type_markers --model_path {MODEL} --out_path run "
    "--n_steps 5 --n_restarts 1",
    "run/evaluation": "evaluate run/predictions/predictions.csv cells.zarr --out_path run",
}
"""What is at hand in a bench, beside ``cells.h5ad``, and the commands that make it; and ``unfinished``, a run that was
interrupted when all of its folds were finished."""

Tree = dict[str, bytes | None]


@dataclass(frozen=True)
class Outcome:
    """What came of a mistake."""

    exit_code: int
    stdout: str
    stderr: str
    raised: BaseException | None
    """What came out of the command other than an exit."""
    before: Tree
    after: Tree
    after_trying: str = ""
    """What the command that is said to work says on stderr."""

    @property
    def tries(self) -> list[str]:
        """The commands that are said to work."""
        lines = self.stderr.splitlines()
        return [line.removeprefix("try: ") for line in lines if line.startswith("try: ")]

    @property
    def errors(self) -> list[str]:
        """The lines that begin with `error:`, without that word."""
        lines = self.stderr.splitlines()
        return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


class Bench:
    """Runs each mistake once.

    Parameters
    ----------
    folder
        An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._ready = self._folder / "ready"
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, fault: Fault) -> Outcome:
        """Return what comes of a mistake; it is made when it is asked for first."""
        if fault.name not in self._outcomes:
            self._outcomes[fault.name] = self._made(fault)
        return self._outcomes[fault.name]

    def _made(self, fault: Fault) -> Outcome:
        folder = Path(mkdtemp(dir=self._folder))
        for name in fault.needs:
            _copy(self._at_hand() / name, folder / name)
        fault.make(folder)
        before = _tree(folder)
        with contextlib.chdir(folder):
            result = CliRunner().invoke(app, shlex.split(fault.line))
        stderr = result.stderr.replace(f"{folder}/", "")
        raised = None if isinstance(result.exception, SystemExit) else result.exception
        after = _tree(folder)
        outcome = Outcome(result.exit_code, result.stdout, stderr, raised, before, after)
        with contextlib.chdir(folder):
            tried = [CliRunner().invoke(app, shlex.split(line)[1:]).stderr for line in outcome.tries]
        _remove(folder)
        return replace(outcome, after_trying="".join(tried).replace(f"{folder}/", ""))

    def _at_hand(self) -> Path:
        """Return the folder of finished things, which are made once."""
        if not self._ready.is_dir():
            self._ready.mkdir()
            with contextlib.chdir(self._ready):
                _make_ready()
        return self._ready


def cells() -> anndata.AnnData:
    """Return cells of three types, two tissues and three donors."""
    adata = clustered_adata(72, n_genes=12)
    adata.obs["tissue"] = [("lung", "liver")[row % 2] for row in range(72)]
    adata.obs["donor"] = [f"donor {row % 3}" for row in range(72)]
    return adata


def _make_ready() -> None:
    write_h5ad(Path("cells.h5ad"), cells())
    for line in READY.values():
        _run(line)
    with mock.patch("scnym.runs.cross_validation._write_summary", side_effect=KeyboardInterrupt):
        _run(TRAIN.replace("--out_path run", "--out_path unfinished"), expect=130)


def _run(line: str, expect: int = 0) -> None:
    result = CliRunner().invoke(app, shlex.split(line))
    if result.exit_code != expect:
        sys.exit(f"scnym {line}\n{result.output}")


def _tree(folder: Path) -> Tree:
    """Return every file below a folder with its bytes, and every folder; links are not followed."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and os.access(path, os.R_OK)
        found[str(path.relative_to(folder))] = path.read_bytes() if is_file else None
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def _remove(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)
    folder.chmod(0o700)
    shutil.rmtree(folder)
