"""Whole runs: the output tree, no leaks, the same bytes twice, and labels for new cells."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import clustered_adata, dense, write_csv, write_h5ad, write_loom, write_text
from killing import tree
from scipy import sparse

import scnym.runs.cross_validation
import scnym.runs.fold_training
from scnym import (
    ConvertSettings,
    NetworkSettings,
    PredictSettings,
    RunSettings,
    Snapshot,
    SplitSettings,
    Store,
    StreamSettings,
    TrainSettings,
    convert,
    predict,
    train,
)
from scnym.base.errors import DataError, FormatError, MissingInputError, OutputExistsError, SettingsError, UserError
from scnym.base.progress import SilentProgress
from scnym.base.text_columns import unguarded
from scnym.results.metrics import expected_calibration_error

FOLD_FILES = [
    *("train_idx.csv", "test_idx.csv", "val_idx.csv", "predictions.csv", "labels.csv"),
    *("00_best_model_weights.pkl", "model.safetensors"),
]
TOP_FILES = [
    *("celltype_label.csv", "fold_eval_acc.csv", "fold_eval_losses.csv"),
    *("held_out_predictions.csv", "metrics.json", "report.html", "figures.json", "cell_map.csv", "cost.json"),
]


def quick(**changes) -> RunSettings:
    content = {
        "label_column": "cell_type",
        "split": SplitSettings(n_folds=3),
        "stream": StreamSettings(batch_size=32),
        "network": NetworkSettings(n_hidden=16),
        "training": TrainSettings(n_epochs=6, checkpoint_every=2),
        **changes,
    }
    return RunSettings(**content)


class Listener(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    adata = clustered_adata()
    adata.obs["tissue"] = [f"tissue of {name}" for name in adata.obs_names]
    train(write_h5ad(folder / "cells.h5ad", adata), folder / "out", quick())
    return folder


def test_every_file_of_the_output_tree_is_there_and_nothing_else(finished: Path):
    out = finished / "out" / "tissue_independent"
    folds = ["fold00", "fold01", "fold02", "all_data"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*TOP_FILES, *folds])
    for fold in folds:
        own = [f"{fold}_log.csv", f"{fold}_parameters.json", "model_weights_004.pkl", "model_weights_006.pkl"]
        own += ["model_card.md"] if fold == "all_data" else []
        assert sorted(path.name for path in (out / fold).iterdir()) == sorted([*FOLD_FILES, *own])
    assert sorted(path.name for path in (finished / "out").iterdir()) == ["cache", "tissue_independent"]


def test_index_files_name_cells_by_id_and_row_and_share_none(finished: Path):
    out = finished / "out" / "tissue_independent"
    held_out = []
    for fold in ("fold00", "fold01", "fold02"):
        parts = [pd.read_csv(out / fold / f"{part}_idx.csv") for part in ("train", "test", "val")]
        for part in parts:
            assert list(part["cell_id"]) == [f"cell {row}" for row in part["row"]]
        together = pd.concat(parts)["cell_id"]
        assert together.is_unique
        assert len(together) == 300
        held_out.append(parts[2]["cell_id"])
    assert sorted(pd.concat(held_out)) == sorted(f"cell {k}" for k in range(300))
    assert pd.read_csv(out / "all_data" / "val_idx.csv").empty


def test_a_folds_predictions_are_about_its_held_out_cells_and_agree_with_the_figures(finished: Path):
    out = finished / "out" / "tissue_independent"
    accuracies = pd.read_csv(out / "fold_eval_acc.csv").set_index("fold")["accuracy"]
    losses = pd.read_csv(out / "fold_eval_losses.csv").set_index("fold")["loss"]
    for fold in ("fold00", "fold01", "fold02"):
        predictions = pd.read_csv(out / fold / "predictions.csv")
        labels = pd.read_csv(out / fold / "labels.csv")
        held_out = pd.read_csv(out / fold / "val_idx.csv")
        assert set(predictions["cell_id"]) == set(held_out["cell_id"])
        assert list(predictions["cell_id"]) == list(labels["cell_id"])
        assert accuracies[fold] == pytest.approx((predictions["cell_type"] == labels["cell_type"]).mean(), abs=1e-5)
        assert losses[fold] > 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["held_out"]["n_cells"] == 300
    assert metrics["held_out"]["accuracy"] > 0.9
    assert np.sum(metrics["held_out"]["confusion"]) == 300
    assert metrics["spread"]["accuracy"]["mean"] == pytest.approx(accuracies.mean(), abs=1e-5)


def test_the_held_out_predictions_of_all_folds_stand_in_one_file_and_give_the_figures(finished: Path):
    out = finished / "out" / "tissue_independent"
    table = pd.read_csv(out / "held_out_predictions.csv")
    columns = "cell_id fold cell_type predicted confidence margin second second_confidence tissue"
    assert list(table) == columns.split()
    adata = clustered_adata()
    assert list(table["cell_id"]) == list(adata.obs_names)
    assert list(table["cell_type"]) == list(adata.obs["cell_type"])
    assert list(table["tissue"]) == [f"tissue of {name}" for name in adata.obs_names]
    for name, rows in table.groupby("fold"):
        own = pd.read_csv(out / str(name) / "predictions.csv").rename(columns={"cell_type": "predicted"})
        found = rows[list(own)].set_index("cell_id")
        pd.testing.assert_frame_equal(found, own.set_index("cell_id").loc[found.index])
    held_out = json.loads((out / "metrics.json").read_text())["held_out"]
    assert held_out["accuracy"] == pytest.approx((table["cell_type"] == table["predicted"]).mean())
    correct = (table["cell_type"] == table["predicted"]).to_numpy()
    error = expected_calibration_error(table["confidence"].to_numpy(), correct)
    assert held_out["calibration_error"] == pytest.approx(error, abs=1e-3)


def test_the_figures_say_how_much_the_temperature_gains_and_how_far_the_folds_differ(finished: Path):
    metrics = json.loads((finished / "out" / "tissue_independent" / "metrics.json").read_text())
    for name in ("accuracy", "macro_f1", "calibration_error", "calibration_error_uncalibrated"):
        by_fold = np.array([fold[name] for fold in metrics["folds"]])
        assert metrics["spread"][name] == {
            "mean": pytest.approx(by_fold.mean()), "sd": pytest.approx(by_fold.std(ddof=1))
        }  # fmt: skip
    assert metrics["held_out"]["calibration_error"] != metrics["held_out"]["calibration_error_uncalibrated"]
    assert set(metrics["spread"]["per_class"]) == {"type 0", "type 1", "type 2"}
    assert metrics["spread"]["per_class"]["type 1"]["recall"]["mean"] > 0.8


def test_the_log_and_the_parameters_say_what_happened(finished: Path):
    folder = finished / "out" / "tissue_independent" / "fold00"
    log = pd.read_csv(folder / "fold00_log.csv")
    assert list(log["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert (log["cells_per_second"] > 0).all()
    assert log["wait_share"].between(0, 1).all()
    assert log["selection_macro_f1"].iloc[-1] > 0.8
    parameters = json.loads((folder / "fold00_parameters.json").read_text())
    assert parameters["settings"]["split"]["n_folds"] == 3
    assert parameters["best_epoch"] == 1 + int(log["selection_loss"].to_numpy().argmin())
    assert parameters["cells"] == {"train": 180, "selection": 20, "held_out": 100}


def test_the_bare_weights_are_those_of_the_model_file(finished: Path):
    folder = finished / "out" / "tissue_independent" / "all_data"
    weights = torch.load(folder / "00_best_model_weights.pkl", weights_only=True)
    state = Snapshot.load(folder / "model.safetensors").network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())


def test_the_report_stands_alone_and_shows_the_figures(finished: Path):
    out = finished / "out" / "tissue_independent"
    page = (out / "report.html").read_text()
    accuracy = json.loads((out / "metrics.json").read_text())["held_out"]["accuracy"]
    assert f"{accuracy:.3f}" in page
    assert "default-src 'none'" in page  # so that a browser loads nothing from elsewhere
    for name in ("type 0", "type 1", "type 2"):
        assert name in page


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(finished: Path, tmp_path: Path):
    train(finished / "cells.h5ad", tmp_path / "again", quick())
    seeded = {"split": SplitSettings(n_folds=3, seed=1), "training": TrainSettings(n_epochs=6, seed=1)}
    train(finished / "cells.h5ad", tmp_path / "other", quick(**seeded))

    def contents(out: Path) -> dict[str, bytes]:
        # Time and memory are left out there, and stand in the logs.
        return {name: content for name, content in tree(out).items() if not name.endswith("_log.csv")}

    first = contents(finished / "out" / "tissue_independent")
    assert contents(tmp_path / "again" / "tissue_independent") == first
    other = contents(tmp_path / "other" / "tissue_independent")
    assert other["fold00/predictions.csv"] != first["fold00/predictions.csv"]


def test_balance_scaling_and_training_see_the_training_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: dict[str, set[int]] = {}
    original = scnym.runs.fold_training.run_fold

    def spied(job, fold, number, folder, checkpoints, progress):
        rows: set[int] = set()

        def noting(function):
            def stream(*arguments, **options):
                made = function(*arguments, **options)
                epoch = made.epoch
                made.epoch = lambda *a, **k: (rows.update(batch.rows.tolist()) or batch for batch in epoch(*a, **k))
                return made

            return stream

        with monkeypatch.context() as patch:
            patch.setattr(scnym.runs.fold_training, "training_stream", noting(scnym.runs.fold_training.training_stream))
            patch.setattr(
                scnym.runs.fold_training,
                "gene_variances",
                lambda stream, _: rows.update(*(batch.rows.tolist() for batch in stream)) or np.ones(stream.n_genes),
            )
            original(job, fold, number, folder, checkpoints, progress)
        drawn[fold.name] = rows
        assert rows == set(fold.train.tolist())
        assert not rows & set(fold.held_out.tolist())
        assert not rows & set(fold.selection.tolist())

    monkeypatch.setattr(scnym.runs.cross_validation, "run_fold", spied)
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata(shares=[0.8, 0.15, 0.05]))
    settings = quick(
        stream=StreamSettings(batch_size=32, class_balance="uniform"), training=TrainSettings(n_epochs=6, refit_cells=0)
    )
    train(path, tmp_path / "out", settings)
    assert set(drawn) == {"fold00", "fold01", "fold02", "all_data"}


def test_donors_are_kept_whole_and_what_that_means_is_said(tmp_path: Path):
    adata = clustered_adata(120)
    kinds = adata.obs["cell_type"]
    donor_of = {f"cell {k}": "donor 1" if kinds.iloc[k] == "type 2" else f"donor {k % 4}" for k in range(120)}
    adata.obs["donor"] = list(donor_of.values())
    path, heard = write_h5ad(tmp_path / "cells.h5ad", adata), Listener()
    settings = quick(split=SplitSettings(n_folds=2, group_column="donor"), training=TrainSettings(n_epochs=1))
    run = train(path, tmp_path / "out", settings, progress=heard).folder
    for fold in ("fold00", "fold01"):
        cells = {part: pd.read_csv(run / fold / f"{part}_idx.csv")["cell_id"] for part in ("train", "test", "val")}
        donors = {part: {donor_of[cell] for cell in ids} for part, ids in cells.items()}
        assert not donors["val"] & (donors["train"] | donors["test"])
        parameters = json.loads((run / fold / f"{fold}_parameters.json").read_text())
        assert parameters["split"] == {"held_out_by": "group", "selection_by": "cell"}
    assert "classes that live in one donor only, and are unknown where that is held out: 'type 2'" in heard.lines
    assert heard.lines[-1] == (
        "4 groups (donor) are kept whole; selection cells are set aside by cell, where whole groups would be too few"
    )


def test_groups_that_make_no_sense_are_mistakes_with_the_way_out(tmp_path: Path):
    adata = clustered_adata(60)
    adata.obs["donor"] = ["a", "b", *[None] * 2, *"abab" * 14]
    path = write_h5ad(tmp_path / "cells.h5ad", adata)

    def refused(match: str, column: str, n_folds: int = 2) -> None:
        with pytest.raises(DataError, match=match):
            train(path, tmp_path / "out", quick(split=SplitSettings(n_folds=n_folds, group_column=column)))

    refused(r"no column 'doner'.*give --cv_group one of .*'donor'", "doner")
    refused(r"2 labelled cells have no group in column 'donor': 'cell 2', 'cell 3'", "donor")
    adata.obs["donor"] = ["a", "b"] * 30
    write_h5ad(path, adata)
    refused("2 groups with labelled cells are fewer than 3 folds", "donor", n_folds=3)


@pytest.mark.parametrize("option", ["--lower_group", "--cv_group"])
def test_a_column_that_is_not_there_is_missed_before_anything_is_converted(option: str, tmp_path: Path):
    column = {"--lower_group": "cell_typ", "--cv_group": "cell_type"}[option]
    split = SplitSettings(group_column="doner" if option == "--cv_group" else None)
    settings = RunSettings(label_column=column, split=split)
    with pytest.raises(DataError, match=f"give {option} one of .*'cell_type'"):
        scnym.train(write_h5ad(tmp_path / "cells.h5ad"), tmp_path / "out", settings)
    assert not list(tmp_path.rglob("*.zarr"))


def test_a_column_that_gets_another_name_in_a_store_is_known_by_it(tmp_path: Path):
    adata = clustered_adata(60)
    obs: Any = adata.obs
    adata.obs = obs.rename(columns={"cell_type": "source"})
    run = train(write_h5ad(tmp_path / "cells.h5ad", adata), tmp_path / "out", quick(label_column="source_input"))
    assert run.labels.classes == tuple(sorted(set(adata.obs["source"])))


def test_a_logistic_regression_on_the_same_folds_shows_what_the_network_adds(finished: Path, tmp_path: Path):
    summary = train(finished / "cells.h5ad", tmp_path / "out", quick(baseline=True))
    metrics = json.loads((summary.folder / "metrics.json").read_text())
    baseline, gain = metrics["baseline"], metrics["baseline"]["network_adds"]["accuracy"]
    assert baseline["held_out"]["n_cells"] == 300
    assert baseline["held_out"]["accuracy"] > 0.9
    pairs = zip(metrics["folds"], baseline["folds"], strict=True)
    differences = [ours["accuracy"] - theirs["accuracy"] for ours, theirs in pairs]
    assert gain == {"mean": pytest.approx(np.mean(differences)), "sd": pytest.approx(np.std(differences, ddof=1))}
    table = pd.read_csv(summary.folder / "fold_eval_acc.csv")
    assert list(table) == ["fold", "accuracy", "baseline_accuracy"]
    assert list(table["baseline_accuracy"]) == pytest.approx([fold["accuracy"] for fold in baseline["folds"]], abs=1e-5)
    page = (summary.folder / "report.html").read_text()
    assert "What the network adds" in page
    assert f"{baseline['held_out']['accuracy']:.3f}" in page
    without = finished / "out" / "tissue_independent"
    assert "What the network adds" not in (without / "report.html").read_text()
    model = "fold00/model.safetensors"  # the network itself is none the worse for it
    assert (summary.folder / model).read_bytes() == (without / model).read_bytes()
    with pytest.raises(SettingsError, match="--n_folds 2 or more"):
        quick(baseline=True, split=SplitSettings(n_folds=0))


def test_few_selection_cells_are_learned_from_once_they_have_judged_but_never_held_out_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, refitted = write_h5ad(tmp_path / "cells.h5ad", clustered_adata()), []
    original = scnym.runs.fold_training.refit

    def spied(network, stream, *arguments, **options):
        refitted.append({row for batch in stream.epoch(0) for row in batch.rows.tolist()})
        original(network, stream, *arguments, **options)

    monkeypatch.setattr(scnym.runs.fold_training, "refit", spied)
    few = train(path, tmp_path / "few", quick())
    for result, rows in zip([*few.folds, few.final], refitted, strict=True):
        assert rows == set(result.fold.train.tolist()) | set(result.fold.selection.tolist())
        assert not rows & set(result.fold.held_out.tolist())
    many = train(path, tmp_path / "many", quick(training=TrainSettings(n_epochs=6, refit_cells=299)))
    assert len(refitted) == 4 + 3  # the folds have 200 cells to learn from, the final model 300
    assert few.final.metrics.summary() == many.final.metrics.summary()
    weights = [Snapshot.load(run.model_path).network.first.weight for run in (few, many)]
    assert not torch.equal(*weights)


def test_no_folds_trains_the_final_model_only(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata())
    summary = train(path, tmp_path / "out", quick(split=SplitSettings(n_folds=0)))
    assert summary.held_out is None
    assert sorted(p.name for p in summary.folder.iterdir() if p.is_dir()) == ["all_data"]
    assert "No cross-validation" in (summary.folder / "report.html").read_text()


def test_cells_without_labels_are_left_out_and_rare_classes_where_that_is_asked_for(tmp_path: Path):
    adata = clustered_adata()
    kinds = adata.obs["cell_type"].astype(object)
    kinds.iloc[:10] = np.nan
    kinds.iloc[10:12] = "rare"
    adata.obs["cell_type"] = kinds.astype("category")
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with_rare = train(path, tmp_path / "with", quick(training=TrainSettings(n_epochs=1)))
    assert with_rare.labels.classes == ("rare", "type 0", "type 1", "type 2")
    assert with_rare.held_out is not None
    assert with_rare.held_out.per_class.loc["rare", "support"] == 2
    summary = train(path, tmp_path / "out", quick(split=SplitSettings(n_folds=3, min_cells_per_class=5)))
    assert summary.labels.classes == ("type 0", "type 1", "type 2")
    assert (summary.labels.n_unlabelled, summary.labels.n_rare) == (10, 2)
    assert summary.held_out is not None
    assert summary.held_out.n_cells == 288


def test_labels_may_come_from_a_table_in_any_order(tmp_path: Path):
    adata = clustered_adata()
    obs: Any = adata.obs
    table = obs.rename_axis("barcode").reset_index().sample(frac=1, random_state=0)
    table.to_csv(tmp_path / "labels.csv", index=False)
    counts = write_csv(tmp_path / "cells.csv", adata)
    settings = quick(training_metadata=str(tmp_path / "labels.csv"), split=SplitSettings(n_folds=0))
    assert train(counts, tmp_path / "out", settings).final.metrics.accuracy > 0.9
    table.iloc[1:].to_csv(tmp_path / "labels.csv", index=False)
    heard = Listener()
    summary = train(counts, tmp_path / "half", settings, progress=heard)
    assert summary.labels.n_unlabelled == 1
    lost = f"1 of 300 cells have no row in labels.csv, such as '{table['barcode'].iloc[0]}'; they stay without its"
    assert lost in "\n".join(heard.lines)
    assert "1 of 300 cells without a label are left out" in heard.lines
    table.assign(barcode="x").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataError, match="no column holds the ids"):
        train(counts, tmp_path / "other", settings)


def test_a_gene_list_limits_what_the_network_reads(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata())
    genes = write_text(tmp_path / "genes.txt", "gene 5\ngene 1\nunknown\ngene 21\ngene 41\n")
    summary = train(path, tmp_path / "out", quick(genes_to_use=str(genes), split=SplitSettings(n_folds=0)))
    assert Snapshot.load(summary.model_path).card.genes == ("gene 1", "gene 5", "gene 21", "gene 41")
    with pytest.raises(DataError, match="none of these genes"):
        train(path, tmp_path / "no", quick(genes_to_use=str(write_text(tmp_path / "g.txt", "x\n"))))
    with pytest.raises(MissingInputError):
        train(path, tmp_path / "no", quick(genes_to_use="nowhere.txt"))


def test_each_fold_reads_the_genes_that_vary_most_among_its_training_cells_whatever_the_held_out_ones_are(
    tmp_path: Path,
):
    adata, settings = clustered_adata(), quick(n_top_genes=20, training=TrainSettings(n_epochs=2))
    first = train(write_h5ad(tmp_path / "cells.h5ad", adata), tmp_path / "out", settings)
    held_out = pd.read_csv(first.folder / "fold00" / "val_idx.csv")["row"].to_numpy()
    changed = dense(adata).copy()
    changed[np.ix_(held_out, range(50, 60))] = np.random.default_rng(0).integers(0, 300, (len(held_out), 10))
    adata.X = sparse.csr_matrix(changed)
    again = train(write_h5ad(tmp_path / "changed.h5ad", adata), tmp_path / "again", settings)
    models = {
        (fold, run): Snapshot.load(folder / fold / "model.safetensors")
        for fold in ("fold00", "fold01")
        for run, folder in (("first", first.folder), ("again", again.folder))
    }
    one, two = models["fold00", "first"], models["fold00", "again"]
    assert one.card.genes == two.card.genes
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True))
    assert models["fold01", "first"].card.genes != models["fold01", "again"].card.genes
    assert {f"gene {k}" for k in range(50, 60)} <= set(models["fold01", "again"].card.genes)
    assert (len(one.card.genes), first.n_genes) == (20, 20)
    table = predict(tmp_path / "cells.h5ad", first.model_path, tmp_path / "out").folder / "predictions.csv"
    assert (pd.read_csv(table)["cell_type"] == clustered_adata().obs["cell_type"].to_numpy()).mean() > 0.8


def test_a_raw_input_is_converted_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import scnym.runs.inputs

    calls = []
    monkeypatch.setattr(scnym.runs.inputs, "convert", lambda *a, **k: calls.append(a) or convert(*a, **k))
    path, settings = write_h5ad(tmp_path / "cells.h5ad", clustered_adata()), quick(split=SplitSettings(n_folds=0))
    train(path, tmp_path / "out", settings)
    train(path, tmp_path / "out", RunSettings(**{**vars(settings), "overwrite": True}))
    assert len(calls) == 1
    write_h5ad(path, clustered_adata(290))
    train(path, tmp_path / "out", RunSettings(**{**vars(settings), "overwrite": True}))
    assert len(calls) == 2


def test_existing_output_is_refused_and_untouched_and_a_failed_overwrite_keeps_it(tmp_path: Path):
    path, settings = write_h5ad(tmp_path / "cells.h5ad", clustered_adata()), quick(split=SplitSettings(n_folds=0))
    summary = train(path, tmp_path / "out", settings)
    before = summary.model_path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        train(path, tmp_path / "out", settings)
    with pytest.raises(UserError):
        train(path, tmp_path / "out", quick(label_column="nope", overwrite=True))
    assert summary.model_path.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cache", "tissue_independent"]


def predictions_for(adata: anndata.AnnData, finished: Path, folder: Path, **changes) -> tuple[pd.DataFrame, Any]:
    folder.mkdir(exist_ok=True)
    model = finished / "out" / "tissue_independent" / "all_data" / "model.safetensors"
    summary = predict(write_h5ad(folder / "new.h5ad", adata), model, folder / "out", PredictSettings(**changes))
    return pd.read_csv(folder / "out" / "predictions" / "predictions.csv"), summary


def test_new_cells_are_labelled_by_id_with_confidence_and_coverage(finished: Path, tmp_path: Path):
    adata = clustered_adata(100, seed=7)
    table, _ = predictions_for(adata, finished, tmp_path)
    assert list(table["cell_id"]) == list(adata.obs_names)
    assert (table["cell_type"].to_numpy() == adata.obs["cell_type"].to_numpy()).mean() > 0.9
    assert table["confidence"].between(1 / 3, 1).all()
    np.testing.assert_allclose(table["margin"], table["confidence"] - table["second_confidence"], atol=1e-5)
    written = json.loads((tmp_path / "out" / "predictions" / "summary.json").read_text())
    assert written["coverage"] == {"n_genes": 60, "n_found": 60, "share": 1.0, "weighted_share": pytest.approx(1.0)}
    assert sum(written["cells_by_type"].values()) == 100


def test_genes_in_another_order_and_unknown_ones_change_nothing(finished: Path, tmp_path: Path):
    adata = clustered_adata(50, seed=7)
    expected, _ = predictions_for(adata, finished, tmp_path / "a")
    adata.obs["n"] = dense(adata).sum(axis=1)
    shuffled = adata[:, np.random.default_rng(0).permutation(60)].copy()
    found, _ = predictions_for(shuffled, finished, tmp_path / "b")
    pd.testing.assert_frame_equal(found, expected, atol=1e-5)


def test_missing_genes_count_as_zero_and_lower_the_coverage(finished: Path, tmp_path: Path):
    adata = clustered_adata(50, seed=7)
    adata.obs["n"] = dense(adata).sum(axis=1)
    zeroed = adata.copy()
    zeroed.X = sparse.csr_matrix(np.where(np.arange(60) < 45, dense(adata), 0))
    model = finished / "out" / "tissue_independent" / "all_data" / "model.safetensors"
    tables = []
    for name, cells in (("zeroed", zeroed), ("missing", adata[:, :45].copy())):
        path = write_h5ad(tmp_path / f"{name}.h5ad", cells)
        settings = ConvertSettings(library_size_column="n")
        summary = predict(path, model, tmp_path / name, convert_settings=settings)
        tables.append(pd.read_csv(summary.folder / "predictions.csv"))
    assert summary.coverage.n_found == 45
    assert summary.coverage.share == 0.75
    pd.testing.assert_frame_equal(*tables, atol=1e-6)


def test_too_few_shared_genes_are_refused_with_the_reason(finished: Path, tmp_path: Path):
    adata = clustered_adata(20, seed=7)
    adata.var_names = [f"ENSG{k:011d}" for k in range(60)]
    with pytest.raises(DataError, match=r"has 0 of the model's 60 genes.*Ensembl id") as caught:
        predictions_for(adata, finished, tmp_path)
    assert "new.h5ad" in caught.value.message
    assert not (tmp_path / "out" / "predictions").exists()
    adata.var_names = [f"gene {k}" if k < 30 else f"other {k}" for k in range(60)]
    with pytest.raises(DataError, match="has 30 of the model's 60 genes"):
        predictions_for(adata, finished, tmp_path, min_gene_coverage=0.6)


def test_one_cell_and_cells_without_counts_get_finite_labels(finished: Path, tmp_path: Path):
    adata = clustered_adata(37, seed=7)[:1].copy()
    table, summary = predictions_for(adata, finished, tmp_path / "one")
    assert len(table) == 1
    empty = clustered_adata(37, seed=7)[:3].copy()
    empty.X = sparse.csr_matrix(np.zeros((3, 60), np.float32))
    table, summary = predictions_for(empty, finished, tmp_path / "none")
    assert np.isfinite(table["confidence"]).all()
    assert summary.n_empty_cells == 3


@pytest.mark.parametrize("write", [write_csv, write_loom])
def test_every_format_gives_the_same_predictions(finished: Path, tmp_path: Path, write):
    adata = clustered_adata(40, seed=7)
    expected, _ = predictions_for(adata, finished, tmp_path / "a")
    path = write(tmp_path / f"cells.{write.__name__.removeprefix('write_')}", adata)
    model = finished / "out" / "tissue_independent" / "all_data" / "model.safetensors"
    predict(path, model, tmp_path / "b")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "b" / "predictions" / "predictions.csv"), expected)


def test_bare_weights_label_like_the_model_they_belong_to(finished: Path, tmp_path: Path):
    run = finished / "out" / "tissue_independent"
    cells = write_h5ad(tmp_path / "new.h5ad", clustered_adata(40, seed=7))
    genes = write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(60)))
    weights = run / "all_data" / "00_best_model_weights.pkl"
    expected = pd.read_csv(
        predict(cells, weights.with_name("model.safetensors"), tmp_path / "a").folder / "predictions.csv"
    )
    beside = pd.read_csv(predict(cells, weights, tmp_path / "b").folder / "predictions.csv")
    pd.testing.assert_frame_equal(beside, expected)
    (tmp_path / "bare").mkdir()
    for file in (weights, run / "celltype_label.csv"):
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "bare" / weights.name
    bare = pd.read_csv(predict(cells, weights, tmp_path / "c", training_gene_names=genes).folder / "predictions.csv")
    assert list(bare["cell_type"]) == list(expected["cell_type"])
    with pytest.raises(MissingInputError, match="--training_gene_names"):
        predict(cells, weights, tmp_path / "d")
    write_text(genes, "gene 1\ngene 2\n")
    with pytest.raises(FormatError, match="do not fit 2 genes"):
        predict(cells, weights, tmp_path / "d", training_gene_names=genes)


def test_a_store_may_be_given_in_place_of_a_file(finished: Path, tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "new.h5ad", clustered_adata(20, seed=7))], tmp_path / "new.zarr")
    model = finished / "out" / "tissue_independent" / "all_data" / "model.safetensors"
    assert predict(store, model, tmp_path / "out").n_cells == Store(store).n_cells
    assert not (tmp_path / "out" / "cache").exists()


def test_a_batch_size_of_two_and_an_odd_number_of_cells_train(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata(61))
    for batch_size in (2, 53):  # 54 training cells: one is left over after a batch of 53
        settings = quick(
            stream=StreamSettings(batch_size=batch_size),
            split=SplitSettings(n_folds=0),
            training=TrainSettings(n_epochs=1),
        )
        train(path, tmp_path / f"out{batch_size}", settings)


@pytest.mark.parametrize(
    "name", ["$x_$", "$\\foo{$", "../../x", "a/b", "<script>alert(1)</script>", "=cmd()", "é" * 300]
)
def test_class_names_of_any_kind_go_through_a_whole_run(name: str, tmp_path: Path):
    adata = clustered_adata(120)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).replace("type 1", name)
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    summary = train(path, tmp_path / "out", quick(split=SplitSettings(n_folds=2), training=TrainSettings(n_epochs=1)))
    assert name in pd.read_csv(summary.folder / "celltype_label.csv")["cell_type"].map(unguarded).tolist()
    assert "<script>alert" not in (summary.folder / "report.html").read_text()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"cache", "tissue_independent"}


def test_only_a_run_is_ever_replaced(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata())
    precious = tmp_path / "out" / "tissue_independent" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("x")
    with pytest.raises(OutputExistsError, match="something else stands there"):
        train(path, tmp_path / "out", quick(overwrite=True))
    assert precious.read_text() == "x"


def test_editing_the_genes_file_converts_again(tmp_path: Path):
    counts = dense(clustered_adata(90, 6)).astype(int)
    table = write_text(tmp_path / "cells.csv", "\n".join(",".join(map(str, row)) for row in counts) + "\n")
    labels = pd.DataFrame(
        {"id": [f"cell_{k}" for k in range(90)], "cell_type": clustered_adata(90, 6).obs["cell_type"]}
    )
    labels.to_csv(tmp_path / "labels.csv", index=False)
    genes = write_text(tmp_path / "genes.txt", "\n".join("abcdef"))
    settings = quick(
        training_metadata=str(tmp_path / "labels.csv"),
        split=SplitSettings(n_folds=0),
        training=TrainSettings(n_epochs=1),
        convert=ConvertSettings(input_genes=str(genes)),
    )
    first = Snapshot.load(train(table, tmp_path / "out", settings).model_path)
    write_text(genes, "\n".join("fedcbaX"[:6]) + "\n\n")
    again = train(table, tmp_path / "out", RunSettings(**{**vars(settings), "overwrite": True}))
    assert first.card.genes == tuple("abcdef")
    assert Snapshot.load(again.model_path).card.genes == tuple("fedcba")


def test_bare_weights_keep_the_library_size_they_were_trained_with(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", clustered_adata())
    genes = write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(60)))
    network = NetworkSettings(n_hidden=16, normalize_to=1e6, residual=False, n_layers=2, shortcut=False)
    run = train(path, tmp_path / "out", quick(network=network, split=SplitSettings(n_folds=0))).folder
    weights = run / "all_data" / "00_best_model_weights.pkl"
    bare = Snapshot.load(weights, genes).card.network
    assert (bare.normalize_to, bare.residual, bare.n_layers, bare.shortcut) == (1e6, False, 2, False)


def test_numbers_as_labels_stay_as_they_are_written(tmp_path: Path):
    adata = clustered_adata(120)
    numbers = [float(name[-1]) for name in adata.obs["cell_type"]]
    adata.obs["cell_type"] = [np.nan, *numbers[1:]]
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    summary = train(path, tmp_path / "out", quick(split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=1)))
    assert summary.labels.classes == ("0", "1", "2")
    assert summary.labels.n_unlabelled == 1


def test_a_column_that_scnym_writes_is_no_label(tmp_path: Path):
    adata = clustered_adata(120)
    adata.obs["source"] = adata.obs["cell_type"]
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with pytest.raises(DataError, match="source_input"):
        train(path, tmp_path / "out", quick(label_column="source"))
    with pytest.raises(DataError, match=r"no class .* has 1,000 cells; give --min_cells_per_class"):
        train(path, tmp_path / "out", quick(split=SplitSettings(min_cells_per_class=1000)))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_demo_runs_on_the_cells_inside_scanpy(tmp_path: Path):
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, root / "data" / "demo.py", tmp_path / "demo"],
        env={**os.environ, "SCNYM_DATA": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "to within 0.082 of one count" in done.stdout
    accuracy = float(done.stdout.rpartition("accuracy ")[0].rpartition("accuracy ")[2].split()[0])
    assert accuracy > 0.7
    assert (tmp_path / "demo" / "predictions" / "predictions.csv").is_file()
