"""Names that are probably one name, or none: they are kept, and it is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pytest
from helpers import WRITERS, clustered_adata, write_h5ad, write_text
from test_runs import Listener, quick

from scnym import (
    MarkerSettings,
    SplitSettings,
    TrainSettings,
    convert,
    evaluate,
    find_markers,
    train,
    train_tissue_dependent,
)
from scnym.runs.inputs import remarks_on_names


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (("B", "B "), "blanks"),
        (("B", " B"), "blanks"),
        (("T cell", "T  cell"), "blanks"),
        (("T cell", "Tcell"), "blanks"),
        (("T cell", "T\u00a0cell"), "blanks"),
        (("NK", "nk"), "upper and lower case"),
        (("CD14+ Mono", "CD14+ mono"), "upper and lower case"),
        (("NK cell", "nk Cell "), "blanks and case"),
        (("B", "B\u200b"), "characters that look alike or are not seen"),
        (("caf\u00e9", "cafe\u0301"), "characters that look alike or are not seen"),
    ],
)
def test_names_that_are_nearly_the_same_are_named(names: tuple[str, str], difference: str):
    (line,) = remarks_on_names(["other", *names], "classes")
    assert line.startswith("classes: '")
    assert f" differ only in {difference}, but stay 2 different ones" in line


def test_names_that_differ_in_more_are_not():
    kinds = ["CD4+ T", "CD4 T", "B1", "B2", "B", "Th1", "Th17", "T-cell", "alpha", "\u03b1", "none of these", "natural"]
    assert not [*remarks_on_names(kinds, "classes")]


@pytest.mark.parametrize("name", ["nan", "NaN", "None", "NA", "<NA>", "null", "N/A", "NaT", " nan "])
def test_names_of_missing_values_are_named(name: str):
    (line,) = remarks_on_names(["B", name], "classes")
    assert line.startswith(f"classes: one is called {name!r}")


def test_of_very_many_a_few_are_told():
    lines = [*remarks_on_names([name for k in range(9) for name in (f"a{k}", f"A{k}")], "classes")]
    assert len(lines) == 4
    assert lines[-1] == "classes: 6 more groups of names differ as little"


def odd_cells() -> anndata.AnnData:
    adata = clustered_adata(60)
    adata.obs["cell_type"] = ["B", "B ", "nan"] * 20
    adata.obs["tissue"] = ["lung", "Lung"] * 30
    adata.obs["donor"] = ["d1", "d1 ", "d2", "d3"] * 15
    return adata


def as_zarr(path: Path, adata: anndata.AnnData) -> Path:
    adata.write_zarr(path)
    return path


FORMS: dict[str, Callable[[Path, anndata.AnnData], Any]] = {
    "h5ad": write_h5ad,
    "loom": WRITERS["loom"],
    "in memory": lambda _, adata: adata,
    "zarr": as_zarr,
    "store": lambda path, adata: convert([adata], path.with_suffix(".zarr")),
}


@pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:The `_as_parameter_` is deprecated")
@pytest.mark.parametrize("form", FORMS)
def test_training_goes_on_with_odd_names_of_any_format_and_says_so(form: str, tmp_path: Path):
    cells, heard = FORMS[form](tmp_path / f"cells.{form}", odd_cells()), Listener()
    settings = quick(split=SplitSettings(n_folds=2, group_column="donor"), training=TrainSettings(n_epochs=1))
    summary = train_tissue_dependent(cells, tmp_path / "out", settings, progress=heard)
    assert summary.labels.classes == ("B", "B ", "nan")
    told = "\n".join(heard.lines)
    assert "classes of column 'cell_type': 'B', 'B ' differ only in blanks" in told
    assert "classes of column 'cell_type': one is called 'nan'" in told
    assert "levels of column 'tissue': 'Lung', 'lung' differ only in upper and lower case" in told
    assert "groups of column 'donor': 'd1', 'd1 ' differ only in blanks" in told


def test_so_do_evaluation_markers_and_training_from_a_table(tmp_path: Path):
    adata, heard = odd_cells(), Listener()
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    table = write_text(
        tmp_path / "labels.csv", "id,kind\n" + "".join(f"cell {k},{'NK' if k % 2 else 'nk'}\n" for k in range(60))
    )
    settings = quick(
        label_column="kind",
        training_metadata=str(table),
        split=SplitSettings(n_folds=0),
        training=TrainSettings(n_epochs=1),
    )
    summary = train(path, tmp_path / "out", settings, progress=heard)
    assert "classes of column 'kind': 'NK', 'nk' differ only in upper and lower case" in "\n".join(heard.lines)
    heard.lines.clear()
    given = write_text(tmp_path / "given.csv", "id,cell_type\ncell 0,b\ncell 1,B \n")
    evaluate(given, path, progress=heard)
    assert "labels: 'B', 'B ', 'b' differ only in blanks and case, but stay 3" in "\n".join(heard.lines)
    heard.lines.clear()
    adata.obs["kind"] = ["NK", "nk", "Nk"] * 20
    few = MarkerSettings(n_restarts=2, n_steps=2, min_gene_coverage=0)
    find_markers(summary.model_path, tmp_path / "markers", few, input_counts=adata, progress=heard)
    assert "of the model: 'NK', 'Nk', 'nk' differ only in upper and lower case" in "\n".join(heard.lines)
