"""Names of genes and cells that cannot be told apart, or are not there, in every form of counts."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from faults.fault import Fault
from faults.forms import (
    ARRAY,
    CSV,
    DENSE_H5AD,
    EVERY,
    FILE_10X,
    FOLDER_10X,
    GZIPPED,
    H5AD,
    H5AD_BY_GENES,
    LOOM,
    NUMBERS,
    SOUND,
    TURNED,
    ZARR,
    Counts,
)
from helpers import write_text

GENE_TWICE = replace(SOUND, genes=("Actb", "Cd3e", "Actb"))
CELL_TWICE = replace(SOUND, cells=("c1", "c2", "c1", "c4"))
NO_CELLS = Counts((), ())
WITHOUT_IDS = (NUMBERS, ARRAY)
"""Forms in which cells are not named."""
IN_PYTHON = dict.fromkeys((H5AD, H5AD_BY_GENES, DENSE_H5AD, ZARR), "make them unique first, in Python with")
UNIQUE_GENES = IN_PYTHON | {
    **dict.fromkeys(WITHOUT_IDS, "name every gene once"),
    **dict.fromkeys((CSV, GZIPPED, TURNED, LOOM), "give every gene a name of its own, or an id in a column such as"),
    **dict.fromkeys((FOLDER_10X, FILE_10X), "give every gene an id of its own"),
}
UNIQUE_CELLS = IN_PYTHON | {
    **dict.fromkeys((CSV, GZIPPED), "give every cell an id of its own"),
    TURNED: "give every column a name of its own",
    LOOM: "make the cell ids unique first",
    **dict.fromkeys((FOLDER_10X, FILE_10X), "give every cell a barcode of its own"),
}
GENES_IN = dict.fromkeys(WITHOUT_IDS, "genes.txt") | {FOLDER_10X: "filtered/features.tsv"}
"""Where genes are named, if not in the file itself."""
CELLS_AT = {CSV: "counts.csv, line 4", GZIPPED: "counts.csv.gz, line 4", FOLDER_10X: "filtered/barcodes.tsv"}
"""Where cells are named, if not in the file as a whole."""
EMPTY = {
    TURNED: ("the first line names nothing but a column of ids", "the first line holds"),
    NUMBERS: ("the file is empty", "copy or write it again"),
}


def _twice() -> Iterator[Fault]:
    for form in EVERY:
        yield Fault(
            what="a gene that stands twice",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=GENE_TWICE),
            where=f"{GENES_IN.get(form, form.file)}: ",
            says="duplicate gene names 'Actb'",
            way_out=UNIQUE_GENES[form],
        )
    for form in (form for form in EVERY if form not in WITHOUT_IDS):
        yield Fault(
            what="a cell that stands twice",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=CELL_TWICE),
            where=f"{CELLS_AT.get(form, form.file)}: ",
            says="duplicate cell names 'c1'",
            way_out=UNIQUE_CELLS[form],
        )


def _no_cells() -> Iterator[Fault]:
    for form in EVERY:
        says, way_out = EMPTY.get(form, ("there are no cells or no genes in it", "check the file"))
        yield Fault(
            what="no cells",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=NO_CELLS),
            where=f"{form.file}, line 1: " if form is TURNED else f"{form.file}: ",
            says=says,
            way_out=way_out,
        )


def _empty_names() -> Iterator[Fault]:
    for form in (CSV, TURNED, H5AD):
        yield Fault(
            what="a gene without a name",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=replace(SOUND, genes=("Actb", "", "Lyz2"))),
            where=f"{form.file}, line 3: " if form is TURNED else f"{form.file}: ",
            says="the line has no id in front" if form is TURNED else "a gene has an empty name",
            way_out="give it one" if form is TURNED else "name every gene",
        )
    yield Fault(
        what="a cell without a name",
        form=CSV.name,
        line=CSV.line(),
        make=partial(CSV.write_into, counts=replace(SOUND, cells=("c1", "", "c3", "c4"))),
        where="counts.csv, line 3: ",
        says="the line has no id in front",
        way_out="give it one",
    )


def _with_genes(text: str | bytes, folder: Path) -> None:
    NUMBERS.write_into(folder)
    ARRAY.write_into(folder)
    if isinstance(text, bytes):
        (folder / "genes.txt").write_bytes(text)
    else:
        write_text(folder / "genes.txt", text)


def _gene_lists() -> Iterator[Fault]:
    yield Fault(
        what="a list of two genes for three columns",
        form=NUMBERS.name,
        line=NUMBERS.line(),
        make=partial(_with_genes, "Actb\nCd3e\n"),
        where="numbers.csv, line 1: ",
        says="3 fields where 2 were expected",
        way_out="give every line one number per gene of --input_genes",
    )
    yield Fault(
        what="a list of two genes for three columns",
        form=ARRAY.name,
        line=ARRAY.line(),
        make=partial(_with_genes, "Actb\nCd3e\n"),
        where="counts.npy: ",
        says="an array of shape (4, 3), where 2 genes are listed",
        way_out="give an array of cells x genes, and --input_genes with one gene for each of its columns",
    )
    for form in WITHOUT_IDS:
        yield Fault(
            what="a list of genes that is not there",
            form=form.name,
            line=form.line().replace("genes.txt", "genes_of_mouse.txt"),
            make=form.write_into,
            where="genes_of_mouse.txt: ",
            says="there is no such genes file",
            way_out="check --input_genes",
        )
    yield Fault(
        what="a list of genes without a gene",
        form=NUMBERS.name,
        line=NUMBERS.line(),
        make=partial(_with_genes, "\n\n"),
        where="genes.txt: ",
        says="it names no gene",
        way_out="write one gene name a line",
    )
    yield Fault(
        what="a list of genes that is no text",
        form=NUMBERS.name,
        line=NUMBERS.line(),
        make=partial(_with_genes, b"\x80\xff\x00"),
        where="genes.txt: ",
        says="not text in UTF-8",
        way_out="write one gene name a line",
    )
    yield Fault(
        what="an array without a list of genes",
        form=ARRAY.name,
        line="convert counts.npy new.zarr",
        make=ARRAY.write_into,
        where="counts.npy: ",
        says="an array carries no gene names",
        way_out="give --input_genes, one gene a line",
    )
    yield Fault(
        what="numbers without a list of genes",
        form=NUMBERS.name,
        line="convert numbers.csv new.zarr",
        make=NUMBERS.write_into,
        where="numbers.csv, line 1: ",
        says="the first line holds numbers where gene names belong",
        way_out="give --input_genes if the table has no header",
    )
    yield Fault(
        what="a list of genes for a file that names its own",
        form=H5AD.name,
        line="convert counts.h5ad new.zarr --input_genes genes.txt",
        make=H5AD.write_into,
        where="counts.h5ad: ",
        says="this format names its genes",
        way_out="leave out --input_genes",
    )
    yield Fault(
        what="numbers without names, said to be turned",
        form=NUMBERS.name,
        line=NUMBERS.line("--csv_orientation genes_by_cells"),
        make=NUMBERS.write_into,
        where="numbers.csv: ",
        says="a table without names is read as cells x genes",
        way_out="leave out the orientation",
    )


FAULTS = (*_twice(), *_no_cells(), *_empty_names(), *_gene_lists())
