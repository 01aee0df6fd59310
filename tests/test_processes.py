"""Several processes train as one does: the same batches, the same losses to rounding, and one of them writes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import Mock

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_h5ad
from scipy import sparse
from test_resume import Interrupting, contents
from typer.testing import CliRunner

import scnym
import scnym.runs.checkpoints
from cli.main import app
from scnym import NetworkSettings, RunSettings, SplitSettings, StreamSettings, TrainSettings, convert, train
from scnym.base.errors import MissingInputError, ScnymError, SettingsError
from scnym.base.progress import SilentProgress
from scnym.base.workers import Launch
from scnym.disk.store import Store
from scnym.feed.stream import StreamDataset, training_stream
from scnym.model.distributed import ALONE, SharedBatchNorm, joined
from scnym.runs.checkpoints import BEGUN_FILE

pytestmark = pytest.mark.slow

SETTINGS = RunSettings(
    label_column="cell_type",
    split=SplitSettings(n_folds=2),
    stream=StreamSettings(batch_size=51),
    network=NetworkSettings(n_hidden=8),
    training=TrainSettings(n_epochs=3, refit_cells=0),
    n_top_genes=80,
    device="cpu",
)
WHOLE = replace(SETTINGS, baseline=True, training=replace(SETTINGS.training, refit_cells=1000))
MIXED = replace(SETTINGS, training=replace(SETTINGS.training, mixup_alpha=0.4))
RESUMED = replace(MIXED, resume=True)
ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


class Deaf(SilentProgress):
    """Must not be told anything."""

    def task(self, name, *, total, unit):
        raise AssertionError((name, total, unit))

    def say(self, line: str) -> None:
        raise AssertionError(line)


def work_of_one(folder: Path, number: int) -> None:
    """What each of two processes does; each is told of an output folder of its own."""
    scnym.runs.checkpoints.SECONDS_BETWEEN = 0
    out = folder / str(number)
    progress = Deaf() if number else SilentProgress()
    train(folder / "cells.h5ad", out / "whole", WHOLE, progress=progress)
    train(folder / "cells.h5ad", out / "begun_by_one", RESUMED, progress=progress)
    train(folder / "cells.h5ad", out / "begun_by_two", MIXED, progress=Deaf() if number else Interrupting(12))


def noisy_adata(n_cells: int = 240, n_genes: int = 120, n_classes: int = 3) -> anndata.AnnData:
    """Sparse counts of classes that overlap."""
    random = np.random.default_rng(0)
    codes = np.arange(n_cells) % n_classes
    means = np.full((n_classes, n_genes), 0.06)
    for code in range(n_classes):
        means[code, 8 * code : 8 * code + 8] = 0.3
    counts = random.poisson(means[codes] * random.uniform(0.5, 2, (n_cells, 1))).astype(np.float32)
    counts[:, -1] = 1
    obs = pd.DataFrame({"cell_type": [f"type {c}" for c in codes]}, index=[f"cell {k}" for k in range(n_cells)])
    var = pd.DataFrame(index=[f"gene {k}" for k in range(n_genes)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def by_two(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))),
    }
    return subprocess.run([*TORCHRUN, *arguments], env=environment, capture_output=True, text=True, check=False)


def begin(cells: Path, out: Path, n_batches: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scnym.runs.checkpoints, "SECONDS_BETWEEN", 0)
        with pytest.raises(KeyboardInterrupt):
            train(cells, out, MIXED, progress=Interrupting(n_batches))


@dataclass(frozen=True)
class Outputs:
    """What one process and two have made of the same cells."""

    folder: Path
    cells: Path
    one: Path
    one_mixed: Path
    two: Path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    folder = tmp_path_factory.mktemp("processes")
    cells = write_h5ad(folder / "cells.h5ad", noisy_adata())
    one = train(cells, folder / "one", WHOLE).folder
    one_mixed = train(cells, folder / "mixed", MIXED).folder
    begin(cells, folder / "0" / "begun_by_one", 12)
    done = by_two(__file__, str(folder))
    assert "KeyboardInterrupt" in done.stderr, done.stderr
    assert "AssertionError" not in done.stderr, done.stderr
    return Outputs(folder, cells, one, one_mixed, folder / "0" / "whole" / "tissue_independent")


def require_equal_to_rounding(ours: Path, theirs: Path) -> None:
    for fold in ("fold00", "fold01", "all_data"):
        logs = [pd.read_csv(run / fold / f"{fold}_log.csv") for run in (ours, theirs)]
        np.testing.assert_allclose(logs[0]["train_loss"], logs[1]["train_loss"], rtol=1e-5)
        # Biases in front of batch normalisation follow rounding alone, by Adam's steps; running means lag behind them.
        np.testing.assert_allclose(logs[0]["selection_loss"], logs[1]["selection_loss"], rtol=3e-3)
        parameters = [json.loads((run / fold / f"{fold}_parameters.json").read_text()) for run in (ours, theirs)]
        assert parameters[0]["best_epoch"] == parameters[1]["best_epoch"]
        assert parameters[0]["temperature"] == pytest.approx(parameters[1]["temperature"], rel=3e-3)
    tables = [pd.read_csv(run / "held_out_predictions.csv") for run in (ours, theirs)]
    assert tables[0]["cell_id"].tolist() == tables[1]["cell_id"].tolist()
    assert (tables[0]["predicted"] == tables[1]["predicted"]).mean() >= 0.99  # but where two classes are as likely
    np.testing.assert_allclose(tables[0]["confidence"], tables[1]["confidence"], atol=3e-3)


def test_two_processes_train_as_one_to_rounding(outputs: Outputs):
    require_equal_to_rounding(outputs.two, outputs.one)
    baselines = [json.loads((run / "metrics.json").read_text())["baseline"] for run in (outputs.two, outputs.one)]
    assert baselines[0]["held_out"]["mean_loss"] == pytest.approx(baselines[1]["held_out"]["mean_loss"], rel=1e-5)


def test_the_number_of_processes_stands_in_the_parameters_and_in_no_checkpoint(outputs: Outputs):
    for run, count in ((outputs.one, 1), (outputs.two, 2)):
        assert json.loads((run / "fold00" / "fold00_parameters.json").read_text())["processes"] == count
    states = outputs.folder / "0" / "begun_by_two" / ".tissue_independent.partial" / "states"
    kept = [torch.load(path, weights_only=True) for path in states.iterdir()]
    assert kept
    assert not any("processes" in state for state in kept)


def test_only_the_first_process_writes_and_it_writes_what_one_does(outputs: Outputs):
    assert not (outputs.folder / "1").exists()
    assert set(contents(outputs.two)) == set(contents(outputs.one))


def test_a_run_of_two_processes_that_was_interrupted_goes_on_with_one(outputs: Outputs):
    out = outputs.folder / "0" / "begun_by_two"
    begun = json.loads((out / ".tissue_independent.partial" / BEGUN_FILE).read_text())
    assert begun["identity"]["processes"] == 2
    require_equal_to_rounding(train(outputs.cells, out, RESUMED).folder, outputs.one_mixed)


def test_a_run_of_one_process_that_was_interrupted_goes_on_with_two(outputs: Outputs):
    require_equal_to_rounding(outputs.folder / "0" / "begun_by_one" / "tissue_independent", outputs.one_mixed)


def test_a_mistake_ends_all_processes_with_one_message(outputs: Outputs, tmp_path: Path):
    options = ["--input_counts", str(outputs.cells), "--lower_group", "nope", "--out_path", str(tmp_path / "out")]
    done = by_two("-m", "scnym.cli.main", "train_tissue_independent", *options)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1, done.stderr
    assert "there is no column 'nope'" in said[0]
    assert not done.stdout


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> StreamDataset:
    folder = tmp_path_factory.mktemp("stream")
    store = Store(convert([write_h5ad(folder / "cells.h5ad", noisy_adata())], folder / "cells.zarr"))
    codes_C = np.arange(240) % 3
    codes_C[::7] = -1
    settings = StreamSettings(batch_size=23, window_rows=64, block_rows=8)
    return training_stream(store, codes_C, store.datasets[0].genes, settings, layout="csr")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_shares_of_any_number_of_processes_make_the_same_batches(count: int, stream: StreamDataset):
    for epoch in (0, 3):
        whole = list(stream.epoch(epoch))
        shares = [list(stream.epoch(epoch, share=(number, count))) for number in range(count)]
        assert {len(share) for share in shares} == {stream.plan.n_batches} == {len(whole)}
        for batch, *parts in zip(whole, *shares, strict=True):
            sizes = [len(part.rows) for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert {part.whole_size for part in parts} == {len(batch.rows)}
            assert np.concatenate([part.rows for part in parts]).tolist() == batch.rows.tolist()
            assert torch.equal(torch.cat([part.x.to_dense() for part in parts]), batch.x.to_dense())
            assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)


def test_a_process_reads_no_row_of_another_share(stream: StreamDataset):
    read = [np.concatenate(list(stream._maker._wanted(1, range(len(stream)), (number, 3)))) for number in range(3)]
    assert [len(rows) for rows in read] == [sum(len(b.rows) for b in stream.epoch(1, share=(k, 3))) for k in range(3)]
    assert sum(map(len, read)) == stream.plan.n_draws


def test_batch_statistics_of_half_precision_are_those_of_whole_precision():
    x_BH = torch.randn(301, 4).mul(0.1).add(20).bfloat16()
    like, wanted = torch.nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4)
    shared = SharedBatchNorm(like, ALONE)
    torch.testing.assert_close(shared(x_BH), wanted(x_BH.float()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared.running_var, wanted.running_var)


def test_more_processes_than_cells_in_a_batch_are_refused(stream: StreamDataset):
    with pytest.raises(SettingsError, match=r"--batch_size: a batch of 2\d cells cannot be shared by 100 processes"):
        next(stream.epoch(0, share=(0, 100)))


def test_a_process_is_alone_unless_torchrun_has_told_it_everything(monkeypatch: pytest.MonkeyPatch):
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    assert Launch.of(told) == Launch(number=3, count=4, number_here=1)
    assert not Launch.of(told).is_first
    for name in told:
        assert Launch.of({k: value for k, value in told.items() if k != name}) == Launch()
        monkeypatch.delenv(name, raising=False)
    with joined(torch.device("mps")) as processes:
        assert processes is ALONE
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(SettingsError, match="several processes cannot train on mps; give --device cpu"),
        joined(torch.device("mps")),
    ):
        pass


@pytest.mark.parametrize(
    ("fault", "here", "said"),
    [
        (SettingsError("0 is not possible"), 0, True),
        (SettingsError("0 is not possible"), 1, False),
        (MissingInputError("there is no such store"), 1, True),
    ],
)
def test_what_one_process_alone_has_met_is_said_and_a_mistake_in_the_options_once_a_machine(
    fault: ScnymError, here: int, said: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scnym, "train", Mock(side_effect=fault))
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": str(here), "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    line = ["train_tissue_independent", "--input_counts", "x.zarr", "--lower_group", "type", "--out_path", "run"]
    done = CliRunner().invoke(app, line, env=told)
    assert done.exit_code == 2
    assert (str(fault) in done.stderr) == said


if __name__ == "__main__":
    work_of_one(Path(sys.argv[1]), Launch.of(os.environ).number)
