"""Many files, shared out among processes: the same bytes, whoever dies; what fails is told of, the others are done."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from dying import KilledOnce
from helpers import bytes_but_cost, clustered_adata, write_csv, write_h5ad, write_loom
from typer.testing import CliRunner

from cli.main import app
from scnym import (
    ClusterSettings,
    NetworkSettings,
    RunSettings,
    SplitSettings,
    TrainSettings,
    convert,
    predict_samples,
    train,
)
from scnym.base.errors import (
    BusyError,
    FormatError,
    MissingInputError,
    OutputExistsError,
    ScnymError,
    SettingsError,
    UserError,
)
from scnym.base.progress import Sender, SilentProgress, Task
from scnym.base.workers import Outcome, _once_free, crew, results_of
from scnym.disk.atomic import locked
from scnym.disk.dataset import ENTRY
from scnym.runs.batch_prediction import _with_types

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of workers that are killed
]


class Told(SilentProgress):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: dict[str, int] = {}

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        del total, unit
        yield _Counter(self.done, name)

    def say(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class _Counter:
    done: dict[str, int]
    name: str

    def advance(self, amount: int, note: str = "") -> None:
        del note
        self.done[self.name] = self.done.get(self.name, 0) + amount


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of three formats."""
    folder = tmp_path_factory.mktemp("files")
    write_h5ad(folder / "a.h5ad", clustered_adata(90, seed=1))
    write_csv(folder / "b.csv.gz", clustered_adata(60, seed=2))
    write_loom(folder / "c.loom", clustered_adata(70, seed=3))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    quick = RunSettings(
        label_column="cell_type",
        split=SplitSettings(n_folds=0),
        network=NetworkSettings(n_hidden=16),
        training=TrainSettings(n_epochs=4),
    )
    train(write_h5ad(folder / "cells.h5ad", clustered_adata()), folder, quick)
    return folder / "tissue_independent"


@pytest.fixture(scope="module")
def running() -> Iterator:
    """A cluster that somebody else has started."""
    import logging

    from distributed import LocalCluster

    options: dict[str, Any] = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
    }
    # Dask sets OMP_NUM_THREADS for its workers, in this process too.
    with patch.dict(os.environ), LocalCluster(**options, silence_logs=logging.CRITICAL) as cluster:
        yield cluster


@pytest.fixture
def cluster(running) -> ClusterSettings:
    return ClusterSettings(scheduler=running.scheduler_address)


@pytest.fixture
def broken(files: Path, tmp_path: Path) -> Path:
    """A manifest whose second file is none."""
    (tmp_path / "broken.h5ad").write_bytes(b"no HDF5 at all")
    manifest = tmp_path / "samples.csv"
    names = {"first": files / "a.h5ad", "bad": "broken.h5ad", "last": files / "b.csv.gz"}
    manifest.write_text("sample,path\n" + "".join(f"{name},{path}\n" for name, path in names.items()))
    return manifest


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the table with times; the folder's own name does not count."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    own = str(folder).encode()
    return {name: bytes_but_cost(path).replace(own, b"HERE") for name, path in found.items() if name != "summary.csv"}


def trap(running, module: str, kind: str, function: str, marker: Path) -> None:
    from distributed import Client

    with Client(running.scheduler_address, set_as_default=False) as client:
        client.register_plugin(KilledOnce(module, kind, function, marker))


def test_a_cluster_converts_to_the_same_bytes_though_a_worker_is_killed(running, cluster, files: Path, tmp_path: Path):
    alone = convert([files], tmp_path / "alone.zarr")
    trap(running, "scnym.disk.parts", "Parts", "add", tmp_path / "killed")
    shared = convert([files], tmp_path / "shared.zarr", cluster=cluster)
    assert (tmp_path / "killed").exists()
    assert content(shared) == content(alone)
    assert not list(tmp_path.glob(".*"))


def test_workers_tell_how_many_cells_they_have_read(cluster, files: Path, tmp_path: Path):
    told = Told()
    convert([files], tmp_path / "shared.zarr", cluster=cluster, progress=told)
    sizes = {"a.h5ad": 90, "b.csv.gz": 60, "c.loom": 70}
    of_files = {f"{step} {name}": n_cells for name, n_cells in sizes.items() for step in ("convert", "write")}
    assert told.done == {"convert": 3, **of_files}


@contextmanager
def held_until_met(folder: Path, told: Told) -> Iterator[None]:
    """Hold what a job is to write, as a lost process does, until the job has been waiting for it."""
    holder = ExitStack()
    holder.enter_context(locked(folder, folder))

    def let_go() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(name.startswith("wait for") for name in told.done):
            time.sleep(0.05)
        holder.close()

    with ThreadPoolExecutor(1) as thread:
        freed = thread.submit(let_go)
        yield
        freed.result()
    assert any(str(name).startswith("wait for another process") for name in told.done)


