"""The three families: the tissue beside the genes, a model for each tissue, and which is best where."""

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from helpers import bytes_but_cost, clustered_adata, write_h5ad, write_text
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import scnym
import scnym.runs.fold_training
from cli.main import app
from scnym import (
    NetworkSettings,
    RunSettings,
    Snapshot,
    SplitSettings,
    Store,
    StreamSettings,
    TrainSettings,
    compare,
    predict,
    train,
    train_tissue_dependent,
    train_tissue_specific,
)
from scnym.base.errors import DataError, FormatError, MissingInputError, OutputExistsError, SettingsError
from scnym.base.progress import SilentProgress
from scnym.feed.batches import layout_for
from scnym.feed.stream import in_order_stream
from scnym.model.inference import all_logits
from scnym.results.metrics import figures_by_tissue
from scnym.runs.inputs import CellLabels, annotated, context_of
from scnym.runs.output_tree import folder_names

NAMED = {"north": {"0": "day", "1": "night"}, "south": {"0": "dusk", "1": "night"}}
"""What each kind of cell is called in each tissue: its genes alone do not tell."""


class Listener(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def quick(**changes) -> RunSettings:
    content = {
        "label_column": "cell_type",
        "split": SplitSettings(n_folds=2),
        "stream": StreamSettings(batch_size=64),
        "network": NetworkSettings(n_hidden=16),
        "training": TrainSettings(n_epochs=25, checkpoint_every=0),
        **changes,
    }
    return RunSettings(**content)


def two_tissues(n_cells: int = 240, **changes: Any) -> anndata.AnnData:
    """Cells of two kinds in two tissues; the tissue decides what a kind is called."""
    adata = clustered_adata(n_cells, n_genes=20, n_classes=2, **changes)
    tissues = np.array(["north", "south"])[np.random.default_rng(1).integers(0, 2, n_cells)]
    kinds = adata.obs["cell_type"].astype(str).str[-1]
    adata.obs["cell_type"] = [NAMED[tissue][kind] for tissue, kind in zip(tissues, kinds, strict=True)]
    adata.obs["tissue"] = tissues
    return adata


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All families, trained on cells whose tissue decides their type; some are of no known tissue."""
    folder = tmp_path_factory.mktemp("families")
    adata = two_tissues()
    adata.obs["tissue"] = [None, np.nan, "", " ", None, *adata.obs["tissue"].iloc[5:]]
    cells = write_h5ad(folder / "cells.h5ad", adata)
    for job in (train, train_tissue_dependent, train_tissue_specific):
        job(cells, folder / "out", quick())
    return folder


def by(table: pd.DataFrame, *columns: str) -> Any:
    """A table by these columns; Any, because it is known here what stands in each."""
    return table.set_index(list(columns)).sort_index()


def accuracy_of(run: Path) -> float:
    return json.loads((run / "metrics.json").read_text())["held_out"]["accuracy"]


def files_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("_log.csv"))
    return {str(path.relative_to(folder)): bytes_but_cost(path) for path in files}


# The dependent family


@pytest.mark.slow
def test_only_a_model_that_reads_the_tissue_tells_apart_what_the_tissue_decides(finished: Path):
    assert accuracy_of(finished / "out" / "tissue_independent") < 0.85
    assert accuracy_of(finished / "out" / "tissue_dependent") > 0.9
    for tissue in ("north", "south"):
        assert accuracy_of(finished / "out" / "tissues" / tissue) > 0.9


def test_the_dependent_tree_is_the_independent_one_and_the_tissues(finished: Path):
    trees = [
        {name.replace("fold00_", "fold_") for name in files_below(finished / "out" / folder)}
        for folder in ("tissue_independent", "tissue_dependent")
    ]
    assert trees[1] - trees[0] == {"tissue_categories.csv"}
    assert not trees[0] - trees[1]
    table = (finished / "out" / "tissue_dependent" / "tissue_categories.csv").read_text()
    assert table == "code,tissue\n0,north\n1,south\n"


def test_the_model_file_knows_its_tissues_and_says_other_things_of_the_same_cell_in_another(finished: Path):
    snapshot = Snapshot.load(finished / "out" / "tissue_dependent" / "all_data" / "model.safetensors")
    assert snapshot.card.tissues == ("north", "south")
    assert snapshot.card.tissue_column == "tissue"
    store = Store(next((finished / "out" / "cache").glob("*.zarr")))
    said = []
    for tissue in (0, 1):
        stream = in_order_stream(
            store, np.arange(40), snapshot.card.genes, StreamSettings(), conditions_C=np.full(store.n_cells, tissue),
            normalize_to=snapshot.card.network.normalize_to, layout=layout_for(store),
        )  # fmt: skip
        said.append(all_logits(snapshot.network, stream, scnym.runs.fold_training.torch.device("cpu"))[1].argmax(1))
    kinds = clustered_adata(240, n_genes=20, n_classes=2).obs["cell_type"].to_numpy()[:40]
    classes = np.array(snapshot.card.classes)
    for tissue, name in enumerate(snapshot.card.tissues):
        expected = np.where(kinds == "type 0", NAMED[name]["0"], "night")
        assert (classes[said[tissue]] == expected).mean() > 0.9


def test_models_of_the_other_families_read_no_tissue(finished: Path):
    for run, column in (("tissue_independent", None), ("tissues/north", "tissue")):
        card = Snapshot.load(finished / "out" / run / "all_data" / "model.safetensors").card
        assert (card.tissues, card.tissue_column) == ((), column)


def test_bare_weights_of_a_dependent_model_find_their_tissues_in_the_table_beside_them(finished: Path, tmp_path: Path):
    run = finished / "out" / "tissue_dependent"
    genes = write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(20)))
    weights = tmp_path / "00_best_model_weights.pkl"
    weights.write_bytes((run / "all_data" / weights.name).read_bytes())
    (tmp_path / "celltype_label.csv").write_bytes((run / "celltype_label.csv").read_bytes())
    with pytest.raises(MissingInputError, match=r"no tissue_categories\.csv beside these weights"):
        Snapshot.load(weights, genes)
    (tmp_path / "tissue_categories.csv").write_bytes((run / "tissue_categories.csv").read_bytes())
    assert Snapshot.load(weights, genes).card.tissues == ("north", "south")
    write_text(tmp_path / "tissue_categories.csv", "code,tissue\n0,north\n")
    with pytest.raises(FormatError, match="do not fit"):
        Snapshot.load(weights, genes)


def test_cells_without_a_tissue_are_left_out_of_the_families_that_need_one_and_counted(finished: Path, tmp_path: Path):
    counts = {
        folder: json.loads((finished / "out" / folder / "metrics.json").read_text())["n_cells"]
        for folder in ("tissue_independent", "tissue_dependent")
    }
    assert counts == {"tissue_independent": 240, "tissue_dependent": 235}
    assert pd.read_csv(finished / "out" / "tissues" / "summary.csv")["n_cells"].sum() == 235
    heard = Listener()
    short = quick(split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=1))
    train_tissue_dependent(finished / "cells.h5ad", tmp_path / "out", short, progress=heard)
    assert "5 of 240 cells without a tissue are left out" in heard.lines


def test_a_context_that_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path):
    adata = two_tissues(60)
    adata.obs["one"], adata.obs["none"] = "lung", None
    adata.obs["none"] = adata.obs["none"].astype("category")
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    for job in (train_tissue_dependent, train_tissue_specific):
        with pytest.raises(DataError, match=r"no column 'organ'.*--upper_group one of 'cell_type', 'tissue'"):
            job(cells, tmp_path / "out", quick(tissue_column="organ"))
        with pytest.raises(DataError, match="'none' names no tissue"):
            job(cells, tmp_path / "out", quick(tissue_column="none"))
    with pytest.raises(DataError, match=r"one one only \('lung'\); .*train_tissue_independent"):
        train_tissue_dependent(cells, tmp_path / "out", quick(tissue_column="one"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cache"}


def test_tissues_and_classes_of_which_no_cell_is_left_are_no_part_of_a_dependent_model(tmp_path: Path):
    adata = two_tissues(200)
    kinds, tissues = adata.obs["cell_type"].astype(object), adata.obs["tissue"].astype(object)
    kinds.iloc[:6], tissues.iloc[:6] = "homeless", None
    kinds.iloc[6:10], tissues.iloc[6:10] = None, "unlabelled tissue"
    adata.obs["cell_type"], adata.obs["tissue"] = kinds, tissues
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    short = quick(split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=1))
    card = Snapshot.load(train_tissue_dependent(cells, tmp_path / "out", short).model_path).card
    assert card.classes == ("day", "dusk", "night")
    assert card.tissues == ("north", "south")


@pytest.mark.parametrize("family", ["independent", "dependent", "specific"])
def test_every_option_reaches_the_models_of_every_family(family: str, tmp_path: Path):
    cells = write_h5ad(tmp_path / "cells.h5ad", two_tissues(80))
    words = ["--input_counts", cells, "--out_path", tmp_path, "--lower_group", "cell_type", "--n_folds", 0]
    words += ["--init_dropout", 0.7, "--n_hidden", 8, "--balance_classes", "False", "--n_epochs", 1, "--seed", 5]
    result = CliRunner().invoke(app, [f"train_tissue_{family}", *map(str, words)])
    assert result.exit_code == 0, result.output
    models = list(tmp_path.rglob("model.safetensors"))
    assert len(models) == (2 if family == "specific" else 1)
    for path in models:
        snapshot = Snapshot.load(path)
        assert snapshot.network.input_dropout.p == 0.7
        assert snapshot.card.network.n_hidden == 8
        assert snapshot.card.stream.class_balance == "natural"
        assert snapshot.card.training.seed == 5


def test_the_reports_name_their_family_and_show_each_tissue(finished: Path):
    out = finished / "out"
    pages = {name: (out / name / "report.html").read_text() for name in
             ("tissue_independent", "tissue_dependent", "tissues/north", "tissues")}  # fmt: skip
    assert "<h1>Tissue independent training</h1>" in pages["tissue_independent"]
    assert "<h1>Tissue dependent training</h1>" in pages["tissue_dependent"]
    assert "<h1>Tissue specific training: north</h1>" in pages["tissues/north"]
    for name in ("tissue_independent", "tissue_dependent"):
        rows = json.loads((out / name / "metrics.json").read_text())["tissues"]
        assert [row["tissue"] for row in rows] == ["north", "south"]
        assert sum(row["n_cells"] for row in rows) == 235
        for row in rows:
            assert f"{row['accuracy']:.3f}\u00a0±\u00a0{row['accuracy_sd']:.3f}" in pages[name]
    assert 'href="north/report.html"' in pages["tissues"]


def test_groups_are_kept_whole_and_a_baseline_is_beside_it_in_every_family(tmp_path: Path):
    adata = two_tissues(120)
    adata.obs["donor"] = [f"donor {k % 6}" for k in range(120)]
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    settings = quick(
        split=SplitSettings(n_folds=2, group_column="donor"), training=TrainSettings(n_epochs=1), baseline=True
    )
    for job in (train, train_tissue_dependent, train_tissue_specific):
        job(cells, tmp_path / "out", settings)
    for run in ("tissue_independent", "tissue_dependent", "tissues/south"):
        folder = tmp_path / "out" / run
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["baseline"]["held_out"]["n_cells"] == metrics["held_out"]["n_cells"]
        assert "ogistic regression" in (folder / "report.html").read_text()
        donors = [
            {adata.obs["donor"][cell] for cell in pd.read_csv(folder / "fold00" / f"{part}_idx.csv")["cell_id"]}
            for part in ("train", "val")
        ]
        assert not donors[0] & donors[1]


# The specific family


def uneven_tissues() -> anndata.AnnData:
    """Three tissues that can have a model, by names that are no folders, and three that cannot."""
    adata = clustered_adata(300, n_classes=3)
    adata.obs["tissue"] = np.repeat(["a/b", "../../x", "CON", "small", "uniform", "bare"], [100, 90, 60, 9, 31, 10])
    kinds = adata.obs["cell_type"].astype(str).to_numpy(dtype=object)
    tissue = adata.obs["tissue"].to_numpy()
    kinds[tissue == "uniform"] = "type 0"
    kinds[tissue == "bare"] = None
    kinds[tissue == "small"] = ["type 0"] * 4 + ["type 1"] * 4 + ["type 2"]
    kinds[(tissue == "CON") & (kinds == "type 2")] = "only here/there"
    adata.obs["cell_type"] = kinds
    return adata


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Listener]:
    folder, heard = tmp_path_factory.mktemp("uneven"), Listener()
    cells = write_h5ad(folder / "cells.h5ad", uneven_tissues())
    train_tissue_specific(cells, folder / "out", quick(training=TrainSettings(n_epochs=2)), progress=heard)
    return folder, heard


def test_the_table_lists_every_tissue_with_its_folder_or_the_reason_why_it_has_none(uneven: tuple[Path, Listener]):
    folder, heard = uneven
    table = by(pd.read_csv(folder / "out" / "tissues" / "summary.csv", keep_default_na=False), "tissue")
    assert list(table.index) == ["../../x", "CON", "a/b", "bare", "small", "uniform"]
    assert table["status"].to_dict() == {
        "../../x": "trained", "CON": "trained", "a/b": "trained", "bare": "skipped", "small": "trained",
        "uniform": "skipped",
    }  # fmt: skip
    assert table["reason"]["bare"] == "no cell has a label"
    assert table["n_not_judged"].to_dict() == {
        "../../x": "0", "CON": "0", "a/b": "0", "bare": "", "small": "1", "uniform": ""
    }  # fmt: skip
    assert any(line.startswith("tissue 'small': classes that are not judged") for line in heard.lines)
    assert "one class only ('type 0')" in table["reason"]["uniform"]
    for tissue in ("bare", "uniform"):
        assert f"tissue {tissue!r} is skipped: {table['reason'][tissue]}" in heard.lines
    trained = table[table["status"] == "trained"]
    made = {path.name for path in (folder / "out" / "tissues").iterdir()}
    assert made == {*trained["folder"], "summary.csv", "summary.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == {"cells.h5ad", "out"}
    for tissue, row in trained.iterrows():
        metrics = json.loads((folder / "out" / "tissues" / str(row["folder"]) / "metrics.json").read_text())
        assert metrics["tissue"] == tissue
        assert metrics["n_cells"] == int(row["n_cells"])
        assert metrics["spread"]["macro_f1"]["sd"] == pytest.approx(float(row["macro_f1_sd"]), abs=1e-5)


def test_each_tissues_model_has_its_own_classes_and_learns_from_its_own_cells_only(uneven: tuple[Path, Listener]):
    folder, _ = uneven
    tissues = dict(zip((f"cell {k}" for k in range(300)), uneven_tissues().obs["tissue"], strict=True))
    table = by(pd.read_csv(folder / "out" / "tissues" / "summary.csv"), "tissue")
    for tissue, name in table["folder"].dropna().items():
        run = folder / "out" / "tissues" / name
        card = Snapshot.load(run / "all_data" / "model.safetensors").card
        own = {"type 0", "type 1", "only here/there" if tissue == "CON" else "type 2"}
        assert set(card.classes) == own
        assert set(pd.read_csv(run / "fold00" / "predictions.csv")["cell_type"]) <= own
        held_out = []
        for fold in ("fold00", "fold01"):
            parts = [pd.read_csv(run / fold / f"{part}_idx.csv")["cell_id"] for part in ("train", "test", "val")]
            together = pd.concat(parts)
            assert together.is_unique
            assert {tissues[cell] for cell in together} == {tissue}
            held_out.append(parts[2])
        ever = {cell for cell, own in tissues.items() if own == tissue}
        if tissue == "small":
            ever.remove("cell 258")  # the only one of its class
        assert sorted(pd.concat(held_out)) == sorted(ever)


@pytest.mark.slow
def test_no_row_of_another_tissue_or_of_the_held_out_part_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[tuple[str | None, str]] = []
    original = scnym.runs.fold_training._train_fold

    def spied(job, fold, *arguments):
        stream = scnym.runs.fold_training.balanced_stream(job, fold)
        rows = {int(row) for batch in stream for row in batch.rows}
        assert rows <= set(fold.train.tolist())
        assert not rows & {*fold.held_out.tolist(), *fold.selection.tolist()}
        assert {annotated(job.store, None, Listener())["tissue"].iloc[row] for row in rows} == {job.tissue}
        drawn.append((job.tissue, fold.name))
        return original(job, fold, *arguments)

    monkeypatch.setattr(scnym.runs.fold_training, "_train_fold", spied)
    cells = write_h5ad(tmp_path / "cells.h5ad", two_tissues(120))
    settings = quick(stream=StreamSettings(batch_size=64, class_balance="uniform"), training=TrainSettings(n_epochs=1))
    train_tissue_specific(cells, tmp_path / "out", settings)
    assert drawn == [(tissue, fold) for tissue in ("north", "south") for fold in ("fold00", "fold01", "all_data")]


def test_cells_go_to_the_model_of_the_column_that_was_trained_with(tmp_path: Path):
    adata = two_tissues(120)
    adata.obs["organ"], adata.obs["tissue"] = adata.obs["tissue"], "north"
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    settings = quick(
        tissue_column="organ", split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=1, refit_cells=0)
    )
    run = train_tissue_specific(cells, tmp_path / "out", settings).folder
    table = pd.read_csv(predict(cells, run, tmp_path / "labelled").folder / "predictions.csv")
    assert list(table["tissue"]) == list(adata.obs["organ"])


def test_groups_that_make_no_sense_are_a_mistake_for_all_tissues(tmp_path: Path):
    cells = write_h5ad(tmp_path / "cells.h5ad", two_tissues(120))
    settings = quick(split=SplitSettings(n_folds=2, group_column="doner"))
    with pytest.raises(DataError, match=r"no column 'doner'.*--cv_group"):
        train_tissue_specific(cells, tmp_path / "out", settings)


def test_a_tissue_that_is_held_out_whole_is_told_and_judged_without(tmp_path: Path):
    adata, heard = two_tissues(240), Listener()
    adata.obs["cell_type"] = clustered_adata(240, n_genes=20, n_classes=2).obs["cell_type"].to_numpy()
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    settings = quick(split=SplitSettings(n_folds=2, group_column="tissue"), training=TrainSettings(n_epochs=2))
    run = train_tissue_dependent(cells, tmp_path / "out", settings, progress=heard).folder
    tissue_of = dict(zip(adata.obs_names, adata.obs["tissue"], strict=True))
    unseen = {line.partition(":")[0]: line for line in heard.lines if "no training cell is of" in line}
    assert set(unseen) == {"fold00", "fold01"}
    for fold in unseen:
        weights = Snapshot.load(run / fold / "model.safetensors").network.get_parameter("tissue.weight")
        held_out = {tissue_of[cell] for cell in pd.read_csv(run / fold / "val_idx.csv")["cell_id"]}
        assert [bool((column == 0).all()) for column in weights.T] == [t in held_out for t in ("north", "south")]


def test_classes_too_small_inside_a_tissue_are_left_out_when_asked_for(tmp_path: Path):
    adata, heard = uneven_tissues(), Listener()
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    settings = quick(split=SplitSettings(n_folds=2, min_cells_per_class=2), training=TrainSettings(n_epochs=1))
    models = train_tissue_specific(cells, tmp_path / "out", settings, progress=heard)
    row = by(models.table, "tissue").loc["small"]
    assert (row["status"], row["n_cells"], row["n_classes"]) == ("trained", 8, 2)
    assert "tissue 'small': 1 cells of classes that are too small are left out" in heard.lines


def test_no_tissue_that_can_have_a_model_is_an_error_with_the_reasons(tmp_path: Path):
    adata = clustered_adata(60)
    adata.obs["tissue"] = adata.obs["cell_type"]
    with pytest.raises(
        DataError, match=r"no tissue can have a model of its own: type 0: one class only \('type 0'\); type 1"
    ) as caught:
        train_tissue_specific(write_h5ad(tmp_path / "cells.h5ad", adata), tmp_path / "out", quick())
    assert "train_tissue_independent" in caught.value.message
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cache"}


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_tissues_that_are_missing_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cells = write_h5ad(tmp_path / "cells.h5ad", two_tissues(100))
    short = {"training": TrainSettings(n_epochs=2, checkpoint_every=0)}
    settings = quick(**short)
    train_tissue_specific(cells, tmp_path / "whole", settings)
    trained: list[tuple[str, str]] = []
    original = scnym.runs.fold_training._train_fold

    def noting(job, fold, *arguments):
        trained.append((job.tissue, fold.name))
        return original(job, fold, *arguments)

    def interrupted(job, fold, *arguments):
        if (job.tissue, fold.name) == ("south", "fold01"):
            raise KeyboardInterrupt
        return original(job, fold, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scnym.runs.fold_training, "_train_fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tissue_specific(cells, tmp_path / "out", settings)
    assert not (tmp_path / "out" / "tissues").exists()
    with pytest.raises(OutputExistsError, match=r"unfinished run is in the way; give --resume"):
        train_tissue_specific(cells, tmp_path / "out", settings)
    other = quick(training=TrainSettings(n_epochs=3, checkpoint_every=0), resume=True)
    with pytest.raises(SettingsError, match=r"settings\.training\.n_epochs was 2, is 3"):
        train_tissue_specific(cells, tmp_path / "out", other)
    monkeypatch.setattr(scnym.runs.fold_training, "_train_fold", noting)
    train_tissue_specific(cells, tmp_path / "out", quick(**short, resume=True))
    assert trained == [("south", "fold01"), ("south", "all_data")]
    assert files_below(tmp_path / "out" / "tissues") == files_below(tmp_path / "whole" / "tissues")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cache", "tissues"}


def test_a_finished_run_is_replaced_only_when_asked_for(finished: Path, tmp_path: Path):
    before = files_below(finished / "out" / "tissues")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        train_tissue_specific(finished / "cells.h5ad", finished / "out", quick())
    with pytest.raises(DataError):
        train_tissue_specific(finished / "cells.h5ad", finished / "out", quick(tissue_column="no", overwrite=True))
    assert files_below(finished / "out" / "tissues") == before
    (tmp_path / "tissues").mkdir()
    write_text(tmp_path / "tissues" / "precious.txt", "x")
    with pytest.raises(OutputExistsError, match="something else stands there"):
        train_tissue_specific(finished / "cells.h5ad", tmp_path, quick(overwrite=True))


@pytest.mark.parametrize(
    ("tissues", "names"),
    [
        (["Limb_Muscle", "Heart and Aorta", "Zürich"], ["Limb_Muscle", "Heart and Aorta", "Zürich"]),
        (["a/b", "a_b", "a:b"], ["a_b-2", "a_b", "a_b-3"]),
        (["../../x", "..", ".hidden", "end."], ["__.._x", "_", "_hidden", "end_"]),
        (["CON", "con", "nul.txt", "COM1"], ["CON_", "con_-2", "nul.txt_", "COM1_"]),
        (["Lung", "lung", "LUNG"], ["Lung-2", "lung-3", "LUNG"]),
        (["summary.csv", "Report.html", "summary.json"], ["summary.csv-2", "Report.html-2", "summary.json-2"]),
        (["é" * 300, "é" * 301], ["é" * 50, "é" * 50 + "-2"]),
    ],
)
def test_tissues_of_any_name_get_safe_folders(tissues: list[str], names: list[str]):
    assert list(folder_names(tissues)) == names


@given(st.lists(st.text(min_size=1, max_size=150), unique=True, max_size=12))
def test_folder_names_are_safe_unlike_and_the_same_in_any_order(tissues: list[str]):
    names = folder_names(tissues)
    assert len({name.casefold() for name in names}) == len(tissues)
    for name in names:
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert not name.startswith((".", " "))
        assert not name.endswith((".", " "))
        assert 0 < len(name.encode()) < 120
    assert dict(zip(reversed(tissues), folder_names(tissues[::-1]), strict=True)) == dict(
        zip(tissues, names, strict=True)
    )


# Which is best where


def test_compare_finds_the_families_that_can_tell_and_says_what_differs(finished: Path):
    comparison = compare(finished / "out")
    rows = by(comparison.table, "scope", "tissue", "family")
    for tissue in ("north", "south"):
        assert rows.loc[("tissue", tissue, "independent"), "accuracy"] < 0.85
        assert rows.loc[("tissue", tissue, "dependent"), "accuracy"] > 0.85
        winner, tied = comparison.verdicts()[tissue]
        assert winner in {"dependent", "specific"}
        assert "independent" not in {winner, *tied}
    assert (comparison.table.query("scope == 'overall'")["n_cells"] == 235).all()
    assert any("folds of their own" in remark for remark in comparison.remarks)
    assert any("in another fold of independent than of dependent" in remark for remark in comparison.remarks)
    written = pd.read_csv(finished / "out" / "comparison.csv", keep_default_na=False)
    assert len(written) == len(rows) == 9
    compare(finished / "out")  # its own file is replaced


def held_out_table(folder: Path, fold: list[str], predicted: list[str], *, tissue: list[str], **changes: Any) -> None:
    """A family's run, as far as it is compared: six cells of true class a, b, a, b, a, b."""
    (folder / "all_data").mkdir(parents=True)
    settings = {"tissue_column": "tissue", "split": {"seed": 0}, "overwrite": False, **changes}
    parameters = {"settings": settings, "data_hash": "x"}
    write_text(folder / "all_data" / "all_data_parameters.json", json.dumps(parameters))
    write_text(folder / "metrics.json", "{}")
    cells = [f"cell {k}" for k in range(len(fold))]
    truth = ["a", "b"] * (len(fold) // 2)
    table = pd.DataFrame({"cell_id": cells, "fold": fold, "cell_type": truth, "predicted": predicted, "tissue": tissue})
    table.to_csv(folder / "held_out_predictions.csv", index=False)


def test_the_figures_are_means_over_folds_and_a_lead_inside_the_spread_is_a_tie(tmp_path: Path):
    folds, tissue = ["f0", "f0", "f0", "f0", "f1", "f1", "f1", "f1"], ["NA", "NA", "t", "t", "NA", "NA", "t", "t"]
    perfect = ["a", "b"] * 4
    held_out_table(tmp_path / "tissue_independent", folds, ["a", "a", "a", "b", "a", "b", "a", "b"], tissue=tissue)
    held_out_table(tmp_path / "tissue_dependent", folds, perfect, tissue=tissue, overwrite=True, split={"seed": 3})
    comparison = compare(tmp_path)
    rows = by(comparison.table, "tissue", "family")
    one = rows.loc[("NA", "independent")]
    assert (one["n_cells"], one["n_folds"]) == (4, 2)
    assert one["accuracy"] == 0.75
    assert one["accuracy_sd"] == pytest.approx(np.std([0.5, 1], ddof=1))
    assert one["macro_f1"] == pytest.approx((1 / 3 + 1) / 2)
    assert comparison.verdicts() == {
        "NA": ("dependent", ["independent"]),
        "t": ("independent", ["dependent"]),
        "overall": ("dependent", ["independent"]),
    }
    assert comparison.remarks == ("independent and dependent were not trained alike: split.seed (0, 3)",)


def test_a_lead_beyond_the_spread_is_none(tmp_path: Path):
    folds, tissue = ["f0", "f0", "f1", "f1"], ["t"] * 4
    held_out_table(tmp_path / "tissue_independent", folds, ["a", "a", "a", "a"], tissue=tissue)
    held_out_table(tmp_path / "tissue_dependent", folds, ["a", "b", "a", "b"], tissue=tissue)
    assert compare(tmp_path).verdicts()["t"] == ("dependent", [])


def test_families_that_disagree_about_cells_or_are_not_there_are_refused(tmp_path: Path):
    with pytest.raises(MissingInputError, match="there is no family"):
        compare(tmp_path)
    folds, tissue = ["f0", "f0", "f1", "f1"], ["t"] * 4
    held_out_table(tmp_path / "tissue_independent", folds, ["a"] * 4, tissue=tissue)
    with pytest.raises(MissingInputError, match=r"only tissue_independent is there; .*scnym train_tissue_dependent"):
        compare(tmp_path)
    held_out_table(tmp_path / "tissue_dependent", folds, ["a"] * 4, tissue=["t", "t", "t", "u"])
    with pytest.raises(DataError, match="give 1 cells more than one tissue each, such as 'cell 3'"):
        compare(tmp_path)
    (tmp_path / "tissue_dependent" / "held_out_predictions.csv").unlink()
    with pytest.raises(MissingInputError, match="without cross-validation"):
        compare(tmp_path)


def test_compare_replaces_no_file_of_others(tmp_path: Path):
    for name in ("tissue_independent", "tissue_dependent"):
        held_out_table(tmp_path / name, ["f0", "f0", "f1", "f1"], ["a"] * 4, tissue=["t"] * 4)
    write_text(tmp_path / "comparison.csv", "mine\n1\n")
    with pytest.raises(OutputExistsError, match="something else"):
        compare(tmp_path)
    assert (tmp_path / "comparison.csv").read_text() == "mine\n1\n"


def test_the_command_prints_winners_or_json(finished: Path):
    printed = CliRunner().invoke(app, ["compare", str(finished / "out")])
    assert printed.exit_code == 0, printed.output
    for word in ("north", "south", "overall", "best", "note: specific models"):
        assert word in printed.output
    content = json.loads(CliRunner().invoke(app, ["compare", str(finished / "out"), "--json"]).stdout)
    assert len(content["rows"]) == 9


def test_macro_f1_of_a_tissue_is_over_the_classes_that_occur_there():
    cells = pd.DataFrame(
        {"tissue": ["t", "t", "u", None], "fold": "f0", "cell_type": list("abca"), "predicted": list("abdb")}
    )
    table = by(figures_by_tissue(cells), "tissue")
    assert list(table.index) == ["t", "u"]
    assert table.loc["t", "macro_f1"] == 1
    assert table.loc["u", "macro_f1"] == 0
    assert np.isnan(table.loc["t", "macro_f1_sd"])


# Labels and tissues of some of the cells


def test_labels_of_some_cells_keep_their_names_and_drop_classes_that_do_not_occur():
    labels = CellLabels(np.array([0, 1, 2, 1, -1, 2, 2]), ("a", "b", "c"), 1, 0)
    some = labels.within(np.array([False, True, True, True, True, True, False]), min_cells=0)
    assert some.classes == ("b", "c")
    np.testing.assert_array_equal(some.codes_C, [-1, 0, 1, 0, -1, 1, -1])
    fewer = labels.within(np.array([True, True, True, True, True, True, True]), min_cells=2)
    assert (fewer.classes, fewer.n_rare) == (("b", "c"), 1)


def test_a_context_reads_numbers_as_they_are_written_and_nothing_as_none():
    context = context_of(pd.DataFrame({"t": [2.0, np.nan, 10.0, 2.0]}), "t")
    assert context is not None
    assert context.levels == ("10", "2")
    assert context.names_of(np.arange(4)).astype(object).fillna("-").tolist() == ["2", "-", "10", "2"]
    some = context.within(np.array([True, True, False, True]))
    assert (some.column, some.levels) == ("t", ("2",))
    np.testing.assert_array_equal(some.codes_C, [0, -1, -1, 0])


def test_families_without_a_cell_in_common_are_not_compared(tmp_path: Path):
    folds, tissue = ["f0", "f0", "f1", "f1"], ["t"] * 4
    held_out_table(tmp_path / "tissue_independent", folds, ["a"] * 4, tissue=tissue)
    held_out_table(tmp_path / "tissue_dependent", folds, ["a"] * 4, tissue=tissue)
    other = tmp_path / "tissue_dependent" / "held_out_predictions.csv"
    other.write_text(other.read_text().replace("cell ", "sample:cell "))
    with pytest.raises(DataError, match="no cell was held out by all"):
        compare(tmp_path)
    assert not (tmp_path / "comparison.csv").exists()
