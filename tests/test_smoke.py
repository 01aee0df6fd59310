"""A user's way from files of every format to labels, markers and an h5ad, in minutes: `make smoke` takes it with the
newest packages of any Python. What the libraries deprecate is no fault here."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from helpers import clustered_adata, dense, write_csv, write_h5ad, write_loom, write_text
from scipy import io, sparse

from scnym import convert, open_store, verify

pytestmark = pytest.mark.filterwarnings("default", "ignore::DeprecationWarning", "ignore::FutureWarning")
GENES = "genes.txt"
TRAIN = "--out_path run --lower_group cell_type --n_folds 2 --n_epochs 30 --batch_size 64"


@pytest.fixture(autouse=True)
def _text_as_users_write_it() -> Iterator[None]:
    """What AnnData does by default: text that may be missing is a form of its own from pandas 3 on."""
    with anndata.settings.override(allow_write_nullable_strings=pd.__version__ >= "3"):
        yield


def scnym(line: str, folder: Path) -> str:
    """Run a command as a user does, from a folder that is not the repository; return what it prints."""
    command = [sys.executable, "-m", "scnym.cli.main", *line.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"scnym {line}\n{done.stdout}{done.stderr}"
    return done.stdout


def cells(seed: int = 0) -> anndata.AnnData:
    """Cells of three classes, with what AnnData holds beside their counts."""
    adata = clustered_adata(240, seed=seed)
    adata.obs["donor"] = pd.Categorical([f"donor {k % 2}" for k in range(adata.n_obs)])
    adata.obs["n_umis"] = dense(adata).sum(axis=1).astype(np.int64)
    adata.obsm["X_pca"] = np.arange(2 * adata.n_obs, dtype=np.float32).reshape(-1, 2)
    adata.uns["study"] = {"title": "made up", "donors": pd.DataFrame({"age": [30, 40], "sex": ["f", "m"]})}
    return adata


def write_tsv(path: Path, adata: anndata.AnnData) -> None:
    """Write genes x cells, as many public tables are."""
    table = pd.DataFrame(dense(adata).T.astype(int), index=adata.var_names, columns=adata.obs_names)
    table.to_csv(path, sep="\t", index_label="gene")


def write_csc(path: Path, adata: anndata.AnnData) -> None:
    """Write counts gene by gene."""
    adata.X = sparse.csc_matrix(dense(adata))
    adata.write_h5ad(path)


def write_dense(path: Path, adata: anndata.AnnData) -> None:
    """Write every zero."""
    adata.X = dense(adata)
    adata.write_h5ad(path)


def write_tenx_folder(path: Path, adata: anndata.AnnData) -> None:
    """Write what Cell Ranger 3 and newer write."""
    path.mkdir()
    with gzip.open(path / "matrix.mtx.gz", "wb") as file:
        io.mmwrite(cast("BinaryIO", file), sparse.coo_matrix(dense(adata).T.astype(int)))
    write_text(path / "barcodes.tsv.gz", "".join(f"{name}\n" for name in adata.obs_names))
    write_text(path / "features.tsv.gz", "".join(f"{name}\t{name}\tGene Expression\n" for name in adata.var_names))


def write_tenx_h5(path: Path, adata: anndata.AnnData) -> None:
    """Write what Cell Ranger 3 and newer write."""
    counts_CG = sparse.csr_matrix(dense(adata).astype(np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts_CG, name)
        group["shape"] = np.array(counts_CG.shape[::-1], np.int32)
        group["barcodes"] = adata.obs_names.to_numpy(dtype="S")
        names = adata.var_names.to_numpy(dtype="S")
        kinds = np.full(len(names), b"Gene Expression")
        for name, values in {"id": names, "name": names, "feature_type": kinds, "genome": kinds}.items():
            group[f"features/{name}"] = values


def write_npy(path: Path, adata: anndata.AnnData) -> None:
    """Write numbers alone; their genes stand beside them."""
    np.save(path, dense(adata))
    write_text(path.with_name(GENES), "".join(f"{name}\n" for name in adata.var_names))


def write_store(path: Path, adata: anndata.AnnData) -> None:
    """Write a store, which is an input too."""
    convert([adata], path)


WRITERS: dict[str, Callable[[Path, anndata.AnnData], Any]] = {
    "cells.csv": write_csv,
    "cells.tsv.gz": write_tsv,
    "csr.h5ad": write_h5ad,
    "csc.h5ad": write_csc,
    "dense.h5ad": write_dense,
    "anndata.zarr": lambda path, adata: adata.write_zarr(path),
    "cells.loom": write_loom,
    "filtered_feature_bc_matrix": write_tenx_folder,
    "cells.h5": write_tenx_h5,
    "cells.npy": write_npy,
    "store.zarr": write_store,
}
OPTIONS = {"cells.tsv.gz": "--csv_orientation genes_by_cells", "cells.npy": f"--input_genes {GENES}"}
WITHOUT_LABELS = {"cells.csv", "cells.tsv.gz", "filtered_feature_bc_matrix", "cells.h5", "cells.npy"}


def assert_same_cells(found: anndata.AnnData, wanted: anndata.AnnData, *, with_labels: bool = True) -> None:
    """Compare counts, names and labels."""
    np.testing.assert_array_equal(dense(found), dense(wanted))
    assert list(found.var_names) == list(wanted.var_names)
    if with_labels:
        assert list(found.obs_names) == list(wanted.obs_names)
        assert list(found.obs["cell_type"]) == list(wanted.obs["cell_type"])


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_becomes_a_whole_store_that_anndata_opens(name: str, tmp_path: Path):
    WRITERS[name](tmp_path / name, cells())
    scnym(f"convert {name} out.zarr {OPTIONS.get(name, '')}", tmp_path)
    report = verify(tmp_path / "out.zarr")
    assert (report.n_cells, report.faults) == (240, ())
    opened = anndata.read_zarr(tmp_path / "out.zarr" / "dataset_0")
    assert_same_cells(opened, cells(), with_labels=name not in WITHOUT_LABELS)
    rows = open_store(tmp_path / "out.zarr").datasets[0].read_rows(np.array([7, 100, 239]))
    np.testing.assert_array_equal(rows.values_N, opened.X[[7, 100, 239]].data)  # type: ignore[index]


def test_an_anndata_in_memory_becomes_a_store_with_all_that_it_holds(tmp_path: Path):
    convert([cells()], tmp_path / "out.zarr")
    assert verify(tmp_path / "out.zarr").faults == ()
    opened = anndata.read_zarr(tmp_path / "out.zarr" / "dataset_0")
    assert_same_cells(opened, cells())
    assert list(opened.obs["n_umis"]) == list(cells().obs["n_umis"])


@pytest.mark.slow
def test_labels_markers_and_an_h5ad_come_out_of_cells_that_are_learnt(tmp_path: Path):
    write_h5ad(tmp_path / "learnt.h5ad", cells())
    write_h5ad(tmp_path / "new.h5ad", cells(seed=1))
    for name in ("learnt", "new"):
        scnym(f"convert {name}.h5ad {name}.zarr", tmp_path)
    scnym(f"train_tissue_independent --input_counts learnt.zarr {TRAIN}", tmp_path)
    model = "--model_path run/tissue_independent"
    scnym(f"predict_cell_types --input_counts new.zarr {model} --out_path run --write_h5ad --embedding", tmp_path)
    scnym("evaluate run/predictions/predictions.csv new.zarr --out_path run", tmp_path)
    scnym(
        f"find_cell_type_markers {model} --input_counts learnt.zarr --out_path run --n_steps 20 --n_restarts 1",
        tmp_path,
    )
    scnym("export learnt.zarr again.h5ad", tmp_path)

    labelled = anndata.read_h5ad(tmp_path / "run" / "predictions" / "predictions.h5ad")
    assert_same_cells(labelled, cells(seed=1))
    assert np.mean(labelled.obs["scnym_cell_type"].astype(str) == labelled.obs["cell_type"].astype(str)) > 0.9
    assert labelled.obsm["X_scnym"].shape[0] == 240
    probabilities = anndata.read_zarr(tmp_path / "run" / "predictions" / "probabilities.zarr")
    np.testing.assert_allclose(dense(probabilities).sum(axis=1), 1, atol=1e-5)
    again = anndata.read_h5ad(tmp_path / "again.h5ad")
    assert_same_cells(again, cells())
    np.testing.assert_array_equal(again.obsm["X_pca"], cells().obsm["X_pca"])
    assert list(again.uns["study"]["donors"]["sex"]) == ["f", "m"]
