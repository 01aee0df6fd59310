"""Every command on a few cells, in an order in which each finds what it needs, with options that make it tell most."""

import hashlib
import json
import shlex
from pathlib import Path

from faults.bench import QUICK, cells
from helpers import write_h5ad, write_text
from typer.testing import CliRunner, Result

from cli.main import app

_CELLS = "--input_counts cells.zarr"
_LABEL = f"predict_cell_types {_CELLS} --model_path run"
_SEARCH = "find_cell_type_markers --model_path run/tissue_independent --n_steps 5 --n_restarts 1"
LINES = {
    "convert": "convert cells.h5ad cells.zarr",
    "inspect a raw file": "inspect cells.h5ad",
    "inspect a table": "inspect cells.csv",
    "inspect a store": "inspect cells.zarr",
    "verify": "verify cells.zarr",
    "export": "export cells.zarr cells_again.h5ad",
    "train_tissue_independent": f"train_tissue_independent {_CELLS} --out_path run {QUICK} --baseline",
    "train_tissue_dependent": f"train_tissue_dependent {_CELLS} --out_path run {QUICK}",
    "train_tissue_specific": f"train_tissue_specific {_CELLS} --out_path run {QUICK}",
    "train without folds": f"train_tissue_independent {_CELLS} --out_path final {QUICK} --n_folds 0",
    "inspect a model": "inspect run/tissue_dependent/all_data/model.safetensors",
    "compare": "compare run",
    "predict_cell_types": f"{_LABEL}/tissue_independent --out_path run",
    "predict_cell_types by tissue": f"{_LABEL}/tissues --out_path by_tissue --min_confidence 0.6",
    "predict_cell_types --by_sample": f"{_LABEL}/tissue_independent --out_path samples --by_sample",
    "find_cell_type_markers": f"{_SEARCH} --out_path run",
    "find_cell_type_markers with cells": f"{_SEARCH} --out_path tested {_CELLS}",
    "evaluate": "evaluate run/predictions/predictions.csv cells.zarr",
    "evaluate by tissue": "evaluate by_tissue/predictions/predictions.csv cells.zarr --out_path by_tissue",
    "report": "report run",
    "data list": "data list",
    "data get": "data get toy --registry lab.json",
}


def run(line: str, expect: int = 0) -> Result:
    """Run a command, without ``scnym``, in this process and folder."""
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == expect, f"scnym {line}\n{result.output}"
    return result


def prepare(folder: Path) -> None:
    """Write what the first commands read."""
    write_h5ad(folder / "cells.h5ad", cells())
    table = write_text(folder / "cells.csv", "cell,a,b\nx,1,2\n")
    lab = {"name": "cells.csv", "url": table.as_uri(), "sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
    entry = {"title": "Toy", "files": [lab], "page": "https://lab.example", "licence": "CC0", "citation": "nobody"}
    write_text(folder / "lab.json", json.dumps({"toy": entry}))
