"""HDF5, Zarr and 10x folders whose parts are lost, damaged or do not belong together."""

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
from faults.fault import Fault
from faults.files import AGAIN, cut, with_hdf5
from faults.forms import DENSE_H5AD, FILE_10X, FOLDER_10X, H5AD, H5AD_BY_GENES, LOOM, ZARR, Form
from helpers import write_text
from scipy import sparse


def _replaced(key: str, values: object, file: h5py.File) -> None:
    """Put other values in the place of a data set, which keeps its attributes."""
    attributes = dict(file[key].attrs)
    del file[key]
    file[key] = values
    file[key].attrs.update(attributes)


def _removed(key: str, file: h5py.File) -> None:
    del file[key]


def _at(form: Form, name: str, text: str, folder: Path) -> None:
    """Write a folder of 10x with another file in it."""
    write_text(form.write_into(folder) / name, text)


def _without(form: Form, name: str, folder: Path) -> None:
    (form.write_into(folder) / name).unlink()


def _hdf5() -> Iterator[Fault]:
    by_cell, by_gene = [0, 5, 2, 2, 9], [0, 5, 2, 9]
    for form, key, pointers in ((H5AD, "X", by_cell), (H5AD_BY_GENES, "X", by_gene), (FILE_10X, "matrix", by_cell)):
        yield Fault(
            what="positions outside the matrix",
            form=form.name,
            line=form.line(),
            make=partial(with_hdf5, form, partial(_replaced, f"{key}/indices", np.full(9, 77))),
            where=form.file if form is FILE_10X else f"{form.file}, at ",
            says="outside 0 to",
            way_out=AGAIN if form is FILE_10X else "write the file again",
        )
        yield Fault(
            what="row pointers that do not fit",
            form=form.name,
            line=form.line(),
            make=partial(with_hdf5, form, partial(_replaced, f"{key}/indptr", np.array(pointers))),
            where=form.file,
            says="indptr does not match",
            way_out="write it again" if form is FILE_10X else "write the file again",
        )
    for form, key, says, way_out in (
        (H5AD, "obs", "an h5ad with no obs", AGAIN),
        (H5AD, "X/data", "it is damaged or no AnnData", AGAIN),
        (DENSE_H5AD, "var", "an h5ad with no var", AGAIN),
        (LOOM, "row_attrs/Gene", "no row attribute names the genes, but there are none", "name one of them Gene or"),
    ):
        yield Fault(
            what=f"{key} is not in it",
            form=form.name,
            line=form.line(),
            make=partial(with_hdf5, form, partial(_removed, key)),
            where=f"{form.file}: ",
            says=says,
            way_out=way_out,
            quotes=True,
        )
    yield Fault(
        what="counts stored as text",
        form=DENSE_H5AD.name,
        line=DENSE_H5AD.line(),
        make=partial(with_hdf5, DENSE_H5AD, partial(_replaced, "X", np.full((4, 3), b"x"))),
        where=DENSE_H5AD.file,
        says="not as numbers",
        way_out="store counts",
    )
    yield Fault(
        what="fewer cells than rows",
        form=DENSE_H5AD.name,
        line=DENSE_H5AD.line(),
        make=partial(with_hdf5, DENSE_H5AD, partial(_replaced, "X", np.ones((5, 3)))),
        where=f"{DENSE_H5AD.file}: ",
        says="X has shape (5, 3), but obs and var name (4, 3)",
        way_out="write the file again",
    )
    yield Fault(
        what="more than the memory cap in one chunk",
        form=DENSE_H5AD.name,
        line="convert large.h5ad new.zarr --max_memory 100MB",
        make=_in_one_chunk,
        where="large.h5ad: ",
        says="its counts are stored in compressed chunks of 120 MB, which can be read only whole",
        way_out="give --max_memory 480MB, or write the file in smaller chunks",
    )
    for form in (H5AD, LOOM):
        yield Fault(
            what="a layer that is not there",
            form=form.name,
            line=form.line("--layer spliced"),
            make=form.write_into,
            where=f"{form.file}: ",
            says="spliced",
            way_out="store the counts in X" if form is H5AD else "leave out --layer",
        )
    yield Fault(
        what="a chunk that is not there",
        form=ZARR.name,
        line=ZARR.line(),
        make=lambda folder: next((ZARR.write_into(folder) / "X" / "data" / "c").glob("*")).unlink(),
        where="adata.zarr: ",
        says="1 of 1 chunks of X/data are missing",
        way_out=AGAIN,
    )
    yield Fault(
        what="a chunk cut off",
        form=ZARR.name,
        line=ZARR.line(),
        make=lambda folder: cut(next((ZARR.write_into(folder) / "X" / "data" / "c").glob("*"))),
        where="adata.zarr: ",
        says="chunk X/data/c/0 is damaged, or claims more than it has",
        way_out=AGAIN,
    )
    yield Fault(
        what="a description that is no JSON",
        form=ZARR.name,
        line=ZARR.line(),
        make=lambda folder: (ZARR.write_into(folder) / "zarr.json").write_text("{"),
        where="adata.zarr: ",
        says="it is damaged or no AnnData",
        way_out=AGAIN,
        quotes=True,
    )


