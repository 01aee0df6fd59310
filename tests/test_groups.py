"""What an AnnData holds beside counts and annotations goes through a store and comes back."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from helpers import dense, telling_adata, write_csv, write_h5ad, write_text
from scipy import sparse

from scnym import ConvertSettings, convert, export, verify
from scnym.disk.obs_var import copy_rows

CELLS = np.arange(40)


class Saying:
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        from scnym.base.progress import SILENT

        self.said: list[str] = []
        self.task = SILENT.task

    def say(self, text: str) -> None:
        self.said.append(text)


def rich_adata(n_cells: int = 40) -> Any:
    """Every row of obsm names its cell, every row of varm its gene."""
    adata: Any = telling_adata(n_cells)
    cells = np.arange(n_cells)
    adata.obsm["X_pca"] = (cells[:, None] + np.arange(3) / 10).astype(np.float32)
    adata.obsm["whole"] = np.stack([cells, -cells], axis=1)
    adata.obsm["cube"] = cells[:, None, None] + np.zeros((1, 2, 2))
    adata.obsm["sparse"] = sparse.csr_matrix(np.diag(cells)[:, :5].astype(np.float64))
    adata.obsm["frame"] = pd.DataFrame({"a": cells, "b": [f"text {k}" for k in cells]}, index=adata.obs_names)
    adata.varm["PCs"] = np.arange(12)[:, None] + np.zeros((1, 3))
    adata.uns = {
        "text": "some",
        "number": 0.5,
        "whole": 7,
        "flag": True,
        "nothing": None,
        "colours": np.array(["red", "blue"], dtype=object),
        "zeros": np.zeros(3),
        "matrix": np.eye(2),
        "pca": {"variance": np.arange(3.0), "params": {"zero_center": True}, "empty": {}},
        "table": pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}, index=["r", "s"]),
        "graph": sparse.csr_matrix(np.eye(3)),
    }
    return adata


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Compare what AnnData gives for groups, types too."""
    if isinstance(expected, dict) or (hasattr(expected, "keys") and not isinstance(expected, pd.DataFrame)):
        assert set(found) == set(expected), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}/{name}")
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_categorical=False)
    elif hasattr(expected, "toarray"):
        np.testing.assert_array_equal(found.toarray(), expected.toarray())
    else:
        np.testing.assert_array_equal(found, expected, err_msg=where)
        dtypes = [np.asarray(one).dtype for one in (found, expected)]
        assert dtypes[0] == dtypes[1] or all(dtype.kind in "OT" for dtype in dtypes), where


@pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:.*specification.*")
@pytest.mark.parametrize("form", ["h5ad", "zarr", "csc"])
def test_an_anndata_comes_back_with_all_its_groups(form: str, tmp_path: Path):
    adata = rich_adata()
    if form == "csc":
        adata.X = sparse.csc_matrix(adata.X)
    path = tmp_path / ("in.zarr" if form == "zarr" else "in.h5ad")
    adata.write_zarr(path) if form == "zarr" else adata.write_h5ad(path)
    progress: Any = Saying()
    store = convert([path], tmp_path / "a.zarr", progress=progress)
    expected = anndata.read_zarr(path) if form == "zarr" else anndata.read_h5ad(path)
    again = convert([store], tmp_path / "again.zarr")
    for back in (
        anndata.read_h5ad(export(store, tmp_path / "out.h5ad", progress=progress)),
        anndata.read_zarr(store / "dataset_0"),
        anndata.read_h5ad(export(again, tmp_path / "again.h5ad")),
    ):
        for kind in ("obsm", "varm", "uns"):
            assert_same(getattr(back, kind), getattr(expected, kind), kind)
        assert list(back.obs_names) == list(expected.obs_names)
        np.testing.assert_array_equal(dense(back), dense(expected))
    assert progress.said == []


def test_rows_of_obsm_move_with_their_cells(tmp_path: Path):
    path = write_h5ad(tmp_path / "in.h5ad", rich_adata())
    store = convert([path], tmp_path / "a.zarr", ConvertSettings(cluster_by="cell_type"))
    back = anndata.read_h5ad(export(store, tmp_path / "out.h5ad"))
    assert list(back.obs_names) != [f"cell {k}" for k in CELLS]
    back = back[[f"cell {k}" for k in CELLS]].copy()
    assert_same(back.obsm, anndata.read_h5ad(path).obsm)


@pytest.mark.parametrize("max_memory_bytes", [1, 1000, 10**9])
def test_rows_are_copied_in_any_order_through_blocks_of_any_size(max_memory_bytes: int):
    source = np.arange(80.0).reshape(40, 2)
    order_C, into = np.random.default_rng(0).permutation(40), np.zeros((42, 2))
    copy_rows(source, into, max_memory_bytes=max_memory_bytes, order_C=order_C, first_row=2)
    np.testing.assert_array_equal(into, np.concatenate([np.zeros((2, 2)), source[order_C]]))


