"""Markers: the genes that carry each class are found, written whole and named safely."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import clustered_adata, dense, write_h5ad
from scipy import sparse
from test_cli import scnym
from torch.nn import functional

from scnym import (
    MarkerSettings,
    NetworkSettings,
    RunSettings,
    Snapshot,
    SplitSettings,
    Store,
    StreamSettings,
    TrainSettings,
    find_markers,
    train,
)
from scnym.base.errors import DataError, OutputExistsError, SettingsError
from scnym.base.progress import SILENT
from scnym.base.text import safe_name
from scnym.feed.batches import csr_tensor
from scnym.model.inference import SplitNetwork
from scnym.model.network import CellTypeNetwork
from scnym.model.snapshot import Card
from scnym.results.class_optima import ClassOptima, optimise_inputs
from scnym.results.markers import CellEvidence, LabelledCells, gather_evidence, rank_genes
from scnym.runs.markers import chosen_classes

QUICK = MarkerSettings(n_restarts=3, n_steps=40)
FOLDER = "tissue_ind_class_optimums"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cells, a model trained on them, and the markers of its three classes."""
    folder = tmp_path_factory.mktemp("markers")
    cells = write_h5ad(folder / "cells.h5ad", clustered_adata(n_genes=300))
    settings = RunSettings(
        label_column="cell_type",
        split=SplitSettings(n_folds=0),
        stream=StreamSettings(batch_size=32),
        network=NetworkSettings(n_hidden=16),
        training=TrainSettings(n_epochs=8),
    )
    model = train(cells, folder / "run", settings).model_path
    model.rename(folder / "model.safetensors")
    (folder / "run" / "cache").rename(folder / "cache")
    next((folder / "cache").glob("*.zarr")).rename(folder / "cells.zarr")
    find_markers(folder / "model.safetensors", folder, QUICK, input_counts=folder / "cells.zarr")
    return folder


def true_markers(code: int) -> set[str]:
    """Genes whose mean `clustered_adata` raises in a class."""
    return {f"gene {code * 100 + k}" for k in range(50)}


