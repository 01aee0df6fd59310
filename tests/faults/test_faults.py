"""Every mistake of the table is explained, and loses nothing."""

import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
from faults.bench import QUICK, Bench, cells
from faults.fault import Fault
from faults.page import PAGE, page_of
from faults.table import FAULTS
from helpers import write_h5ad
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_mistake_is_one_line_with_place_and_way_out_and_changes_nothing(fault: Fault, bench: Bench):
    outcome = bench.outcome(fault)
    assert outcome.raised is None, outcome.stderr
    assert outcome.exit_code == fault.exit_code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert len(outcome.errors) == 1, outcome.stderr
    (said,) = outcome.errors
    assert said.startswith(fault.where)
    assert fault.says in said
    assert f"; {fault.way_out}" in said
    assert bool(outcome.stdout) == fault.prints, outcome.stdout
    changed = [name for name, content in outcome.before.items() if outcome.after.get(name, "gone") != content]
    assert not changed
    new = outcome.after.keys() - outcome.before.keys()
    assert not [name for name in sorted(new) if not any(fnmatch(name, pattern) for pattern in fault.leaves)]
    assert len(outcome.tries) <= 1
    assert f"error: {said}" not in outcome.after_trying, "the command that is offered meets the same mistake"


def test_many_mistakes_are_answered_with_a_command(bench: Bench):
    with_command = [fault.name for fault in FAULTS if bench.outcome(fault).tries]
    assert len(with_command) > 30


def test_the_page_of_mistakes_is_what_scnym_says_now(bench: Bench):
    assert PAGE.read_text(encoding="utf-8") == page_of(bench.outcome), "make faults"


def test_no_mistake_stands_twice():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))


def test_tissues_and_classes_that_are_no_file_names_are_learnt_inside_the_output(tmp_path: Path):
    adata = cells()
    adata.obs["tissue"] = adata.obs["tissue"].map({"lung": "../../x", "liver": "/a/b"})
    adata.obs["cell_type"] = adata.obs["cell_type"].map({"type 0": "../y", "type 1": "CON", "type 2": "a/b"})
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    counts = write_h5ad(folder / "cells.h5ad", adata)
    line = f"train_tissue_specific --input_counts {counts} --out_path {folder / 'out'} {QUICK}"
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 0, result.output
    assert len(list((folder / "out" / "tissues").glob("*/all_data/model.safetensors"))) == 2
    beside = {path for path in tmp_path.rglob("*") if folder / "out" not in (path, *path.parents)}
    assert beside == {folder.parent, folder, counts}
