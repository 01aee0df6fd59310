"""Labels for new cells: tissues, votes, Unknown, matrices, an annotated h5ad, and AnnData in memory."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import clustered_adata, dense, write_csv, write_h5ad
from scipy import sparse

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
    open_store,
    predict,
    train,
)
from scnym.base.errors import DataError, MissingInputError, SettingsError, UserError
from scnym.feed.genes import map_genes
from scnym.model.network import CellTypeNetwork
from scnym.model.snapshot import Card
from scnym.results.coverage import species_warning
from scnym.results.labels import Votes, vote_in_groups, vote_of_neighbours, voters_of
from scnym.results.scored_cells import Answers, Ranked, RowMatrix, ranked

QUICK = {
    "label_column": "cell_type",
    "split": SplitSettings(n_folds=0),
    "stream": StreamSettings(batch_size=32),
    "network": NetworkSettings(n_hidden=16),
    "training": TrainSettings(n_epochs=6),
}


def labelled(folder: Path, **changes: Any) -> pd.DataFrame:
    return pd.read_csv(folder / "predictions" / "predictions.csv", **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(write_h5ad(folder / "cells.h5ad", clustered_adata()), folder, RunSettings(**QUICK))
    return folder / "tissue_independent"


@pytest.fixture(scope="module")
def tissues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tissue-specific models: each knows two of three classes, and genes of its own."""
    folder = tmp_path_factory.mktemp("out") / "tissues"
    adata = clustered_adata(seed=1)
    for tissue, kept, genes in (
        ("lung", ("type 0", "type 1"), slice(0, 50)),
        ("liver", ("type 1", "type 2"), slice(10, 60)),
    ):
        some = adata[adata.obs["cell_type"].isin(kept), genes].copy()
        train(write_h5ad(folder.parent / f"{tissue}.h5ad", some), folder.parent / tissue, RunSettings(**QUICK))
        shutil.copytree(folder.parent / tissue / "tissue_independent", folder / f"{tissue}_1")
    (folder / "summary.csv").write_text(
        "tissue,folder,status,reason\nlung,lung_1,trained,\nliver,liver_1,trained,\nskin,,skipped,one class only\n"
    )
    return folder


def with_tissues(n_cells: int = 60) -> anndata.AnnData:
    """Cells whose tissues alternate, so that any mistake of order shows."""
    adata = clustered_adata(n_cells, seed=5)
    adata.obs["tissue"] = [("lung", "liver")[k % 2] for k in range(n_cells)]
    return adata


def test_probabilities_and_embedding_are_anndata_of_all_cells(run: Path, tmp_path: Path):
    cells = write_h5ad(tmp_path / "new.h5ad", clustered_adata(50, seed=7))
    predict(cells, run, tmp_path, PredictSettings(embedding=True, batch_size=16))
    table = labelled(tmp_path)
    found = anndata.read_zarr(tmp_path / "predictions" / "probabilities.zarr")
    assert list(found.obs_names) == list(table["cell_id"])
    assert list(found.var_names) == ["type 0", "type 1", "type 2"]
    values = dense(found)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(values.max(axis=1), table["confidence"], atol=1e-5)
    assert [found.var_names[k] for k in values.argmax(axis=1)] == list(table["cell_type"])
    embedding = anndata.read_zarr(tmp_path / "predictions" / "embedding.zarr")
    assert embedding.shape == (50, 16)
    assert dense(embedding).std(axis=0).max() > 0


def test_probabilities_come_as_text_or_not_at_all(run: Path, tmp_path: Path):
    cells = write_h5ad(tmp_path / "new.h5ad", clustered_adata(40, seed=7))
    predict(cells, run, tmp_path / "a", PredictSettings(probabilities="csv"))
    predict(cells, run, tmp_path / "b", PredictSettings(probabilities="none"))
    table = pd.read_csv(tmp_path / "a" / "predictions" / "probabilities.csv", index_col="cell_id")
    assert list(table.idxmax(axis=1)) == list(labelled(tmp_path / "a")["cell_type"])
    assert sorted(path.name for path in (tmp_path / "b" / "predictions").iterdir()) == [
        "cell_map.csv",
        "cost.json",
        "figures.json",
        "predictions.csv",
        "report.html",
        "summary.json",
    ]