def test_arrays_that_all_sources_have_are_joined_and_the_rest_is_named(tmp_path: Path):
    first, second = rich_adata(), rich_adata(10)
    second.obsm["X_pca"] = (second.obsm["X_pca"] + 100).astype(np.float64)
    second.obsm["whole"] = np.zeros((10, 5))
    del second.obsm["cube"]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    progress: Any = Saying()
    store = convert(paths, tmp_path / "both.zarr")
    back = anndata.read_h5ad(export(store, tmp_path / "out.h5ad", progress=progress))
    assert list(back.obsm) == ["X_pca"]
    np.testing.assert_array_equal(back.obsm["X_pca"], np.concatenate([first.obsm["X_pca"], second.obsm["X_pca"]]))
    (said,) = progress.said
    assert {"obsm whole", "obsm cube", "varm PCs", "uns pca"} <= set(said.removeprefix("left out: ").split(", "))
    with_csv = convert([paths[0], write_csv(tmp_path / "c.csv")], tmp_path / "csv.zarr")
    assert not anndata.read_h5ad(export(with_csv, tmp_path / "csv.h5ad")).obsm


def test_what_is_left_out_is_named_when_a_file_is_converted(tmp_path: Path):
    adata = rich_adata()
    adata.raw = adata.copy()
    adata.layers["spliced"], adata.layers["counts"] = dense(adata), dense(adata)
    adata.obsp["distances"] = sparse.csr_matrix(np.eye(40))
    path = write_h5ad(tmp_path / "in.h5ad", adata)
    with h5py.File(path, "a") as file:
        strange = file.create_dataset("uns/strange", data=np.arange(3))
        strange.attrs.update({"encoding-type": "from the future", "encoding-version": "9"})
        file["uns/pca/a\\b"] = 1
    progress: Any = Saying()
    store = convert([path], tmp_path / "a.zarr", progress=progress)
    assert progress.said == [
        "in.h5ad: left out: layers counts, spliced; obsp distances; raw",
        "in.h5ad: left out, since it cannot be read or stored: uns pca/a\\b, uns strange",
    ]
    assert "variance" in anndata.read_zarr(store / "dataset_0").uns["pca"]
    progress.said.clear()
    convert([path], tmp_path / "b.zarr", ConvertSettings(layer="counts"), progress=progress)
    assert progress.said[0] == "in.h5ad: left out: layers spliced; obsp distances; X; raw"


def test_what_is_too_large_to_be_read_whole_is_left_out(tmp_path: Path):
    adata = telling_adata()
    adata.uns["large"], adata.uns["small"] = np.zeros(4 * 10**6), np.zeros(4)
    progress: Any = Saying()
    path = write_h5ad(tmp_path / "in.h5ad", adata)
    store = convert([path], tmp_path / "a.zarr", ConvertSettings(max_memory_bytes=10**8), progress=progress)
    assert progress.said == ["in.h5ad: left out, since it cannot be read or stored: uns large"]
    assert list(anndata.read_zarr(store / "dataset_0").uns) == ["small"]


@pytest.mark.parametrize("kind", ["obsm/X_pca", "varm/PCs", "uns/zeros"])
def test_damage_to_any_group_is_found(kind: str, tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "in.h5ad", rich_adata())], tmp_path / "a.zarr")
    path = next(path for path in (store / "dataset_0" / kind / "c").rglob("*") if path.is_file())
    path.write_bytes(b"x")
    assert [fault.file for fault in verify(store).faults] == [path.relative_to(store).as_posix()]


KILLED = """
import os, sys
import scnym.disk.obs_var as groups
from scnym import ConvertSettings, convert
original, calls = groups.copy_rows, 0
def counting(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), 9)
    return original(*args, **kwargs)
groups.copy_rows = counting
convert([sys.argv[2]], sys.argv[3], ConvertSettings(cluster_by="cell_type"))
"""


@pytest.mark.slow
def test_after_a_kill_the_groups_are_completed_to_the_byte(tmp_path: Path):
    path = write_h5ad(tmp_path / "in.h5ad", rich_adata())
    run = [sys.executable, str(write_text(tmp_path / "run.py", KILLED))]
    done = subprocess.run([*run, "2", str(path), str(tmp_path / "a.zarr")], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    for name in ("a.zarr", "b.zarr"):
        subprocess.run([*run, "-1", str(path), str(tmp_path / name)], check=True, env=dict(os.environ))
    files = [
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "a.zarr", tmp_path / "b.zarr")
    ]
    assert files[0] == files[1]
    assert any("obsm/X_pca" in name for name in files[0])
