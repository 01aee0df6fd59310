"""Files that are not there, not what their name says, cut off or damaged."""

import gzip
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
from faults.fault import Fault
from faults.forms import (
    ARRAY,
    CSV,
    DENSE_H5AD,
    FILE_10X,
    FOLDER_10X,
    GZIPPED,
    H5AD,
    H5AD_BY_GENES,
    LOOM,
    NUMBERS,
    TURNED,
    ZARR,
    Form,
)
from helpers import write_text
from scipy import sparse

AGAIN = "copy or write it again"
HDF5 = (H5AD, H5AD_BY_GENES, DENSE_H5AD, LOOM, FILE_10X)


def cut(path: Path, share: float = 0.5) -> None:
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _cut_off(form: Form, folder: Path) -> None:
    cut(form.write_into(folder))


def _written(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _with_hdf5(form: Form, change: Callable[[h5py.File], object], folder: Path) -> None:
    """Write a form of HDF5, and change something in it."""
    with h5py.File(form.write_into(folder), "r+") as file:
        change(file)


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


def _missing() -> Iterator[Fault]:
    for line, what, way_out in (
        ("convert counts.h5ad new.zarr", "counts", "check the path"),
        ("inspect counts.h5ad", "counts", "check the path"),
        ("train_tissue_independent --input_counts counts.h5ad --out_path out", "counts", "check --input_counts"),
    ):
        yield Fault(
            what=f"{what} that are not there",
            form="h5ad",
            line=line,
            where="counts.h5ad: ",
            says="there is no such file",
            way_out=way_out,
        )
    yield Fault(
        what="a pattern that matches nothing",
        form="input",
        line="convert 'donors/*.h5ad' new.zarr",
        where="donors/*.h5ad: ",
        says="nothing matches this pattern",
        way_out="check the pattern",
    )
    yield Fault(
        what="a folder without a file of a known format",
        form="input",
        line="convert donors new.zarr",
        make=lambda folder: (folder / "donors").mkdir(),
        where="donors: ",
        says="no file in this folder is of a known format",
        way_out="it holds nothing; give a .h5ad, .loom",
    )
    yield Fault(
        what="the same file named twice",
        form="input",
        line="convert counts.csv ./counts.csv new.zarr",
        make=CSV.write_into,
        where="counts.csv: ",
        says="the input is named twice",
        way_out="name every input once",
    )


def _other_kinds() -> Iterator[Fault]:
    for name, content in (("counts.xlsx", b"PK\x03\x04"), ("counts.rds", b"\x1f\x8b\x08"), ("counts", b"a,b\n")):
        yield Fault(
            what="an unknown format",
            form=name,
            line=f"convert {name} new.zarr",
            make=partial(_written, name, content),
            where=f"{name}: ",
            says="the format is not known",
            way_out="give a .h5ad, .loom, .npy, .csv",
        )
    for name in ("counts.h5ad", "counts.loom", "filtered.h5"):
        yield Fault(
            what="text under another name",
            form=name.partition(".")[2],
            line=f"convert {name} new.zarr",
            make=partial(_written, name, b"cell,Actb\nc1,5\n"),
            where=f"{name}: ",
            says="the file is damaged: it is not HDF5",
            way_out=AGAIN,
        )
    for name, what, content in (
        ("counts.csv", "a file that is no text", b"\x89PNG\r\n\x1a\n\x00\xff\xfe"),
        ("counts.tsv", "text in UTF-16", "cell\tActb\nc1\t5\n".encode("utf-16")),
        ("counts.csv", "text in Latin-1", "cell,Actb\nZelle_\xe4,5\n".encode("latin-1")),
    ):
        yield Fault(
            what=what,
            form="TSV" if name.endswith("tsv") else "CSV",
            line=f"convert {name} new.zarr",
            make=partial(_written, name, content),
            where=f"{name}: ",
            says="the file is damaged, or not text in UTF-8",
            way_out=AGAIN,
            quotes=True,
        )
    yield Fault(
        what="an array of objects",
        form="npy",
        line=ARRAY.line(),
        make=lambda folder: (ARRAY.write_into(folder), np.save(folder / ARRAY.file, np.array([{}, {}]))),
        where="counts.npy: ",
        says="nothing in it was executed",
        way_out="write it with numpy.save, as numbers",
        quotes=True,
    )
    yield Fault(
        what="HDF5 of another program",
        form="h5",
        line="convert other.h5 new.zarr",
        make=partial(_with_hdf5, Form("", "other.h5", lambda path, _: h5py.File(path, "w").close()), _other_hdf5),
        where="other.h5: ",
        says="an HDF5 file, but none of h5ad, loom or 10x: it holds table",
        way_out="convert it to h5ad first",
    )
    yield Fault(
        what="a matrix X without gene names",
        form="h5",
        line="convert other.h5 new.zarr",
        make=partial(_with_hdf5, Form("", "other.h5", lambda path, _: h5py.File(path, "w").close()), _x_and_y),
        where="other.h5: ",
        says="its matrix X carries no gene names",
        way_out="write it as an h5ad with the gene names",
    )


def _other_hdf5(file: h5py.File) -> None:
    file["table"] = [1, 2]


def _x_and_y(file: h5py.File) -> None:
    file["X"], file["Y"] = [[1, 2]], [1]


def _cut() -> Iterator[Fault]:
    for form in (H5AD, H5AD_BY_GENES, DENSE_H5AD, LOOM, FILE_10X, ARRAY, GZIPPED):
        yield Fault(
            what="cut off half way",
            form=form.name,
            line=form.line(),
            make=partial(_cut_off, form),
            where=f"{form.file}: ",
            says="damaged",
            way_out="write it with numpy.save" if form is ARRAY else AGAIN,
            quotes=True,
        )
    said_of_nothing = {ARRAY: "not an array of numbers", **dict.fromkeys(HDF5, "it is not HDF5")}
    for form in (CSV, GZIPPED, NUMBERS, H5AD, LOOM, FILE_10X, ARRAY):
        yield Fault(
            what="empty",
            form=form.name,
            line=form.line(),
            make=lambda folder, form=form: form.write_into(folder).write_bytes(b""),
            where=f"{form.file}: ",
            says=said_of_nothing.get(form, "the file is empty"),
            way_out="write it with numpy.save" if form is ARRAY else AGAIN,
            quotes=form is ARRAY,
        )
    yield Fault(
        what="cut off half way",
        form=H5AD.name,
        line="inspect counts.h5ad",
        make=partial(_cut_off, H5AD),
        where="counts.h5ad: ",
        says="damaged",
        way_out=AGAIN,
        quotes=True,
    )
    yield Fault(
        what="a checksum that does not fit",
        form=GZIPPED.name,
        line=GZIPPED.line(),
        make=lambda folder: _flipped(GZIPPED.write_into(folder), -6),
        where="counts.csv.gz: ",
        says="the file is damaged",
        way_out=AGAIN,
        quotes=True,
    )


def _flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def _text_tables() -> Iterator[Fault]:
    for form, line in ((CSV, 4), (GZIPPED, 4), (TURNED, 4), (NUMBERS, 3)):
        yield Fault(
            what="a line with a field too few",
            form=form.name,
            line=form.line(),
            make=partial(_ragged, form, line),
            where=f"{form.file}, line {line}: ",
            says="fields where",
            way_out="give every line",
        )
    yield Fault(
        what="semicolons between the fields",
        form=CSV.name,
        line=CSV.line(),
        make=partial(_written, "counts.csv", b"cell;Actb;Cd3e\nc1;5;0\nc2;2;3\n"),
        where="counts.csv, line 1: ",
        says="its fields are parted by semicolons",
        way_out="part the fields by commas (.csv) or tabs",
    )
    yield Fault(
        what="a header alone",
        form=CSV.name,
        line=CSV.line(),
        make=partial(_written, "counts.csv", b"cell,Actb,Cd3e\n"),
        where="counts.csv: ",
        says="there are no cells or no genes in it",
        way_out="check the file",
    )
    yield Fault(
        what="ids without counts",
        form=CSV.name,
        line=CSV.line(),
        make=partial(_written, "counts.csv", b"cell\nc1\nc2\n"),
        where="counts.csv, line 1: ",
        says="the first line names nothing but a column of ids",
        way_out="the first line holds",
    )
    yield Fault(
        what="a layer",
        form=CSV.name,
        line=CSV.line("--layer counts"),
        make=CSV.write_into,
        where="counts.csv: ",
        says="this format has no layers",
        way_out="leave out --layer",
    )


def _ragged(form: Form, line: int, folder: Path) -> None:
    path = form.write_into(folder)
    opener = gzip.open if form is GZIPPED else open
    with opener(path, "rt") as file:
        lines = file.read().splitlines()
    lines[line - 1] = lines[line - 1].rpartition(",")[0]
    write_text(path, "\n".join([*lines, ""]))


def _hdf5() -> Iterator[Fault]:
    for form, key in ((H5AD, "X"), (H5AD_BY_GENES, "X"), (FILE_10X, "matrix")):
        yield Fault(
            what="positions outside the matrix",
            form=form.name,
            line=form.line(),
            make=partial(_with_hdf5, form, partial(_replaced, f"{key}/indices", np.full(9, 77))),
            where=form.file if form is FILE_10X else f"{form.file}, at ",
            says="outside 0 to",
            way_out=AGAIN if form is FILE_10X else "write the file again",
        )
        yield Fault(
            what="row pointers that do not fit",
            form=form.name,
            line=form.line(),
            make=partial(_with_hdf5, form, partial(_replaced, f"{key}/indptr", np.array([0, 5, 2, 2, 9])[:5])),
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
            make=partial(_with_hdf5, form, partial(_removed, key)),
            where=f"{form.file}: ",
            says=says,
            way_out=way_out,
            quotes=True,
        )
    yield Fault(
        what="counts stored as text",
        form=DENSE_H5AD.name,
        line=DENSE_H5AD.line(),
        make=partial(_with_hdf5, DENSE_H5AD, partial(_replaced, "X", np.full((4, 3), b"x"))),
        where=DENSE_H5AD.file,
        says="not as numbers",
        way_out="store counts",
    )
    yield Fault(
        what="fewer cells than rows",
        form=DENSE_H5AD.name,
        line=DENSE_H5AD.line(),
        make=partial(_with_hdf5, DENSE_H5AD, partial(_replaced, "X", np.ones((5, 3)))),
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
        says="it is damaged or no AnnData",
        way_out=AGAIN,
        quotes=True,
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
    """Write a dense h5ad whose counts are one compressed piece of 120 MB; none of it is there, which nobody finds out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(sparse.csr_matrix((6000, 5000), dtype=np.float32))
    adata.write_h5ad(folder / "large.h5ad")
    with h5py.File(folder / "large.h5ad", "r+") as file:
        del file["X"]
        counts = file.create_dataset("X", (6000, 5000), np.float32, chunks=(6000, 5000), compression="gzip")
        counts.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


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
        ("a matrix that lies on its side", f"{banner}4 3 1\n1 1 4\n", "", "it lies cells x features", "give the files"),
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


FAULTS = (*_missing(), *_other_kinds(), *_cut(), *_text_tables(), *_hdf5(), *_cell_ranger())
