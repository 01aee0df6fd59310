"""Runs that are interrupted go on, and end in the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import bytes_but_cost, clustered_adata, write_h5ad

import scnym.runs.checkpoints
import scnym.runs.cross_validation
import scnym.runs.fold_training
from scnym import (
    ConvertSettings,
    NetworkSettings,
    RunSettings,
    SplitSettings,
    StreamSettings,
    TrainSettings,
    convert,
    train,
)
from scnym.base.errors import FormatError, NoRoomError, OutputExistsError, ScnymError, SettingsError
from scnym.base.progress import SilentProgress
from scnym.runs.checkpoints import Checkpoints

SETTINGS = RunSettings(
    label_column="cell_type",
    split=SplitSettings(n_folds=2),
    stream=StreamSettings(batch_size=32),
    network=NetworkSettings(n_hidden=8),
    training=TrainSettings(n_epochs=5, checkpoint_every=2, mixup_alpha=0.2, refit_cells=0),
    n_top_genes=40,
)
RESUMED = replace(SETTINGS, resume=True)
TIMES = ["cells_per_second", "wait_share"]
BATCHES = 5 * (4 + 4 + 6)  # five epochs of two folds, of 108 cells each, and of the final model, of 216


class Interrupting(SilentProgress):
    """Interrupts training after so many batches."""

    def __init__(self, n_batches: int, of_task: str = "train") -> None:
        self.left, self.of_task = n_batches, of_task
        self.tasks: list[str] = []

    @contextmanager
    def task(self, name, *, total, unit):
        del total, unit
        self.tasks.append(name)
        yield self

    def advance(self, amount: int, note: str = "") -> None:
        if amount and not note:
            self.left -= 1
            if self.left < 0 and self.tasks[-1].startswith(self.of_task):
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    return convert([write_h5ad(folder / "cells.h5ad", clustered_adata(240))], folder / "cells.zarr")


@pytest.fixture(scope="module")
def undisturbed(cells: Path) -> dict[str, bytes | str]:
    return contents(train(cells, cells.parent / "whole", SETTINGS).folder)


def contents(run: Path) -> dict[str, bytes | str]:
    """Every file; logs without their times."""
    files = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    return {
        name: pd.read_csv(path).drop(columns=TIMES).to_csv() if name.endswith("_log.csv") else bytes_but_cost(path)
        for name, path in files.items()
    }


def interrupted(cells: Path, out: Path, n_batches: int, settings: RunSettings = SETTINGS) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(cells, out, settings, progress=Interrupting(n_batches))
    assert not (out / "tissue_independent").exists()


@pytest.mark.parametrize("n_batches", [6, 19, 43, 69])
def test_a_run_that_was_interrupted_anywhere_ends_in_the_same_bytes(
    n_batches: int, cells: Path, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scnym.runs.checkpoints, "SECONDS_BETWEEN", 0)
    interrupted(cells, tmp_path, n_batches)
    assert contents(train(cells, tmp_path, RESUMED).folder) == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tissue_independent"]


def test_a_run_that_was_interrupted_while_it_learned_from_its_selection_cells_ends_in_the_same_bytes(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scnym.runs.checkpoints, "SECONDS_BETWEEN", 0)
    settings = replace(SETTINGS, training=replace(SETTINGS.training, refit_cells=1000))
    whole = contents(train(cells, tmp_path / "whole", settings).folder)
    with pytest.raises(KeyboardInterrupt):
        train(cells, tmp_path / "out", settings, progress=Interrupting(22, "train fold00 on its selection cells"))
    assert contents(train(cells, tmp_path / "out", replace(settings, resume=True)).folder) == whole


def test_the_baseline_goes_on_too(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scnym.runs.checkpoints, "SECONDS_BETWEEN", 0)
    settings = replace(SETTINGS, baseline=True)
    whole = train(cells, tmp_path / "whole", settings).folder
    with pytest.raises(KeyboardInterrupt):
        train(cells, tmp_path / "out", settings, progress=Interrupting(30, "baseline"))
    heard = Interrupting(1000)
    again = train(cells, tmp_path / "out", replace(settings, resume=True), progress=heard).folder
    assert contents(again) == contents(whole)
    assert heard.tasks == ["baseline fold00", "train fold01", "baseline fold01", "train all_data"]


def test_a_run_that_is_interrupted_again_and_again_ends_in_the_same_bytes(
    cells: Path, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scnym.runs.checkpoints, "SECONDS_BETWEEN", 0)
    interrupted(cells, tmp_path, 7)
    n_attempts = 1
    while not (tmp_path / "tissue_independent").exists():
        n_attempts += 1
        try:
            train(cells, tmp_path, RESUMED, progress=Interrupting(9))
        except KeyboardInterrupt:
            assert n_attempts < BATCHES
    assert n_attempts > 5
    assert contents(tmp_path / "tissue_independent") == undisturbed


def test_finished_folds_are_not_repeated_and_epochs_are_not_kept_too_often(cells: Path, undisturbed, tmp_path: Path):
    interrupted(cells, tmp_path, 30)
    states = tmp_path / ".tissue_independent.partial" / "states"
    assert [path.name for path in states.iterdir()] == ["fold00.finished.pt"]
    heard = Interrupting(1000)
    assert contents(train(cells, tmp_path, RESUMED, progress=heard).folder) == undisturbed
    assert heard.tasks == ["train fold01", "train all_data"]


def test_without_resume_an_unfinished_run_is_in_the_way(cells: Path, undisturbed, tmp_path: Path):
    interrupted(cells, tmp_path, 30)
    with pytest.raises(OutputExistsError, match=r"unfinished run .* --resume to go on, or --overwrite to start anew"):
        train(cells, tmp_path, SETTINGS)
    heard = Interrupting(1000)
    train(cells, tmp_path, replace(SETTINGS, overwrite=True), progress=heard)
    assert heard.tasks == ["train fold00", "train fold01", "train all_data"]
    assert contents(tmp_path / "tissue_independent") == undisturbed


def test_nothing_to_resume_just_starts_and_a_finished_run_says_so(cells: Path, undisturbed, tmp_path: Path):
    interrupted(cells, tmp_path, 3)  # nothing was kept yet
    train(cells, tmp_path, SETTINGS)
    with pytest.raises(OutputExistsError, match="the run is finished, nothing is left to do"):
        train(cells, tmp_path, RESUMED)
    assert contents(train(cells, tmp_path / "new", RESUMED).folder) == undisturbed
    with pytest.raises(SettingsError, match="one of --resume and --overwrite"):
        replace(SETTINGS, resume=True, overwrite=True)


def test_an_overwriting_run_that_was_interrupted_goes_on_and_the_old_one_stands_until_then(cells: Path, tmp_path: Path):
    first = train(cells, tmp_path, replace(SETTINGS, training=TrainSettings(n_epochs=1)))
    old = contents(first.folder)
    with pytest.raises(KeyboardInterrupt):
        train(cells, tmp_path, replace(SETTINGS, overwrite=True), progress=Interrupting(30))
    assert contents(first.folder) == old
    assert contents(train(cells, tmp_path, RESUMED).folder) != old


def test_other_settings_data_or_versions_are_refused_and_named(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted(cells, tmp_path, 30)
    other = replace(RESUMED, training=replace(SETTINGS.training, n_epochs=6))
    with pytest.raises(SettingsError, match=r"another run: settings\.training\.n_epochs was 5, is 6; .*--overwrite"):
        train(cells, tmp_path, other)
    changed = write_h5ad(tmp_path / "changed.h5ad", clustered_adata(240, seed=1))
    with pytest.raises(SettingsError, match=r"counts was .*labels was"):
        train(changed, tmp_path, RESUMED)
    with monkeypatch.context() as patch:
        patch.setattr(scnym.runs.cross_validation, "version", lambda _: "0.0")
        with pytest.raises(SettingsError, match=r"versions\.scnym was '1.*', is '0\.0'"):
            train(cells, tmp_path, RESUMED)
    train(cells, tmp_path, RESUMED)  # what was finished is still there


def test_other_library_sizes_are_other_data(tmp_path: Path):
    adata = clustered_adata(240)
    adata.obs["total"] = 1000.0
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with pytest.raises(KeyboardInterrupt):
        train(path, tmp_path, SETTINGS, progress=Interrupting(30))
    other = replace(RESUMED, convert=ConvertSettings(library_size_column="total"))
    with pytest.raises(SettingsError, match="library_sizes"):
        train(path, tmp_path, other)


def test_a_full_disk_keeps_what_is_finished(cells: Path, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(scnym.runs.cross_validation, "_write_summary", full)
        with pytest.raises(NoRoomError, match=r"tissue_independent: no space .*--resume"):
            train(cells, tmp_path, SETTINGS)
    heard = Interrupting(1000)
    assert contents(train(cells, tmp_path, RESUMED, progress=heard).folder) == undisturbed
    assert heard.tasks == []


def test_a_full_disk_is_an_error_of_the_system_and_leaves_the_last_checkpoint(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "states")
    checkpoints.finish("fold00", {"x": torch.arange(3)})
    (tmp_path / "states" / "fold00.finished.pt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        checkpoints.finish("fold00", {"x": torch.zeros(10**6)})
    kept = checkpoints.finished("fold00")
    assert kept is not None
    assert kept["x"].tolist() == [0, 1, 2]


def test_a_damaged_checkpoint_is_named_and_nothing_in_it_is_executed(cells: Path, tmp_path: Path):
    interrupted(cells, tmp_path, 30)
    state = tmp_path / ".tissue_independent.partial" / "states" / "fold00.finished.pt"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    torch.save({"log": Bomb()}, state)
    with pytest.raises(FormatError, match=r"fold00\.finished\.pt: a damaged checkpoint.*--overwrite"):
        train(cells, tmp_path, RESUMED)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", ["something else", "another fold's"])
def test_a_state_that_is_not_this_folds_is_refused_before_anything_is_trained(
    cells: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
):
    interrupted(cells, tmp_path, 30)
    state = tmp_path / ".tissue_independent.partial" / "states" / "fold00.finished.pt"
    other = {"x": 1} if content == "something else" else {**torch.load(state), "cells": "those of another fold"}
    torch.save(other, state)
    monkeypatch.setattr("scnym.runs.fold_training._learnt", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(FormatError, match=r"fold00\.finished\.pt: a damaged checkpoint.*--overwrite"):
        train(cells, tmp_path, RESUMED)


def test_a_checkpoint_that_goes_while_later_folds_train_is_missed(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, states = scnym.runs.cross_validation.run_fold, tmp_path / ".tissue_independent.partial" / "states"

    def losing(job, fold, *rest):
        real(job, fold, *rest)
        (states / "fold00.finished.pt").unlink(missing_ok=True)

    monkeypatch.setattr(scnym.runs.cross_validation, "run_fold", losing)
    with pytest.raises(ScnymError, match=r"the checkpoint of 'fold00' has gone; .* --resume goes on"):
        train(cells, tmp_path, SETTINGS)


KILLED = """
import sys
import scnym.runs.checkpoints as checkpoints
from scnym import train
sys.path.insert(0, {tests!r})
from test_resume import SETTINGS
checkpoints.SECONDS_BETWEEN = 0
train({cells!r}, {out!r}, SETTINGS)
"""


@pytest.mark.slow
def test_a_run_that_was_killed_ends_in_the_same_bytes(cells: Path, undisturbed, tmp_path: Path):
    script = KILLED.format(tests=str(Path(__file__).parent), cells=str(cells), out=str(tmp_path))
    states = tmp_path / ".tissue_independent.partial" / "states"
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
    while not (states / "fold01.unfinished.pt").exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert contents(train(cells, tmp_path, RESUMED).folder) == undisturbed


def test_what_was_begun_can_be_read_by_a_person(cells: Path, tmp_path: Path):
    interrupted(cells, tmp_path, 30)
    begun = json.loads((tmp_path / ".tissue_independent.partial" / "begun.json").read_text())
    assert begun["identity"]["settings"]["training"]["n_epochs"] == 5


def test_a_damaged_record_of_what_was_begun_is_told_of_and_overwrite_starts_anew(cells: Path, tmp_path: Path):
    begun = tmp_path / ".tissue_independent.partial" / "begun.json"
    (begun.parent / "states").mkdir(parents=True)
    (begun.parent / "states" / "fold00.finished.pt").write_bytes(b"")
    begun.write_text("{")
    for settings in (SETTINGS, RESUMED):
        with pytest.raises(FormatError, match=r"begun\.json: .*--overwrite"):
            train(cells, tmp_path, settings)
    quick = replace(SETTINGS, overwrite=True, split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=1))
    assert train(cells, tmp_path, quick).model_path.is_file()
    assert not begun.parent.exists()
