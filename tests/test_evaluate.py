"""Labels against the truth: columns found, cells joined by id, figures that can be counted by hand."""

import json
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import pytest
from helpers import clustered_adata, write_h5ad, write_text
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from cli.main import app
from scnym import EvaluateSettings, convert, evaluate
from scnym.base.errors import DataError, MissingInputError, OutputExistsError, UserError

TRUTH = "barcode,cell_type\nc1,B\nc2,B\nc3,T\nc4,T\nc5,NK\nc6,\nc7,T\n"
GIVEN = "cell_id,cell_type,confidence\nc3,T,0.9\nc1,B,0.8\nc2,T,0.6\nc4,Unknown,0.3\nc5,B,0.7\nc6,B,0.5\nc9,B,0.5\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_text(tmp_path / "given.csv", GIVEN), write_text(tmp_path / "truth.csv", TRUTH)


def test_cells_are_joined_by_id_and_what_has_no_partner_is_counted(files: tuple[Path, Path]):
    found = evaluate(*files)
    assert found.scores.n_cells == 5
    assert (found.n_unlabelled, found.n_without_truth, found.n_without_prediction) == (1, 1, 1)
    assert found.columns == {
        "cell": "cell_id", "truth": "cell_type", "predicted": "cell_type", "confidence": "confidence"
    }  # fmt: skip


def test_figures_are_those_counted_by_hand_and_unknown_cells_are_wrong(files):
    scores = evaluate(*files).scores
    assert scores.accuracy == pytest.approx(2 / 5)  # c3 and c1
    assert scores.coverage == pytest.approx(4 / 5)
    assert scores.accuracy_of_labelled == pytest.approx(2 / 4)
    assert scores.balanced_accuracy == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    zero: Any = 0
    truth, given = ["T", "B", "B", "T", "NK"], ["T", "B", "T", "Unknown", "B"]
    expected = f1_score(truth, given, labels=["B", "NK", "T"], average="macro", zero_division=zero)
    assert scores.macro_f1 == pytest.approx(expected)
    assert list(scores.per_class.index) == ["B", "NK", "T"]
    assert list(scores.per_class["support"]) == [2, 1, 2]
    assert list(scores.confusion.columns) == ["B", "NK", "T", "Unknown"]
    assert scores.confusion.to_numpy().tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    # Bins of a fifteenth: each labelled cell is alone in its own.
    assert scores.calibration_error == pytest.approx((0.1 + 0.2 + 0.6 + 0.7) / 4)


def test_the_order_of_the_lines_changes_nothing(files, tmp_path: Path):
    table = pd.read_csv(files[0], dtype=str).sample(frac=1, random_state=3)
    table.to_csv(tmp_path / "shuffled.csv", index=False)
    assert evaluate(tmp_path / "shuffled.csv", files[1]).to_json() == evaluate(*files).to_json()


@pytest.mark.parametrize(
    ("text", "column", "confidence"),
    [
        (",predicted_labels,conf_score\nc1,B,0.5\nc3,T,0.5\n", "predicted_labels", "conf_score"),
        ("x,predicted.id\nc1,B\nc3,T\n", "predicted.id", None),
        ("cell,my favourite\nc1,B\nc3,T\n", "my favourite", None),
    ],
)
def test_columns_of_other_tools_are_found(text, column, confidence, files, tmp_path: Path):
    found = evaluate(write_text(tmp_path / "other.csv", text), files[1])
    assert (found.columns["predicted"], found.columns["confidence"]) == (column, confidence)
    assert found.scores.accuracy == 1.0
    assert found.scores.calibration_error == (None if confidence is None else pytest.approx(0.5))


def test_columns_can_be_named(tmp_path: Path):
    text = "id,cell_type,second,sure\nc1,X,B,0.1\nc3,X,T,0.2\n"
    given = write_text(tmp_path / "given.tsv", text.replace(",", "\t"))
    truth = write_text(tmp_path / "truth.csv", "n,id,cell_type,fine\n1,c1,Y,B\n2,c3,Y,T\n")
    named = EvaluateSettings(label_column="fine", predicted_column="second", confidence_column="sure", cell_column="id")
    found = evaluate(given, truth, named)
    assert found.scores.accuracy == 1.0
    assert found.scores.calibration_error == pytest.approx(0.85)
    for wrong in ("label_column", "predicted_column", "confidence_column", "cell_column"):
        with pytest.raises(DataError, match="there is no column 'nope'"):
            evaluate(given, truth, EvaluateSettings(**{**vars(named), wrong: "nope"}))


def test_the_truth_may_be_an_h5ad_or_a_store(tmp_path: Path):
    adata = clustered_adata(60)
    table = pd.DataFrame({"cell_id": adata.obs_names, "cell_type": list(adata.obs["cell_type"])})
    table.loc[:5, "cell_type"] = "type 9"
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "given.csv", index=False)
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    for truth in (cells, convert([cells], tmp_path / "cells.zarr")):
        assert evaluate(tmp_path / "given.csv", truth).scores.accuracy == pytest.approx(54 / 60)


