"""The same seed on the same machine gives the same bytes, whatever the command; all but what holds times and memory."""

import contextlib
import json
import shlex
from pathlib import Path

import pytest
import torch
from killing import TIMES, tree, write_inputs
from typer.testing import CliRunner

from cli.main import app

TRAIN = (
    "--input_counts OUT/cells.zarr --out_path OUT --lower_group cell_type --n_folds 2 --n_epochs 2 --n_hidden 8 --json"
)
LINES = (
    "convert cells.h5ad OUT/cells.zarr --json",
    f"train_tissue_independent {TRAIN} --baseline --mixup_alpha 0.2 --checkpoint_every 1",
    f"train_tissue_dependent {TRAIN}",
    f"train_tissue_specific {TRAIN}",
    "compare OUT --json",
    "predict_cell_types --input_counts cells.h5ad --out_path OUT --model_path OUT/tissue_independent --smooth_k 5 "
    "--embedding --write_h5ad --json",
    "predict_cell_types --input_counts samples --out_path OUT/many --model_path model --by_sample --json",
    "find_cell_type_markers --model_path OUT/tissue_independent --input_counts OUT/cells.zarr --out_path OUT "
    "--n_steps 5 --n_restarts 2 --json",
    "evaluate OUT/predictions/predictions.csv cells.h5ad --lower_group cell_type --out_path OUT --json",
    "export OUT/cells.zarr OUT/cells.h5ad --json",
    "inspect OUT/cells.zarr --json",
    "inspect OUT/tissue_independent/all_data/model.safetensors --card OUT/card.md --json",
    "verify OUT/cells.zarr --json",
    "report OUT --json",
)


def printed_by(line: str, out: Path) -> str:
    result = CliRunner().invoke(app, shlex.split(line.replace("OUT", str(out))))
    assert result.exit_code == 0, result.output
    return result.stdout.replace(str(out), "OUT")


@pytest.mark.slow
def test_every_command_gives_the_same_bytes_twice(tmp_path: Path):
    write_inputs(tmp_path)
    with contextlib.chdir(tmp_path):
        printed_by(f"train_tissue_independent {TRAIN}".replace("OUT/cells.zarr", "cells.h5ad"), tmp_path / "first")
        (tmp_path / "first" / "tissue_independent").rename(tmp_path / "model")
        once, again = ([printed_by(line, tmp_path / name) for line in LINES] for name in ("run1", "run2"))
    for line, first, second in zip(LINES, once, again, strict=True):
        assert "by_sample" in line or first == second, line  # which prints the seconds of each sample
    found = [tree(tmp_path / name) for name in ("run1", "run2")]
    assert found[0].keys() == found[1].keys()
    assert not [name for name in found[0] if found[0][name] != found[1][name]]
    assert any(name.endswith(end) for name in found[0] for end in TIMES)


def test_the_number_of_threads_stands_in_the_parameters(tmp_path: Path):
    write_inputs(tmp_path)
    with contextlib.chdir(tmp_path):
        printed_by(f"train_tissue_independent {TRAIN}".replace("OUT/cells.zarr", "cells.h5ad"), tmp_path / "run")
    for name in ("fold00", "fold01", "all_data"):
        parameters = tmp_path / "run" / "tissue_independent" / name / f"{name}_parameters.json"
        assert json.loads(parameters.read_text())["threads"] == torch.get_num_threads()