def test_cells_that_are_not_sure_are_unknown_and_keep_their_best_guess(run: Path, tmp_path: Path):
    cells = write_h5ad(tmp_path / "new.h5ad", clustered_adata(60, seed=7))
    plain = predict(cells, run, tmp_path / "a")
    bound = float(labelled(tmp_path / "a")["confidence"].median())
    summary = predict(cells, run, tmp_path / "b", PredictSettings(min_confidence=bound))
    before, after = labelled(tmp_path / "a"), labelled(tmp_path / "b")
    assert list(after["best_guess"]) == list(before["cell_type"])
    unsure = after["cell_type"] == "Unknown"
    assert 20 <= unsure.sum() <= 31
    assert (after["confidence"][unsure].max()) <= (after["confidence"][~unsure].min())
    assert summary.n_unknown == summary.cells_by_type["Unknown"] == unsure.sum()
    assert plain.n_unknown == 0


def test_every_cell_goes_to_its_tissues_model_and_keeps_its_place(tissues: Path, tmp_path: Path):
    adata = with_tissues()
    cells = write_h5ad(tmp_path / "new.h5ad", adata)
    summary = predict(cells, tissues, tmp_path, PredictSettings(batch_size=7))
    table = labelled(tmp_path)
    assert list(table["cell_id"]) == list(adata.obs_names)
    assert list(table["tissue"]) == list(adata.obs["tissue"])
    for tissue, classes in (("lung", {"type 0", "type 1"}), ("liver", {"type 1", "type 2"})):
        mine = (table["tissue"] == tissue).to_numpy()
        alone = predict(cells, tissues / f"{tissue}_1", tmp_path / tissue)
        expected = labelled(alone.folder.parent)[mine].drop(columns=[])
        assert set(table["cell_type"][mine]) == classes
        pd.testing.assert_frame_equal(table[mine].drop(columns="tissue"), expected, atol=1e-5)
    probabilities = anndata.read_zarr(tmp_path / "predictions" / "probabilities.zarr").to_df()
    assert (probabilities.loc[(table["tissue"] == "lung").to_numpy(), "type 2"] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert set(summary.coverage_by_tissue) == {"lung", "liver"}


def test_a_tissue_without_a_model_is_refused_with_those_that_have_one_or_left_unknown(tissues: Path, tmp_path: Path):
    adata = with_tissues()
    adata.obs["organ"] = ["skin", "moon", np.nan, *adata.obs["tissue"][3:]]
    cells = write_h5ad(tmp_path / "new.h5ad", adata)
    with pytest.raises(DataError) as caught:
        predict(cells, tissues, tmp_path, PredictSettings(upper_group="organ"))
    for words in ("'skin' (1 cell; one class only)", "'moon' (1 cell)", "no tissue (1 cell)", "it knows lung, liver"):
        assert words in caught.value.message
    assert not (tmp_path / "predictions").exists()
    summary = predict(cells, tissues, tmp_path, PredictSettings(upper_group="organ", unknown_tissue="zero"))
    table = labelled(tmp_path, keep_default_na=False)
    assert list(table["cell_type"][:3]) == ["Unknown"] * 3
    assert list(table["confidence"][:3].astype(float)) == [0, 0, 0]
    assert summary.n_unknown == 3
    with pytest.raises(DataError, match=r"no column 'nope'.*--upper_group one of cell_type, tissue, organ"):
        predict(cells, tissues, tmp_path / "no", PredictSettings(upper_group="nope"))


@pytest.fixture(scope="module")
def dependent(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads nothing but the tissue: lung gives type 0, liver type 2, none type 1."""
    first = Snapshot.load(run / "all_data" / "model.safetensors").card
    content = {**first.model_dump(), "tissues": ("liver", "lung"), "tissue_column": "tissue"}
    network = CellTypeNetwork(60, 3, first.network, 2)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.fill_(1.0 if "blocks" in name else 0.0)
        network.get_parameter("classify.bias").copy_(torch.tensor([0.0, 1.0, 0.0]))
        assert isinstance(network.tissue_shortcut, torch.nn.Linear)
        network.tissue_shortcut.weight.copy_(torch.tensor([[0.0, 5.0], [0.0, 0.0], [5.0, 0.0]]))
    path = tmp_path_factory.mktemp("dependent") / "model.safetensors"
    path.write_bytes(Snapshot(Card(**content), network).to_bytes())
    return path


def test_a_model_that_depends_on_the_tissue_reads_it_from_the_new_cells(dependent: Path, tmp_path: Path):
    adata = with_tissues(20)
    cells = write_h5ad(tmp_path / "new.h5ad", adata)
    predict(cells, dependent, tmp_path)
    assert list(labelled(tmp_path)["cell_type"]) == ["type 0", "type 2"] * 10
    adata.obs["organ"] = [["liver", "moon", None][k % 3] for k in range(20)]
    write_h5ad(cells, adata)
    with pytest.raises(DataError, match=r"'moon' \(7 cells\), no tissue \(6 cells\).*it knows liver, lung") as caught:
        predict(cells, dependent, tmp_path / "a", PredictSettings(upper_group="organ"))
    assert "column organ" in caught.value.message
    predict(cells, dependent, tmp_path / "b", PredictSettings(upper_group="organ", unknown_tissue="zero"))
    assert list(labelled(tmp_path / "b")["cell_type"][:6]) == ["type 2", "type 1", "type 1"] * 2


def test_tissues_may_stand_in_a_table_beside_a_csv(tissues: Path, tmp_path: Path):
    adata = with_tissues(40)
    expected = predict(write_h5ad(tmp_path / "new.h5ad", adata), tissues, tmp_path / "a")
    counts, table = write_csv(tmp_path / "new.csv", adata), tmp_path / "tissues.csv"
    pd.DataFrame(adata.obs["tissue"]).sample(frac=1, random_state=0).to_csv(table, index_label="cell")
    settings = ConvertSettings(training_metadata=str(table))
    predict(counts, tissues, tmp_path / "b", convert_settings=settings)
    pd.testing.assert_frame_equal(labelled(tmp_path / "b"), labelled(expected.folder.parent))
    store = convert([counts], tmp_path / "new.zarr")
    with pytest.raises(SettingsError, match="a store keeps the annotations with which it was converted"):
        predict(store, tissues, tmp_path / "c", convert_settings=settings)


def test_a_folder_without_a_model_says_which_to_give(run: Path, tmp_path: Path):
    cells = write_h5ad(tmp_path / "new.h5ad", clustered_adata(40))
    with pytest.raises(MissingInputError, match="give one of the folders in it: tissue_independent"):
        predict(cells, run.parent, tmp_path)
    with pytest.raises(MissingInputError, match="give the folder of a training run"):
        predict(cells, tmp_path, tmp_path)


def answers_of(probabilities_CK: np.ndarray, embedding_CH: np.ndarray | None, folder: Path) -> Answers:
    n_cells, n_classes = probabilities_CK.shape
    width = None if embedding_CH is None else embedding_CH.shape[1]
    classes = [f"type {k}" for k in range(n_classes)]
    answers = Answers.begun(folder, n_cells, classes, probabilities=True, width=width)
    hidden = np.zeros((n_cells, 1)) if embedding_CH is None else embedding_CH
    answers.put(np.arange(n_cells), np.arange(n_classes, dtype=np.int32), probabilities_CK, hidden)
    return answers


def matrix_of(answers: Answers) -> RowMatrix:
    assert answers.probabilities is not None
    return answers.probabilities


def test_what_is_wrong_with_the_model_is_said_before_the_cells_are_converted(run: Path, tmp_path: Path):
    cells = write_h5ad(tmp_path / "cells.h5ad", clustered_adata(30))
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes((run / "all_data" / "model.safetensors").read_bytes()[:100])
    for model in (tmp_path / "none.safetensors", damaged):
        with pytest.raises(UserError):
            predict(cells, model, tmp_path / "out")
        assert not (tmp_path / "out" / "cache").exists()


def test_a_group_gets_the_label_of_most_and_ties_go_to_the_larger_sum(tmp_path: Path):
    p = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.51, 0.49], [0.2, 0.8], [0.3, 0.7]])
    answers = answers_of(p, None, tmp_path)
    votes = vote_in_groups(answers, matrix_of(answers), np.array([0, 0, 0, 2, 2, -1]))
    # Two to one for the first class, though the summed probability is for the second; then one to one.
    assert votes.winners.best_B.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(votes.share_C, [2 / 3] * 3 + [1 / 2] * 2 + [np.nan], rtol=1e-6)
    np.testing.assert_allclose(votes.winners.confidence_B[:5], [1.3 / 3] * 3 + [1.29 / 2] * 2, rtol=1e-6)
    np.testing.assert_allclose(votes.winners.second_confidence_B[0], 1.7 / 3, rtol=1e-6)
    assert answers.own.best_B.tolist() == [0, 0, 1, 0, 1, 1]


def test_neighbours_outvote_a_stray_cell_and_only_those_of_its_model(tmp_path: Path):
    embedding = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    answers = answers_of(p, embedding, tmp_path)
    votes = Votes.of_own(answers.own)
    vote_of_neighbours(votes, answers, np.arange(6), 2, seed=0)
    assert votes.winners.best_B.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(votes.share_C, [2 / 3] * 3 + [1] * 3, rtol=1e-6)
    some = Votes.of_own(answers.own)
    vote_of_neighbours(some, answers, np.array([1, 3, 4]), 2, seed=0)
    assert some.winners.best_B.tolist() == [0, 1, 0, 1, 1, 1]
    assert np.isnan(some.share_C[[0, 2, 5]]).all()


def test_a_cell_is_its_own_first_voter_also_among_twins_and_few_cells():
    voters = voters_of(np.zeros((5, 2), np.float32), 2, seed=0)
    assert voters[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert all(len(set(row)) == 3 for row in voters.tolist())
    assert voters_of(np.zeros((2, 2), np.float32), 10, seed=0).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_many_cells_find_nearly_the_same_neighbours_and_the_same_ones_twice(monkeypatch: pytest.MonkeyPatch):
    points = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    exact = voters_of(points, 10, seed=0)
    monkeypatch.setattr("scnym.results.labels.MAX_EXACT_CELLS", 1000)
    found = voters_of(points, 10, seed=0)
    np.testing.assert_array_equal(found, voters_of(points, 10, seed=0))
    assert np.mean([len(set(a) & set(b)) / 11 for a, b in zip(exact, found, strict=True)]) > 0.95


def test_votes_are_written_beside_each_cells_own_label(run: Path, tmp_path: Path):
    adata = clustered_adata(60, seed=7)
    adata.obs["cluster"] = [np.nan, np.nan, *adata.obs["cell_type"][2:]]
    counts = dense(adata)
    labels = adata.obs["cell_type"].to_numpy()
    counts[5] = counts[np.flatnonzero(labels != labels[5])[0]]
    adata.X = sparse.csr_matrix(counts)
    cells = write_h5ad(tmp_path / "new.h5ad", adata)
    predict(cells, run, tmp_path / "a", PredictSettings(vote_by="cluster"))
    table = labelled(tmp_path / "a")
    assert table["own_cell_type"][5] != adata.obs["cell_type"].iloc[5]
    assert list(table["cell_type"][2:]) == list(adata.obs["cell_type"].iloc[2:])
    assert table["vote_share"][2:].between(0.5, 1).all()
    assert table["vote_share"][:2].isna().all()
    predict(cells, run, tmp_path / "b", PredictSettings(smooth_k=5))
    smoothed = labelled(tmp_path / "b")
    assert list(smoothed["own_cell_type"]) == list(table["own_cell_type"])
    assert (smoothed["vote_share"] * 6).round(4).isin(range(1, 7)).all()
    with pytest.raises(SettingsError, match="not both"):
        PredictSettings(smooth_k=5, vote_by="cluster")
    with pytest.raises(DataError, match="--vote_by one of cell_type, cluster"):
        predict(cells, run, tmp_path / "c", PredictSettings(vote_by="nope"))


def test_the_h5ad_holds_counts_and_labels_and_can_be_labelled_again(run: Path, tmp_path: Path):
    adata = clustered_adata(40, seed=7)
    cells = write_h5ad(tmp_path / "new.h5ad", adata)
    predict(cells, run, tmp_path / "a", PredictSettings(write_h5ad=True))
    path = tmp_path / "a" / "predictions" / "predictions.h5ad"
    found = anndata.read_h5ad(path)
    np.testing.assert_array_equal(dense(found), dense(adata))
    table = labelled(tmp_path / "a")
    assert list(found.obs["scnym_cell_type"]) == list(table["cell_type"])
    np.testing.assert_allclose(found.obs["scnym_confidence"], table["confidence"], atol=1e-5)
    assert list(found.obs["cell_type"]) == list(adata.obs["cell_type"])
    assert found.obsm["X_scnym"].shape == (40, 16)
    model = found.uns["scnym"]["model"]
    assert list(model["classes"]) == ["type 0", "type 1", "type 2"]
    assert model["network"]["n_hidden"] == 16
    predict(path, run, tmp_path / "b", PredictSettings(write_h5ad=True, min_confidence=0.9))
    again = anndata.read_h5ad(tmp_path / "b" / "predictions" / "predictions.h5ad")
    assert list(again.obs["scnym_best_guess"]) == list(table["cell_type"])
    assert list(again.obs.columns).count("scnym_cell_type") == 1


FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}


@pytest.mark.parametrize("form", FORMS)
def test_an_anndata_comes_back_as_a_labelled_copy_and_stays_as_it_is(form: str, run: Path, tmp_path: Path):
    adata = clustered_adata(40, seed=7)
    expected = predict(write_h5ad(tmp_path / "new.h5ad", adata), run, tmp_path)
    adata.X = FORMS[form](dense(adata))
    before = adata.copy()
    found = predict(adata, run)
    assert list(found.obs["scnym_cell_type"]) == list(labelled(expected.folder.parent)["cell_type"])
    assert found.obsm["X_scnym"].shape == (40, 16)
    assert found.uns["scnym"]["model"]["label_column"] == "cell_type"
    assert (list(adata.obs), list(adata.obsm), list(adata.uns)) == (list(before.obs), [], [])
    np.testing.assert_array_equal(dense(adata), dense(before))
    found.write_h5ad(tmp_path / "labelled.h5ad")


def test_cells_in_memory_train_and_convert_like_those_in_files(tmp_path: Path):
    adata = clustered_adata(120)
    adata.layers["half"] = sparse.csr_matrix(dense(adata) * 2)
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    in_memory = train(adata, tmp_path / "a", RunSettings(**QUICK))
    on_disk = train(path, tmp_path / "b", RunSettings(**QUICK))
    assert Snapshot.load(in_memory.model_path).card.data_hash == Snapshot.load(on_disk.model_path).card.data_hash
    stores = [
        convert([one], tmp_path / f"{k}.zarr", ConvertSettings(layer="half")) for k, one in enumerate([adata, path])
    ]
    first, second = map(open_store, stores)
    assert first.content_hash == second.content_hash
    pd.testing.assert_frame_equal(first.obs.drop(columns="source"), second.obs.drop(columns="source"))
    both = Store(convert([adata, adata[:50], path], tmp_path / "three.zarr"))
    assert [source.sample for source in both.sources] == ["AnnData_0", "AnnData_1", "cells.h5ad"]


def test_cells_in_memory_are_converted_again_only_when_they_have_changed(run: Path, tmp_path: Path):
    adata = clustered_adata(40, seed=7)
    adata.obs["tissue"] = "lung"
    predict(adata, run, tmp_path)
    predict(adata, run, tmp_path, overwrite=True)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    adata.X = sparse.csr_matrix(dense(adata) + 1)
    predict(adata, run, tmp_path, overwrite=True)
    adata.obs["tissue"] = "liver"
    predict(adata, run, tmp_path, overwrite=True)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_file_without_a_place_to_write_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="--out_path"):
        predict(write_h5ad(tmp_path / "new.h5ad"), run)


HUMAN = ["ACTB", "B2M", "GAPDH", "MALAT1", "CD74", "VIM", "UBC", "LYZ"]


def test_another_species_is_said_loudly(run: Path, tmp_path: Path):
    mouse = [gene.capitalize() for gene in HUMAN]
    warning = species_warning("cells.h5ad", mouse, HUMAN, map_genes(mouse, HUMAN))
    assert warning is not None
    for words in (
        "WARNING",
        "of human, cells.h5ad those of mouse or rat",
        "8 genes were matched ignoring upper and lower",
    ):
        assert words in warning
    assert species_warning("cells.h5ad", HUMAN, HUMAN, map_genes(HUMAN, HUMAN)) is None
    adata = clustered_adata(60)
    adata.var_names = [*HUMAN, *adata.var_names[8:]]
    model = train(adata, tmp_path, RunSettings(**QUICK)).model_path
    adata.var_names = [*mouse, *adata.var_names[8:]]
    with pytest.warns(UserWarning, match="WARNING: the model names genes of human"):
        predict(adata, model)
    summary = predict(write_h5ad(tmp_path / "mouse.h5ad", adata), model, tmp_path)
    assert len(summary.warnings) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        predict(clustered_adata(40), run)


def test_rows_of_a_matrix_on_disk_come_back_where_they_were_put(tmp_path: Path):
    matrix = RowMatrix(tmp_path / "m", 10, 3)
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    odd, even = np.arange(1, 10, 2), np.array([0, 2, 4])
    matrix.write(odd, values[odd])
    matrix.write(even, values[even])
    expected = values.copy()
    expected[[6, 8]] = 0
    np.testing.assert_array_equal(matrix.read(), expected)
    assert [start for start, _ in matrix.blocks(48)] == [0, 4, 8]
    np.testing.assert_array_equal(np.vstack([block for _, block in matrix.blocks(48)]), expected)


def test_the_first_of_equal_classes_is_best_and_the_next_one_second():
    found = ranked(np.array([[0.4, 0.2, 0.4], [1.0, 0.0, 0.0]]))
    assert found.best_B.tolist() == [0, 0]
    assert found.second_B.tolist() == [2, 1]
    assert isinstance(found, Ranked)


def test_clusters_in_which_no_cell_has_a_model_are_unknown(tissues: Path, tmp_path: Path):
    adata = with_tissues(20)
    adata.obs["tissue"] = "skin"
    settings = PredictSettings(unknown_tissue="zero", vote_by="cell_type")
    summary = predict(write_h5ad(tmp_path / "new.h5ad", adata), tissues, tmp_path, settings)
    assert summary.cells_by_type == {"Unknown": 20}
    assert labelled(tmp_path)["vote_share"].isna().all()


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_cells_backed_by_a_file_get_the_labels_of_those_in_memory(form: Any, run: Path, tmp_path: Path):
    adata = clustered_adata(30, seed=7)
    expected = predict(adata, run).obs["scnym_cell_type"]
    adata.X = form(dense(adata))
    backed = anndata.read_h5ad(write_h5ad(tmp_path / "cells.h5ad", adata), backed="r")
    found = predict(backed, run)
    assert found.obs["scnym_cell_type"].equals(expected)
    assert not found.isbacked
    backed.file.close()


def test_dates_intervals_and_other_annotations_do_not_stand_in_the_way(run: Path, tmp_path: Path):
    adata = clustered_adata(30, seed=7)
    adata.obs["day"] = pd.to_datetime(["2020-01-01", None, "2020-01-03"] * 10)
    adata.obs["age"] = pd.cut(range(30), [-1, 9, 30])
    adata.obs["took"] = pd.to_timedelta([1] * 30, unit="h")
    adata.obs["mixed"] = pd.Categorical(["a", 1, 2.5] * 10)
    adata.obs["share"] = pd.array([0.5, None, 1.5] * 10, dtype="Float64")
    store = open_store(convert([adata], tmp_path / "cells.zarr"))
    assert list(store.column("day").astype(object).fillna("")[:3]) == ["2020-01-01", "", "2020-01-03"]
    assert list(store.column("age")[[0, 29]]) == ["(-1, 9]", "(9, 30]"]
    assert list(store.column("mixed")[:3]) == ["a", "1", "2.5"]
    np.testing.assert_array_equal(store.column("share")[:3], [0.5, np.nan, 1.5])
    assert predict(adata, run).obs["day"].dtype.kind == "M"


def test_ordered_categories_of_several_sources_are_joined(tmp_path: Path):
    first, second = clustered_adata(24), clustered_adata(24, seed=1)
    first.obs["stage"] = pd.Categorical(["E8", "E9"] * 12, ordered=True)
    second.obs["stage"] = pd.Categorical(["P1", "E9"] * 12, categories=["P1", "E9"], ordered=True)
    first.obs["donor"], second.obs["donor"] = pd.Categorical([1, 2] * 12), pd.Categorical(["1", "x"] * 12)
    store = open_store(convert([first, second], tmp_path / "both.zarr"))
    assert list(store.column("stage")[[0, 1, 24, 25]]) == ["E8", "E9", "P1", "E9"]
    assert [str(name) for name in store.column("donor")[[0, 1, 24, 25]]] == ["1", "2", "1", "x"]