def test_a_mapping_renames_either_side_and_leaves_out_what_becomes_nothing(files, tmp_path: Path):
    given, truth = files
    mapping = write_text(tmp_path / "map.csv", "from,to\nB,lymphocyte\nT,lymphocyte\nNK,\n")
    found = evaluate(given, truth, EvaluateSettings(mapping=str(mapping)))
    assert found.scores.n_cells == 4
    assert found.n_unlabelled == 2
    assert found.scores.accuracy == pytest.approx(3 / 4)
    twice = write_text(tmp_path / "twice.csv", "from,to\nB,x\nB,y\n")
    with pytest.raises(DataError, match="'B' stands twice"):
        evaluate(given, truth, EvaluateSettings(mapping=str(twice)))


@pytest.mark.parametrize(
    ("given", "truth", "words"),
    [
        ("cell_id,cell_type\nx1,B\n", TRUTH, "none of the 1 cells, such as 'x1', has a label in the truth"),
        ("cell_id,cell_type\nc1,B\nc1,T\n", TRUTH, "'c1' stands twice"),
        ("cell_id,cell_type,confidence\nc1,B,80\n", TRUTH, "'80' of cell c1 is no number from 0 to 1"),
        (GIVEN, "cell,a,b\nc1,B,B\n", "no column has one of the usual names.*--lower_group one of cell, a, b"),
        (GIVEN, "cell,cell_type\nc1,B\nc1,B\n", "no column names every cell once"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(given: str, truth: str, words: str, tmp_path: Path):
    paths = write_text(tmp_path / "given.csv", given), write_text(tmp_path / "truth.csv", truth)
    with pytest.raises(UserError, match=words):
        evaluate(*paths)
    with pytest.raises(MissingInputError):
        evaluate(paths[0], tmp_path / "nowhere.csv")


def test_the_command_prints_json_and_writes_tables(files, tmp_path: Path):
    arguments = ["evaluate", *map(str, files), "--out_path", str(tmp_path / "out"), "--json"]
    printed = json.loads(CliRunner().invoke(app, arguments).stdout)
    written = json.loads((tmp_path / "out" / "evaluation" / "metrics.json").read_text())
    assert printed["accuracy"] == written["accuracy"] == pytest.approx(2 / 5)
    confusion = pd.read_csv(tmp_path / "out" / "evaluation" / "confusion.csv", index_col="truth")
    assert confusion.loc["T", "Unknown"] == 1
    assert len(pd.read_csv(tmp_path / "out" / "evaluation" / "per_class.csv")) == 3
    with pytest.raises(OutputExistsError):
        evaluate(*files, out_path=tmp_path / "out")
    shown = CliRunner().invoke(app, ["evaluate", *map(str, files)])
    assert "accuracy 0.400" in shown.stdout
    assert "labelled 80.0% of the cells" in shown.stdout
    assert "cells of the predictions are not in the truth" in shown.stderr


def test_a_true_label_stands_beside_the_one_given_and_is_not_taken_for_it(files, tmp_path: Path):
    held_out = "cell_id,fold,cell_type,predicted\nc1,fold00,B,T\nc3,fold00,T,T\n"
    found = evaluate(write_text(tmp_path / "held_out.csv", held_out), files[1])
    assert (found.columns["predicted"], found.scores.accuracy) == ("predicted", 0.5)


def test_classes_and_cells_called_na_or_none_keep_their_names(tmp_path: Path):
    adata = clustered_adata(36)
    adata.obs["cell_type"] = adata.obs["cell_type"].map({"type 0": "NA", "type 1": "None", "type 2": "nan"})
    adata.obs_names = ["NA", "null", *adata.obs_names[2:]]
    given = tmp_path / "given.csv"
    labels = adata.obs["cell_type"].to_numpy()
    pd.DataFrame({"cell_id": adata.obs_names, "cell_type": labels}).to_csv(given, index=False)
    found = evaluate(given, write_h5ad(tmp_path / "cells.h5ad", adata), EvaluateSettings(label_column="cell_type"))
    assert (found.scores.n_cells, found.scores.accuracy, found.scores.coverage) == (36, 1.0, 1.0)


def test_cells_that_the_truth_calls_unknown_have_no_true_label(files, tmp_path: Path):
    truth = write_text(tmp_path / "partly.csv", TRUTH.replace("c1,B", "c1,Unknown"))
    found = evaluate(files[0], truth)
    assert (found.n_unlabelled, found.scores.n_cells) == (2, 4)
    assert found.scores.confusion.to_numpy().sum() == 4


def test_labels_of_which_none_is_known_to_the_truth_are_told_of(files, tmp_path: Path):
    given = write_text(tmp_path / "other.csv", "cell_id,cell_type\nc1,1.0\nc3,2.0\n")
    result = CliRunner().invoke(app, ["evaluate", str(given), str(files[1])])
    assert result.exit_code == 0
    assert "no label given, such as '1.0', '2.0', is one of the truth, such as 'B', 'T'" in result.stderr
    assert "--mapping" in result.stderr


def test_cells_in_memory_stand_for_tables(files):
    given, truth = (pd.read_csv(path, index_col=0) for path in files)
    named = given.rename(columns=lambda name: f"scnym_{name}")
    adata = anndata.AnnData(obs=named.assign(cell_type=truth["cell_type"].reindex(named.index)))
    known = anndata.AnnData(obs=truth)
    figures = evaluate(*files).scores.to_json()
    assert evaluate(adata, known).scores.to_json() == figures
    assert evaluate(files[0], known).scores.to_json() == figures
    assert evaluate(adata, files[1], EvaluateSettings(predicted_column="scnym_cell_type")).scores.to_json() == figures