def test_a_conversion_waits_for_a_process_that_is_lost_and_still_writes(cluster, files: Path, tmp_path: Path):
    told = Told()
    with held_until_met(tmp_path / ".shared.zarr.partial" / "dataset_0.lock", told):
        shared = convert([files], tmp_path / "shared.zarr", cluster=cluster, progress=told)
    assert content(shared) == content(convert([files], tmp_path / "alone.zarr"))


def test_a_prediction_waits_for_a_process_that_is_lost_and_still_labels(
    cluster, files: Path, model: Path, tmp_path: Path
):
    told = Told()
    with held_until_met(tmp_path / "predictions" / ".a.h5ad.lock", told):
        labelled = predict_samples(files, model, tmp_path, cluster=cluster, progress=told)
    labelled.require_all()
    assert not list(labelled.folder.glob(".*"))


def test_a_sample_that_a_lost_process_has_finished_is_not_labelled_again(
    files: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    labelled = predict_samples(files, model, tmp_path)
    monkeypatch.setattr("scnym.runs.batch_prediction._missing", lambda jobs, **_: [*range(len(jobs))])
    before = {path: path.stat().st_mtime_ns for path in labelled.folder.glob("*/*")}
    predict_samples(files, model, tmp_path).require_all()
    assert {path: path.stat().st_mtime_ns for path in labelled.folder.glob("*/*")} == before


def test_a_job_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    attempts: list[int] = []

    def work(*_: object) -> None:
        attempts.append(1)
        if len(attempts) > 5:
            raise AssertionError
        raise BusyError("another process is writing it")

    monkeypatch.setattr("scnym.base.workers.BUSY_SECONDS", 2)
    with pytest.raises(BusyError):
        _once_free(work, None, lambda: Sender("a call", 0, str))
    assert len(attempts) == 3


def test_a_cluster_labels_the_same_bytes_though_a_worker_is_killed(
    running, cluster, files: Path, model: Path, tmp_path: Path
):
    alone = predict_samples(files, model, tmp_path / "alone")
    trap(running, "scnym.results.scored_cells", "Answers", "put", tmp_path / "killed")
    shared = predict_samples(files, model, tmp_path / "shared", cluster=cluster)
    assert (tmp_path / "killed").exists()
    shared.require_all()
    assert {row["status"] for row in shared.rows} == {"labelled"}
    assert content(shared.folder).keys() == content(alone.folder).keys()
    for name, of_shared in content(shared.folder).items():
        assert of_shared == content(alone.folder)[name], name
    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        pd.read_csv(shared.table).drop(columns=drop), pd.read_csv(alone.table).drop(columns=drop)
    )


def test_a_broken_file_is_told_of_and_the_others_are_converted_once(cluster, broken: Path, tmp_path: Path):
    told, target = Told(), tmp_path / "atlas.zarr"
    with pytest.raises(FormatError, match=r"broken\.h5ad"):
        convert([broken], target, cluster=cluster, progress=told)
    assert any(line.startswith("failed: bad: ") for line in told.lines)
    assert any("2 finished inputs are kept" in line for line in told.lines)
    done = sorted((tmp_path / ".atlas.zarr.partial").glob(f"*/{ENTRY}"))
    before = [path.stat().st_mtime_ns for path in done]
    assert len(done) == 2
    with pytest.raises(FormatError, match=r"broken\.h5ad"):
        convert([broken], target, cluster=cluster)
    assert [path.stat().st_mtime_ns for path in done] == before
    write_h5ad(tmp_path / "broken.h5ad", clustered_adata(50, seed=4))
    convert([broken], target, cluster=cluster)
    assert content(target) == content(convert([broken], tmp_path / "alone.zarr"))


def test_a_broken_sample_is_a_row_with_its_reason_and_a_rerun_does_only_what_is_missing(
    running, broken: Path, model: Path, tmp_path: Path
):
    out = tmp_path / "out"
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": running.scheduler_address}))
    line = ["predict_cell_types", "--input_counts", broken, "--model_path", model, "--out_path", out]
    line += ["--scheduler_file", tmp_path / "scheduler.json"]
    first = CliRunner().invoke(app, [str(part) for part in line])
    assert first.exit_code == 2, first.output
    assert "broken.h5ad" in first.stderr
    table: Any = pd.read_csv(out / "predictions" / "summary.csv", index_col="sample")
    assert table["status"].to_dict() == {"first": "labelled", "bad": "failed", "last": "labelled"}
    assert "broken.h5ad" in table.loc["bad", "reason"]
    assert table.filter(like="n_cells_type").loc["first"].sum() == table.loc["first", "n_cells"] == 90
    kept = (out / "predictions" / "first" / "predictions.csv").stat().st_mtime_ns
    write_h5ad(tmp_path / "broken.h5ad", clustered_adata(50, seed=4))
    assert CliRunner().invoke(app, [str(part) for part in line]).exit_code == 0
    again: Any = pd.read_csv(out / "predictions" / "summary.csv", index_col="sample")
    assert set(again["status"]) == {"labelled"}
    assert again.loc["first", "seconds"] == table.loc["first", "seconds"]
    assert (out / "predictions" / "first" / "predictions.csv").stat().st_mtime_ns == kept