def _in_one_chunk(folder: Path) -> None:
    """Write a dense h5ad whose counts are one compressed piece of 120 MB, though next to nothing stands in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(sparse.csr_matrix(np.zeros((6000, 5000), np.float32)))
    adata.write_h5ad(folder / "large.h5ad")
    with h5py.File(folder / "large.h5ad", "r+") as file:
        del file["X"]
        counts = file.create_dataset("X", (6000, 5000), np.float32, chunks=(6000, 5000), compression="gzip")
        counts.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        counts[0, 0] = 1


def _cell_ranger() -> Iterator[Fault]:
    for name in ("barcodes.tsv", "features.tsv"):
        yield Fault(
            what=f"no {name}",
            form=FOLDER_10X.name,
            line=FOLDER_10X.line(),
            make=partial(_without, FOLDER_10X, name),
            where="filtered: ",
            says=f"{name}",
            way_out="put it there",
        )
    banner = "%%MatrixMarket matrix coordinate integer general\n"
    for what, text, where, says, way_out in (
        (
            "a matrix of other cells",
            f"{banner}3 5 1\n1 1 4\n",
            "",
            "the matrix has 3 features and 5 cells, but",
            "give",
        ),
        ("a matrix of complex values", banner.replace("integer", "complex"), "", "complex values", "write it as"),
        ("no sparse matrix", "cell,Actb\n", "", "the first line is not that of a sparse Matrix", "write it as"),
        ("no size", f"{banner}3 x 1\n1 1 4\n", "", "'3 x 1' is no size", "write it as coordinate integer general"),
        ("a feature that is not there", f"{banner}3 4 1\n9 1 4\n", ", entry 1", "there is no feature 9, but", AGAIN),
        ("a cell that is not there", f"{banner}3 4 2\n1 1 4\n1 0 4\n", ", entry 2", "there is no cell 0, but", AGAIN),
        ("an entry that is none", f"{banner}3 4 1\n1 1\n", ", entry 1", "'1 1' is no entry", AGAIN),
        ("fewer entries than promised", f"{banner}3 4 9\n1 1 4\n", "", "it holds 1 entries, but its header", AGAIN),
    ):
        yield Fault(
            what=what,
            form=FOLDER_10X.name,
            line=FOLDER_10X.line(),
            make=partial(_at, FOLDER_10X, "matrix.mtx", text),
            where=f"filtered/matrix.mtx{where}: ",
            says=says,
            way_out=way_out,
        )
    yield Fault(
        what="no feature is a gene",
        form=FOLDER_10X.name,
        line=FOLDER_10X.line(),
        make=partial(_at, FOLDER_10X, "features.tsv", "a\ta\tAntibody Capture\n" * 3),
        where="filtered/features.tsv: ",
        says="none of its features is of the type Gene Expression",
        way_out="give the output of a gene expression library",
    )


FAULTS = (*_hdf5(), *_cell_ranger())
