"""The command that is offered after a mistake: the user's own, put right, as a shell takes it."""

import contextlib
import json
import shlex
from pathlib import Path

import pytest
from every_command import prepare, run
from helpers import dense

from scnym.base.errors import ScnymError, SettingsError, command, meant


@pytest.fixture
def folder(tmp_path: Path):
    prepare(tmp_path)
    with contextlib.chdir(tmp_path):
        yield tmp_path


def offered(line: str) -> str | None:
    """The command that is offered after a line that fails."""
    lines = run(line, expect=2).stderr.splitlines()
    return next((one.removeprefix("try: ") for one in lines if one.startswith("try: ")), None)


@pytest.mark.parametrize(
    ("line", "better"),
    [
        ("convert cels.h5ad x.zarr", "scnym convert cells.h5ad x.zarr"),
        ("convert ./cels.h5ad x.zarr", "scnym convert cells.h5ad x.zarr"),
        ("convert cells.h5ad x", "scnym convert cells.h5ad x.zarr"),
        ("convert cells.h5ad x.zarr --profil small", "scnym convert cells.h5ad x.zarr --profile small"),
        ("convert cells.h5ad x.zarr --profil=small", "scnym convert cells.h5ad x.zarr --profile=small"),
        ("conver cells.h5ad x.zarr", "scnym convert cells.h5ad x.zarr"),
        ("convert cells.csv 'my x.zarr' --layer raw", "scnym convert cells.csv 'my x.zarr'"),
        ("convert cells.csv '$x;.zarr' --layer=raw -q", "scnym convert cells.csv '$x;.zarr' -q"),
        ("convert cells.h5ad x.zarr --cluster-by=Tissue", "scnym convert cells.h5ad x.zarr --cluster_by tissue"),
        ("data get toy_ --registry lab.json", "scnym data get toy --registry lab.json"),
        ("predict --help", "scnym predict_cell_types --help"),
        ("train --input_counts cells.h5ad", "scnym train_tissue_independent --input_counts cells.h5ad"),
        ("--input_counts cells.h5ad --lower_group cell_type", None),
        ("convert cells.h5ad x.zarr --profile smal", "scnym convert cells.h5ad x.zarr --profile small"),
        (
            "train_tissue_independent --input_counts cells.h5ad --out_path out --class_balance unifrom",
            "scnym train_tissue_independent --input_counts cells.h5ad --out_path out --class_balance uniform",
        ),
        ("data gte toy", "scnym data get toy"),
        ("inspect nothing_like_it.loom", None),
        ("convert", None),
    ],
)
def test_the_line_is_put_right(line: str, better: str | None, folder: Path):
    del folder
    assert offered(line) == better


def test_what_is_offered_works_with_odd_names_too(folder: Path):
    odd = "it's $HOME; really.zarr"
    run(shlex.join(["convert", "cells.h5ad", odd]))
    again = offered(shlex.join(["convert", "cells.h5ad", odd]))
    assert again is not None
    run(again.removeprefix("scnym "))
    assert [one.name for one in folder.glob("*really.zarr")] == [odd]


def test_machines_get_it_too(folder: Path):
    del folder
    error = json.loads(run("inspect cels.h5ad --json", expect=2).stdout)["error"]
    assert error["command"] == "scnym inspect cells.h5ad --json"


def test_counts_that_stand_elsewhere_in_an_h5ad_are_found(folder: Path):
    import anndata

    adata = anndata.read_h5ad("cells.h5ad")
    adata.layers["counts"] = dense(adata)
    adata.X = dense(adata) - 5
    adata.write_h5ad(folder / "scaled.h5ad")
    again = offered("convert scaled.h5ad x.zarr")
    assert again == "scnym convert scaled.h5ad x.zarr --layer counts"
    run(again.removeprefix("scnym "))


def test_a_command_is_quoted_and_a_name_is_guessed_only_where_it_is_like_one():
    assert command("verify", Path("a b.zarr")) == "scnym verify 'a b.zarr'"
    assert meant("--layer", "Counts", ["raw", "counts"]) == {"--layer": "counts"}
    assert meant("--layer", "x", ["raw", "counts"]) == {}
    assert meant("--layer", "x", ["raw"]) == {"--layer": "raw"}


def test_what_mends_travels_between_processes():
    import pickle

    fault = pickle.loads(pickle.dumps(SettingsError("no", mend={"--layer": None})))  # noqa: S301 - our own
    assert isinstance(fault, ScnymError)
    assert fault.mend == {"--layer": None}


def test_a_path_that_is_called_as_an_argument_is_changed_where_it_stands(folder: Path):
    (folder / "run").mkdir()
    (folder / "run" / "tissue_independent" / "all_data").mkdir(parents=True)
    (folder / "run" / "tissue_independent" / "all_data" / "model.safetensors").touch()
    assert offered("inspect run --card card.md") == "scnym inspect run/tissue_independent --card card.md"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inspect cells.h5ad --card", "Option '--card' requires an argument; give it: --card FILE.md"),
        ("train_tissue_independent --n_epochs ten", "--n_epochs: 'ten' is not a whole number; see"),
        ("train_tissue_independent --init_dropout 0,3", "--init_dropout: '0,3' is not a number; see"),
        ("train_tissue_independent --optimizer sgd", "--optimizer: 'sgd' is not one of 'mixed', 'adamw', 'adadelta'"),
    ],
)
def test_a_value_that_is_not_there_or_not_possible_is_named(line: str, said: str, folder: Path):
    del folder
    assert said in run(line, expect=2).stderr


def test_without_a_command_there_is_help_and_no_error():
    shown = run("", expect=2)
    assert "predict_cell_types" in shown.stdout + shown.stderr
    assert "error" not in shown.stderr