def network_of(
    n_genes: int = 30, classes: tuple[str, ...] = ("a", "b", "c"), *, n_tissues: int = 0, **settings
) -> Snapshot:
    """An untrained model with weights on both of its paths."""
    shape = NetworkSettings(n_hidden=8, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = CellTypeNetwork(n_genes, len(classes), shape, n_tissues)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        network.input_scale.fill_(0.7)
    card = Card(
        genes=tuple(f"gene {k}" for k in range(n_genes)),
        classes=classes,
        label_column="cell_type",
        network=shape,
        training=TrainSettings(),
        stream=StreamSettings(),
        temperature=1.3,
        best_epoch=1,
        data_hash="none",
        metrics={},
    )
    return Snapshot(card, network)


def optima_of(network: SplitNetwork, codes: list[int], settings: MarkerSettings) -> list[ClassOptima]:
    with SILENT.task("optimise", total=None, unit="steps") as task:
        return list(optimise_inputs(network, codes, settings, task))


def as_csr(x_BG: torch.Tensor) -> torch.Tensor:
    counts = sparse.csr_matrix(x_BG.numpy())
    n_rows, n_columns = x_BG.shape
    return csr_tensor(counts.indptr, counts.indices, counts.data, (n_rows, n_columns))


def loss_of(snapshot: Snapshot, x_RG: np.ndarray, code: int, l1_reg: float) -> np.ndarray:
    """What is minimised, written down plainly."""
    with torch.no_grad():
        logits = snapshot.network(torch.from_numpy(x_RG)) / snapshot.card.temperature
    surprise = functional.cross_entropy(logits, torch.full((len(x_RG),), code), reduction="none").numpy()
    return surprise + l1_reg * np.expm1(x_RG).sum(axis=1) * 1e4 / snapshot.card.network.normalize_to


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("n_tissues", [0, 2])
def test_a_split_network_gives_the_logits_of_the_whole_one_for_cells_of_no_tissue(shortcut: bool, n_tissues: int):
    snapshot = network_of(shortcut=shortcut, n_tissues=n_tissues)
    x_BG = torch.rand(5, 30)
    split = SplitNetwork(snapshot)
    with torch.no_grad():
        expected = snapshot.network(x_BG) / snapshot.card.temperature
    assert torch.allclose(split.logits(split.units(x_BG)), expected, atol=1e-5)
    assert torch.allclose(split.logits(split.units(as_csr(x_BG))), expected, atol=1e-5)


@pytest.mark.parametrize("normalize_to", [1e4, 1e6])
def test_the_noted_losses_are_those_of_the_inputs_that_are_kept_and_never_rise(normalize_to: float):
    snapshot = network_of(normalize_to=normalize_to)
    for found in optima_of(SplitNetwork(snapshot), [0, 2], MarkerSettings(n_restarts=4, n_steps=50, l1_reg=1e-3)):
        expected = loss_of(snapshot, found.optima_RG, found.code, 1e-3)
        assert found.losses_SR[-1] == pytest.approx(expected, abs=1e-4)
        assert (np.diff(found.losses_SR, axis=0) <= 0).all()
        assert (found.losses_SR[-1] < found.losses_SR[0]).all()
        assert list(found.steps_S) == list(range(0, 51, 5))


def test_optimised_inputs_are_inputs_that_a_cell_could_have():
    network = SplitNetwork(network_of())
    (found,) = optima_of(network, [1], MarkerSettings(n_restarts=4, n_steps=50, l1_reg=0.0))
    assert found.optima_RG.min() >= 0
    assert found.optima_RG.max() <= np.float32(math.log1p(1e4))


def test_no_other_input_nearby_is_better_than_the_optimum():
    snapshot, settings = network_of(), MarkerSettings(n_restarts=2, n_steps=400, l1_reg=1e-2)
    (found,) = optima_of(SplitNetwork(snapshot), [0], settings)
    random = np.random.default_rng(0)
    for best_G, least in zip(found.optima_RG, found.losses_SR[-1], strict=True):
        nearby = np.maximum(best_G + random.normal(scale=0.05, size=(500, 30)).astype(np.float32), 0)
        assert loss_of(snapshot, nearby, 0, 1e-2).min() >= least - 1e-4


def test_a_class_begins_with_the_same_noise_whichever_others_are_asked_for_and_however_many_fit():
    network, settings = SplitNetwork(network_of(n_genes=9_000)), MarkerSettings(n_restarts=40, n_steps=5)
    together = optima_of(network, [0, 1, 2], settings)
    apart = optima_of(network, [0, 1, 2], MarkerSettings(n_restarts=40, n_steps=5, memory_bytes=10**7))
    (alone,) = optima_of(network, [2], settings)
    for one, other in [*zip(together, apart, strict=True), (together[2], alone)]:
        np.testing.assert_allclose(one.losses_SR, other.losses_SR, rtol=1e-4)
        np.testing.assert_allclose(one.optima_RG, other.optima_RG, atol=1e-3)
    assert not np.allclose(together[0].losses_SR[0], together[1].losses_SR[0])


def test_restarts_that_do_not_fit_into_the_memory_are_refused():
    network = SplitNetwork(network_of(n_genes=9_000))
    with pytest.raises(SettingsError, match="--n_restarts: 100 restarts of 9,000 genes do not fit into 10 MB"):
        optima_of(network, [0], MarkerSettings(n_restarts=100, memory_bytes=10**7))


def test_agreement_is_the_share_of_restarts_with_a_gene_on_top_and_counts_no_zeros():
    optima_RG = np.array([[3, 2, 0, 0], [3, 0, 2, 0], [1, 0, 0, 0], [0, 5, 4, 3]], np.float32)
    found = ClassOptima(0, np.arange(2), np.zeros((2, 4)), optima_RG)
    assert list(found.agreement_G(2)) == [0.75, 0.5, 0.5, 0.0]


def test_expected_gradients_add_up_to_the_difference_of_log_odds(work: Path):
    store = Store(work / "cells.zarr")
    network = SplitNetwork(Snapshot.load(work / "model.safetensors"))
    codes_C = store.obs["cell_type"].cat.codes.to_numpy().astype(np.int64)
    cells = LabelledCells(store, codes_C, network)
    evidence = gather_evidence(network, cells, 1, seed=0)
    assert evidence is not None
    (batch,) = cells.batches(np.arange(300))
    with torch.no_grad():
        logits_BK = network.logits(network.units(batch.x))
    odds_B = (logits_BK[:, 1] - torch.logsumexp(logits_BK[:, [0, 2]], dim=1)).numpy()
    own_B = codes_C[batch.rows] == 1
    # Here all cells of the class, and of the others, are looked at.
    difference = odds_B[own_B].mean() - odds_B[~own_B].mean()
    assert evidence.expected_gradient_G.sum() == pytest.approx(difference, rel=0.05)


def test_how_often_a_gene_is_seen_is_counted_in_the_class_and_elsewhere(work: Path):
    store = Store(work / "cells.zarr")
    network = SplitNetwork(Snapshot.load(work / "model.safetensors"))
    codes_C = store.obs["cell_type"].cat.codes.to_numpy().astype(np.int64)
    evidence = gather_evidence(network, LabelledCells(store, codes_C, network), 0, seed=0)
    assert evidence is not None
    seen_CG = dense(clustered_adata(n_genes=300)) > 0
    assert evidence.detected_G == pytest.approx(seen_CG[codes_C == 0].mean(axis=0))
    assert evidence.detected_elsewhere_G == pytest.approx(seen_CG[codes_C != 0].mean(axis=0))


def test_other_classes_are_drawn_as_often_as_each_other_however_common_they_are(work: Path):
    codes_C = np.repeat([0, 1, 2, -1], [10, 250, 30, 10])
    cells = LabelledCells(Store(work / "cells.zarr"), codes_C, SplitNetwork(network_of()))
    drawn = codes_C[cells.of_others(0, 20, np.random.default_rng(0))]
    assert set(drawn) == {1, 2}
    assert 5 <= (drawn == 2).sum() <= 15
    nothing_else = LabelledCells(Store(work / "cells.zarr"), np.zeros(300, int), SplitNetwork(network_of()))
    assert gather_evidence(SplitNetwork(network_of()), nothing_else, 0, seed=0) is None


def test_genes_that_speak_by_their_absence_are_no_markers():
    found = ClassOptima(0, np.arange(2), np.zeros((2, 1)), np.array([[2.0, 1.0, 0.5]], np.float32))
    evidence = CellEvidence(
        expected_gradient_G=np.array([1.0, 9.0, 0.5]),
        higher_G=np.array([True, False, True]),
        detected_G=np.array([0.9, 0.9, 0.9]),
        detected_elsewhere_G=np.array([0.1, 0.1, 0.1]),
    )
    markers = rank_genes(found, evidence, ["present", "absent", "weak"], "a")
    assert markers.top(3) == ["present", "weak"]
    assert list(markers.table["expected_gradient_rank"]) == [1, 2, 3]
    assert rank_genes(found, None, ["present", "absent", "weak"], "a").top(3) == ["present", "absent", "weak"]


def test_every_file_is_there_and_the_known_genes_come_first(work: Path):
    folder = work / FOLDER
    own = [f"{code}_type {code}_{what}.csv" for code in range(3) for what in ("losses", "optima")]
    rest = ["classes.csv", "cost.json", "deletion.csv", "markers.csv", "report.html", "summary.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*own, *rest])
    markers = pd.read_csv(folder / "markers.csv")
    for code in range(3):
        mine = markers[markers["class"] == f"type {code}"]
        assert list(mine["rank"]) == list(range(1, len(mine) + 1))
        assert (np.diff(mine["score"]) <= 0).all()
        assert len(set(mine["gene"].head(20)) & true_markers(code)) >= 18
        assert mine["agreement"].between(0, 1).all()


def test_the_tables_carry_genes_headers_and_every_restart(work: Path):
    folder = work / FOLDER
    losses = pd.read_csv(folder / "1_type 1_losses.csv")
    assert list(losses.columns) == ["step", "restart_0", "restart_1", "restart_2"]
    assert list(losses["step"]) == list(range(0, 41, 4))
    optima = pd.read_csv(folder / "1_type 1_optima.csv")
    assert list(optima["gene"]) == [f"gene {k}" for k in range(300)]
    markers = pd.read_csv(folder / "markers.csv")
    mine = markers[markers["class"] == "type 1"].set_index("gene")
    means = optima.set_index("gene").mean(axis=1)
    assert mine["optimum_mean"].to_numpy() == pytest.approx(means[mine.index].to_numpy(), abs=1e-4)
    assert "0.0," not in (folder / "1_type 1_losses.csv").read_text().splitlines()[1]
    assert list(pd.read_csv(folder / "classes.csv")["optima_file"]) == [f"{c}_type {c}_optima.csv" for c in range(3)]


def test_zeroing_the_top_genes_hurts_more_than_zeroing_others(work: Path):
    deletion = pd.read_csv(work / FOLDER / "deletion.csv").set_index("class")
    assert (deletion["n_genes"] == 50).all()
    assert (deletion["accuracy_without_markers"] < deletion["accuracy_without_random"]).all()
    assert (deletion["probability_without_markers"] < deletion["probability_without_random"]).all()
    assert list(deletion["n_cells"]) == [
        int((clustered_adata(n_genes=300).obs["cell_type"] == name).sum()) for name in deletion.index
    ]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_noise(work: Path, tmp_path: Path):
    model, cells = work / "model.safetensors", work / "cells.zarr"
    find_markers(model, tmp_path / "a", QUICK, input_counts=cells)
    find_markers(model, tmp_path / "b", MarkerSettings(n_restarts=3, n_steps=40, seed=1), input_counts=cells)
    for path in (work / FOLDER).glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "a" / FOLDER / path.name).read_bytes(), path.name
    name = "0_type 0_losses.csv"
    assert (tmp_path / "a" / FOLDER / name).read_bytes() != (tmp_path / "b" / FOLDER / name).read_bytes()


def test_cells_in_memory_give_what_a_file_gives(work: Path, tmp_path: Path):
    find_markers(work / "model.safetensors", tmp_path, QUICK, input_counts=clustered_adata(n_genes=300))
    assert (tmp_path / FOLDER / "markers.csv").read_bytes() == (work / FOLDER / "markers.csv").read_bytes()


def test_without_cells_genes_are_ranked_by_optimised_inputs_and_there_is_no_deletion_test(work: Path, tmp_path: Path):
    summary = find_markers(work / "model.safetensors", tmp_path, QUICK)
    assert not (tmp_path / FOLDER / "deletion.csv").exists()
    assert summary.deletions == {}
    markers = pd.read_csv(tmp_path / FOLDER / "markers.csv")
    assert "expected_gradient" not in markers
    assert len(set(summary.top_genes["type 2"]) & true_markers(2)) >= 18


def test_cells_without_a_class_of_the_model_are_left_out_and_none_at_all_is_a_mistake(work: Path, tmp_path: Path):
    adata = clustered_adata(n_genes=300)
    adata.obs["other"] = ["type 0" if name == "type 0" else "unheard of" for name in adata.obs["cell_type"]]
    adata.obs["wrong"] = "unheard of"
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    model = work / "model.safetensors"
    with pytest.raises(DataError, match="'wrong' has none of the model's classes: it has 'unheard of'"):
        find_markers(model, tmp_path / "a", MarkerSettings(label_column="wrong"), input_counts=cells)
    assert not (tmp_path / "a" / FOLDER).exists()
    settings = MarkerSettings(n_restarts=2, n_steps=5, label_column="other")
    summary = find_markers(model, tmp_path / "b", settings, input_counts=cells)
    # With cells of one class only, there is nothing to compare them with.
    assert summary.deletions == {}


def test_class_names_that_are_no_file_names_become_safe_and_unique_and_are_told(tmp_path: Path):
    classes = ("a/b", "a_b", "../../x", "CON", " ", "é" * 300, "T cell, CD4+")
    model = tmp_path / "model.safetensors"
    model.write_bytes(network_of(classes=classes).to_bytes())
    find_markers(model, tmp_path / "out", MarkerSettings(n_restarts=2, n_steps=3))
    folder = tmp_path / "out" / FOLDER
    table = pd.read_csv(folder / "classes.csv", keep_default_na=False)
    assert list(table["class"]) == list(classes)
    files = [*table["losses_file"], *table["optima_file"]]
    assert len({name.casefold() for name in files}) == 2 * len(classes)
    assert all((folder / name).is_file() for name in files)
    assert list(table["losses_file"][:4]) == [
        "0_a_b_losses.csv",
        "1_a_b_losses.csv",
        "2_.._.._x_losses.csv",
        "3_CON_losses.csv",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "out"]


@pytest.mark.parametrize(
    ("name", "safe"), [("B cell", "B cell"), ("a\nb", "a_b"), ("..", "_"), ("", "_"), ("x.", "x_"), ("CON", "CON_")]
)
def test_a_safe_name_keeps_what_every_system_takes(name: str, safe: str):
    assert safe_name(name) == safe


def test_classes_are_chosen_by_name_even_if_a_name_holds_a_comma():
    known = ["B cell", "T cell, CD4+", "T cell", "NK"]
    assert chosen_classes(None, known) == [0, 1, 2, 3]
    assert chosen_classes("NK, B cell", known) == [0, 3]
    assert chosen_classes("T cell, CD4+,NK", known) == [1, 3]
    assert chosen_classes("T cell,NK", known) == [2, 3]
    with pytest.raises(SettingsError, match="--classes: the model has no class 'b cell'; its 4 classes are 'B cell'"):
        chosen_classes("b cell", known)


def test_markers_that_exist_are_refused_and_kept(work: Path):
    before = (work / FOLDER / "markers.csv").read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        find_markers(work / "model.safetensors", work, QUICK)
    assert (work / FOLDER / "markers.csv").read_bytes() == before


@pytest.mark.parametrize(
    "settings", [{"l1_reg": -1.0}, {"n_restarts": 0}, {"n_steps": 0}, {"min_gene_coverage": 2.0}, {"memory_bytes": 1}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict):
    with pytest.raises(SettingsError, match=f"--{next(iter(settings))}"):
        MarkerSettings(**settings)


def test_the_command_prints_the_top_genes_and_takes_an_old_config(work: Path, tmp_path: Path):
    config = tmp_path / "old.json"
    config.write_text(json.dumps({"l1_reg": 1e-3, "lower_group": "cell_type", "n_restarts": 2, "n_steps": 10}))
    arguments = ["--model_path", work / "model.safetensors", "--input_counts", work / "cells.zarr", "-c", config]
    printed = scnym("find_cell_type_markers", "--out_path", tmp_path / "a", *arguments)
    assert "type 2" in printed
    assert "at random" in printed
    assert json.loads((tmp_path / "a" / FOLDER / "summary.json").read_text())["settings"]["l1_reg"] == 1e-3
    chosen = ["--classes", "type 1", "--json", "--out_path", tmp_path / "b"]
    printed = scnym("find_cell_type_markers", *arguments, *chosen)
    content = json.loads(printed[: printed.rindex("}") + 1])
    assert list(content["top_genes"]) == ["type 1"]
    assert content["deletions"]["type 1"]["accuracy"] > 0.9


def test_bare_weights_are_enough_with_their_genes(work: Path, tmp_path: Path):
    run = work / "run" / "tissue_independent"
    genes = tmp_path / "genes.txt"
    genes.write_text("\n".join(f"gene {k}" for k in range(300)))
    summary = find_markers(run / "all_data" / "00_best_model_weights.pkl", tmp_path, QUICK, training_gene_names=genes)
    assert len(set(summary.top_genes["type 0"]) & true_markers(0)) >= 18


def test_a_folder_of_many_models_and_labels_without_cells_are_told_of(work: Path, tmp_path: Path):
    printed = scnym("find_cell_type_markers", "--model_path", tmp_path, "--out_path", tmp_path, expect=2)
    assert "give the folder of one training run" in printed
    model = work / "model.safetensors"
    printed = scnym(
        *("find_cell_type_markers", "--model_path", model, "--out_path", tmp_path / "m", "--n_steps", 2),
        *("--training_metadata", tmp_path / "labels.csv", "--lower_group", "cell_type", "--layer", "raw"),
    )
    assert "not used, since no cells are given with --input_counts: --training_metadata" in printed
    assert "labels.csv, --lower_group cell_type, --layer raw" in printed
