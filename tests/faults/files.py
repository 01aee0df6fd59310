"""Files that are not there, not what their name says, cut off or damaged."""

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from faults.fault import Fault
from faults.forms import (
    ARRAY,
    CSV,
    DENSE_H5AD,
    FILE_10X,
    GZIPPED,
    H5AD,
    H5AD_BY_GENES,
    LOOM,
    NUMBERS,
    TURNED,
    Form,
)
from faults.tables import LABELS
from helpers import write_text

AGAIN = "copy or write it again"
HEADS = (
    (
        "no header",
        "AAACCTGA-1,3,1,2\nAAACCTGC-1,0,5,1\n",
        ", line 1",
        "the first line, 'AAACCTGA-1', '3', '1', holds counts: the table has no header",
        "put a line above it",
    ),
    (
        "the counts of one cell, without a header",
        "ENSG00000000003\t5\nENSG00000000005\t0\n__no_feature\t1000\n",
        ", line 1",
        "holds counts: the table has no header",
        "put a line above it that names the columns, such as gene,CELL_1,CELL_2; make one table of files with one cell",
    ),
    (
        "names that do not tell cells from genes",
        ",x,y\nu,3,1\nv,0,5\n",
        "",
        "nothing tells whether its lines are cells or genes: lines are called 'u', 'v', columns 'x', 'y'",
        "give --csv_orientation cells_by_genes if each line is a cell, or genes_by_cells if it is a gene",
    ),
    (
        "names that contradict the header",
        "cell,c1,c2\nActb,3,1\nCd3e,0,5\n",
        "",
        "its lines are genes, since its first column names genes, such as Actb; but cells, since its header",
        "give --csv_orientation",
    ),
    (
        "a column of text among the counts",
        "cell,Actb,cluster,Cd3e\nc1,3,B,2\nc2,0,T,1\n",
        ", line 1",
        "column 'cluster' holds text among the counts, such as 'B'",
        "take it out, or put the columns that hold no counts right behind the ids",
    ),
    (
        "no counts",
        LABELS,
        ", line 1",
        "there are no counts in it: its columns 'cell_type' hold text",
        "give a table of counts; one of annotations goes to --training_metadata",
    ),
    (
        "a list of the genes of one sample",
        "target_id,length,eff_length,est_counts,tpm\nENSMUST0001,9,8,3,1.5\nENSMUST0002,9,8,0,0\n",
        ", line 1",
        "its columns of numbers, 'est_counts', 'tpm', name no cells: it holds the genes of one sample",
        "give one table of all cells",
    ),
    (
        "one count a line",
        "gene,cell,count\nActb,AAACCTGA,5\nActb,AAACCTGC,2\nCd3e,AAACCTGC,1\n",
        ", line 1",
        "its columns of numbers, 'count', name no cells: it lists one count a line",
        "give one table of all cells",
    ),
)
"""Text tables that cannot be understood: what, text, where, what is said, and the way out."""
HDF5 = (H5AD, H5AD_BY_GENES, DENSE_H5AD, LOOM, FILE_10X)


def cut(path: Path, share: float = 0.5) -> None:
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _cut_off(form: Form, folder: Path) -> None:
    cut(form.write_into(folder))


def _written(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def with_hdf5(form: Form, change: Callable[[h5py.File], object], folder: Path) -> None:
    """Write a form of HDF5, and change something in it."""
    with h5py.File(form.write_into(folder), "r+") as file:
        change(file)


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
    for name, content, kind, way_out in (
        ("counts.xlsx", b"PK\x03\x04", ": it is a spreadsheet", "save it as CSV, a line per cell, or give a .h5ad"),
        ("counts.rds", b"\x1f\x8b\x08", ": it is an R object", "write it as an h5ad, in R with anndataR::write_h5ad"),
        ("counts", b"a,b\n", "", "give a .h5ad, .loom, .npy, .csv"),
    ):
        yield Fault(
            what="an unknown format",
            form=name,
            line=f"convert {name} new.zarr",
            make=partial(_written, name, content),
            where=f"{name}: ",
            says=f"the format is not known{kind}",
            way_out=way_out,
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
    for what, content in (
        ("a file that is no text", b"\x89PNG\r\n\x1a\n\x00\xff\xfe"),
        ("text in Latin-1", "cell,Actb\nZelle_\xe4,5\n".encode("latin-1")),
    ):
        yield Fault(
            what=what,
            form="CSV",
            line="convert counts.csv new.zarr",
            make=partial(_written, "counts.csv", content),
            where="counts.csv: ",
            says="not text in UTF-8",
            way_out="save it as UTF-8",
            quotes=True,
        )
    yield Fault(
        what="an Excel file under another name",
        form="CSV",
        line="convert counts.csv new.zarr",
        make=partial(_written, "counts.csv", b"PK\x03\x04\x14\x00"),
        where="counts.csv: ",
        says="no text, but a ZIP archive, or an Excel file",
        way_out="unpack it, or save it as CSV in UTF-8",
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
        make=partial(with_hdf5, Form("", "other.h5", lambda path, _: h5py.File(path, "w").close()), _other_hdf5),
        where="other.h5: ",
        says="an HDF5 file, but none of h5ad, loom or 10x: it holds table",
        way_out="convert it to h5ad first",
    )
    yield Fault(
        what="a matrix X without gene names",
        form="h5",
        line="convert other.h5 new.zarr",
        make=partial(with_hdf5, Form("", "other.h5", lambda path, _: h5py.File(path, "w").close()), _x_and_y),
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
    for what, text, where, says, way_out in HEADS:
        yield Fault(
            what=what,
            form=CSV.name,
            line=CSV.line(),
            make=partial(_written, "counts.csv", text.encode()),
            where=f"counts.csv{where}: ",
            says=says,
            way_out=way_out,
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


FAULTS = (*_missing(), *_other_kinds(), *_cut(), *_text_tables())
