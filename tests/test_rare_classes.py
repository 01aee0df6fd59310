"""Classes of a few cells, from the folds to the page: they stop nothing, and what is not judged is said to be so."""

import json
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import pytest
from helpers import clustered_adata, write_h5ad
from test_runs import Listener, quick
from typer.testing import CliRunner

from cli.main import app
from scnym import (
    RunSettings,
    SplitSettings,
    TrainSettings,
    compare,
    train,
    train_tissue_dependent,
    train_tissue_specific,
)

FIGURES = ("precision", "recall", "f1")


def with_rare_classes(n_cells: int = 120) -> anndata.AnnData:
    """Cells of two tissues; of class 'one' there is one cell, of 'two' are two and of 'three' three."""
    adata = clustered_adata(n_cells)
    kinds = adata.obs["cell_type"].astype(str).to_numpy(dtype=object)
    kinds[[0, 2, 4, 6, 8, 10]] = ["one", "two", "two", "three", "three", "three"]
    adata.obs["cell_type"] = kinds
    adata.obs["tissue"] = ["lung", "liver"] * (n_cells // 2)
    return adata


def settings_of(**changes: Any) -> RunSettings:
    content = {"split": SplitSettings(), "training": TrainSettings(n_epochs=2), "baseline": True, "n_top_genes": 40}
    return quick(**content | changes)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Listener]:
    folder, heard = tmp_path_factory.mktemp("rare"), Listener()
    cells = write_h5ad(folder / "cells.h5ad", with_rare_classes())
    for run in (train, train_tissue_dependent, train_tissue_specific):
        run(cells, folder / "out", settings_of(), progress=heard)
    return folder / "out", heard


def test_the_files_of_a_run_say_what_was_not_judged_and_hold_no_figure_for_it(families: tuple[Path, Listener]):
    out, _ = families
    for run in (out / "tissue_independent", out / "tissue_dependent", out / "tissues" / "lung"):
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["not_judged"] == ["one"]
        per_class = metrics["held_out"]["per_class"]
        assert per_class["one"] == dict.fromkeys(FIGURES) | {"support": 0}
        judged = [row["f1"] for name, row in per_class.items() if name != "one"]
        assert metrics["held_out"]["macro_f1"] == pytest.approx(sum(judged) / len(judged))
        assert {name: row["support"] for name, row in per_class.items() if row["support"] < 4} == {
            "one": 0, "two": 2, "three": 3
        }  # fmt: skip
        assert metrics["spread"]["per_class"]["one"]["f1"] == {"mean": None, "sd": None}
        assert metrics["baseline"]["held_out"]["per_class"]["one"]["f1"] is None
        assert "NaN" not in (run / "metrics.json").read_text()
        held_out = pd.read_csv(run / "held_out_predictions.csv")
        assert "cell 0" not in set(held_out["cell_id"])
        assert held_out["cell_id"].is_unique
        for fold in run.glob("fold0?"):
            assert "cell 0" in set(pd.read_csv(fold / "train_idx.csv")["cell_id"])
        page, card = (run / "report.html").read_text(), (run / "all_data" / "model_card.md").read_text()
        assert "others learnt from:\n  one." in page
        assert '<td colspan="3">not judged</td>' in page
        assert "| one | 1 | not judged | not judged | not judged |" in card
        assert "Without one: not judged" in card


def test_a_cell_that_is_never_held_out_is_on_the_map_without_a_prediction(families: tuple[Path, Listener]):
    table: Any = pd.read_csv(families[0] / "tissue_independent" / "cell_map.csv").set_index("cell_id")
    assert table.loc["cell 0", ["predicted", "confidence"]].isna().all()
    own = pd.read_csv(families[0] / "tissue_independent" / "held_out_predictions.csv").set_index("cell_id")
    assert table["predicted"].drop("cell 0").to_dict() == own["predicted"].loc[table.index.drop("cell 0")].to_dict()


def test_it_is_said_in_one_line_before_training_and_in_the_comparison(families: tuple[Path, Listener]):
    out, heard = families
    line = (
        "classes that are not judged, as no cell can be held out, and others learnt from: 'one'; held out in some "
        "folds only, having few cells: 'three (3 of 5)', 'two (2 of 5)'"
    )
    assert [said for said in heard.lines if "not judged" in said] == [line, line, f"tissue 'lung': {line}"]
    assert json.loads((out / "tissues" / "summary.json").read_text())["tissues"][1]["n_not_judged"] == 1
    remarks = compare(out).remarks
    for place in ("independent", "dependent", "specific in lung"):
        assert f"{place}: not judged, as no cell could be held out: 'one'" in remarks


def test_the_terminal_says_so_too_and_json_stays_as_it_is_promised(tmp_path: Path):
    cells = write_h5ad(tmp_path / "cells.h5ad", with_rare_classes(60))
    line = ["--input_counts", str(cells), "--lower_group", "cell_type", "--n_epochs", "1", "--n_hidden", "4"]
    printed = CliRunner().invoke(app, ["train_tissue_independent", *line, "--out_path", str(tmp_path / "a")]).stdout
    assert [row.split()[-2:] for row in printed.splitlines() if row.startswith("one ")] == [["not", "judged"]]
    assert " 1 one (not judged)" in printed
    assert "not judged, since no cell could be held out and others learnt from: 'one'" in printed
    ran = CliRunner().invoke(app, ["train_tissue_independent", *line, "--out_path", str(tmp_path / "b"), "--json"])
    assert json.loads(ran.stdout)["not_judged"] == ["one"]
    printed = CliRunner().invoke(app, ["train_tissue_specific", *line, "--out_path", str(tmp_path / "a")]).stdout
    assert "(1 not judged)" in printed


@pytest.mark.parametrize(
    ("asked_for", "kinds", "n_folds"), [(2, "aabb", 2), (10, "aaaabbbbcc", 10), (5, "aaabcdef", 3), (0, "aabcdefg", 0)]
)
def test_a_handful_of_cells_is_trained_on_too(asked_for: int, kinds: str, n_folds: int, tmp_path: Path):
    adata = clustered_adata(len(kinds))
    adata.obs["cell_type"] = [*kinds]
    split = SplitSettings(n_folds=asked_for)
    summary = train(adata, tmp_path, settings_of(split=split, n_top_genes=None, baseline=asked_for > 0))
    json.dumps(summary.to_json(), allow_nan=False)
    assert len(summary.folds) == n_folds


def test_one_fold_that_is_left_of_groups_has_no_spread(tmp_path: Path):
    adata = clustered_adata(40)
    adata.obs["cell_type"] = ["a", "b"] * 10 + ["a"] * 20
    adata.obs["donor"] = ["x"] * 20 + ["y"] * 20
    split = SplitSettings(n_folds=2, group_column="donor")
    heard = Listener()
    summary = train(adata, tmp_path, settings_of(split=split, n_top_genes=None), progress=heard)
    assert [fold.fold.name for fold in summary.folds] == ["fold00"]
    assert "1 folds in place of 2: others would hold out nothing, or learn one class only" in heard.lines
    assert summary.not_judged == ["b"]
    content = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert content["spread"]["accuracy"]["sd"] is None
    assert content["baseline"]["network_adds"]["accuracy"]["sd"] is None