def test_a_type_may_be_called_as_a_column_of_the_table_is():
    row = {"sample": "a", "n_cells": 7, "n_empty_cells": 0, "n_unknown": 1}
    rows = [{**row, "cells_by_type": {"cells": 2, "unknown": 4}}, {**row, "n_cells": None, "cells_by_type": {}}]
    table: Any = _with_types(pd.DataFrame(rows), rows)
    assert table.loc[0, ["n_cells", "n_unknown", "n_cells_cells", "n_cells_unknown"]].tolist() == [7, 1, 2, 4]
    assert table.loc[1, ["n_cells", "n_cells_cells", "n_cells_unknown"]].isna().all()


def test_workers_of_its_own_give_the_same_store(files: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["convert", str(files), str(tmp_path / "two.zarr"), "--workers", "2"])
    assert done.exit_code == 0, done.output
    assert content(tmp_path / "two.zarr") == content(convert([files], tmp_path / "alone.zarr"))


def test_a_sample_that_was_labelled_by_another_model_is_not_replaced_unasked(files: Path, model: Path, tmp_path: Path):
    predict_samples(files / "a.h5ad", model, tmp_path)
    other = model / "all_data" / "model.safetensors"
    copy = tmp_path / "other.safetensors"
    copy.write_bytes(other.read_bytes())
    with pytest.raises(OutputExistsError, match=r"a\.h5ad"):
        predict_samples(files / "a.h5ad", copy, tmp_path)
    assert predict_samples(files / "a.h5ad", copy, tmp_path, overwrite=True).rows[0]["status"] == "labelled"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "foo://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_is_told_of_before_anything_is_written(
    address: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scnym.base.workers.CONNECT_SECONDS", 1)
    with pytest.raises(UserError, match="no Dask scheduler"):
        convert([files], tmp_path / "x.zarr", cluster=ClusterSettings(scheduler=address))
    assert not list(tmp_path.iterdir())


def test_a_scheduler_file_that_is_none_is_told_of(files: Path, tmp_path: Path):
    wrong = tmp_path / "wrong.json"
    with pytest.raises(MissingInputError, match="dask scheduler --scheduler-file"):
        convert([files], tmp_path / "x.zarr", cluster=ClusterSettings(scheduler_file=str(wrong)))
    wrong.write_text("{}")
    with pytest.raises(FormatError, match="not the file of a Dask scheduler"):
        convert([files], tmp_path / "x.zarr", cluster=ClusterSettings(scheduler_file=str(wrong)))


def test_one_way_to_a_cluster_is_given_and_no_more():
    with pytest.raises(SettingsError, match="give one of them"):
        ClusterSettings(workers=2, scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(SettingsError, match="give one of them"):
        ClusterSettings()
    with pytest.raises(SettingsError, match="1 or more"):
        ClusterSettings(workers=0)


def test_cells_in_memory_are_not_sent_to_other_processes(tmp_path: Path):
    with pytest.raises(SettingsError, match="in memory"):
        convert([clustered_adata(40)], tmp_path / "x.zarr", cluster=ClusterSettings(workers=2))


def test_of_several_faults_one_of_ours_is_raised_first():
    mine, ours = SettingsError("mistake"), ValueError("bug")
    with pytest.raises(ValueError, match="bug"):
        results_of([Outcome(fault=mine), Outcome(fault=ours), Outcome(1)], "jobs")
    with pytest.raises(ScnymError, match="2 of 3 jobs failed"):
        results_of([Outcome(fault=mine), Outcome(fault=mine), Outcome(1)], "jobs")


def test_workers_leave_the_environment_of_this_process_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with crew(ClusterSettings(workers=1)):
        pass
    assert dict(os.environ) == before


def test_processes_that_do_not_start_are_told_of(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(**_: Any):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", broken)
    with pytest.raises(UserError, match="__main__"):
        convert([files], tmp_path / "x.zarr", cluster=ClusterSettings(workers=2))


def test_a_sample_whose_file_is_not_there_fails_alone_and_keeps_what_it_had(files: Path, model: Path, tmp_path: Path):
    copy = tmp_path / "a.h5ad"
    copy.write_bytes((files / "a.h5ad").read_bytes())
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"path,sample\n{copy},A\n{files / 'b.csv.gz'},B\n{tmp_path / 'gone.h5ad'},C\n")
    for statuses in (["labelled", "labelled", "failed"], ["failed", "labelled", "failed"]):
        found = predict_samples(manifest, model, tmp_path / "out")
        assert [row["status"] for row in found.rows] == statuses
        assert "no such file" in found.rows[2]["reason"]
        copy.unlink(missing_ok=True)
    assert len(pd.read_csv(tmp_path / "out" / "predictions" / "A" / "predictions.csv")) == 90
