"""Tables beside the counts: annotations of cells, lists of files, and the columns that are asked of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from faults.bench import QUICK
from faults.fault import Fault
from faults.forms import CSV, H5AD, NUMBERS, SOUND, Form
from helpers import write_text

LABELS = "cell,cell_type\nc1,B\nc2,T\nc3,B\nc4,T\n"
MANIFEST = "manifest of files"
METADATA = "table of annotations"


def _beside(form: Form, text: str, folder: Path, name: str = "labels.csv") -> None:
    """Write counts, and a table beside them."""
    form.write_into(folder)
    write_text(folder / name, text)


def _annotations() -> Iterator[Fault]:
    line = CSV.line("--training_metadata labels.csv")
    for what, text, where, says, way_out in (
        ("ids of other cells", "cell,cell_type\nx1,B\nx2,T\n", "", "no column holds the ids of the cells", "add a"),
        (
            "ids that fit two cells",
            "cell,cell_type\nC1,B\nC1-,T\nC2,T\n",
            "",
            "without regard to signs and case, 'c1' and 'C1', 'C1-' of column 'cell' are the same",
            "add",
        ),
        ("nothing but a header", "cell,cell_type\n", "", "the table has no rows", "add a"),
        ("a cell that stands twice", LABELS + "c1,T\n", "", "cell 'c1' stands twice", "keep one row per cell"),
        (
            "a line with a field too many",
            LABELS + "c5,B,T\n",
            ", line 6",
            "3 fields where the header has 2",
            "put quot",
        ),
        ("an open quotation", LABELS + '"c5,B\n', "", "fields where the header has 2", "put quotes around"),
        ("empty", "", "", "the table cannot be read", "write it as CSV"),
    ):
        yield Fault(
            what=what,
            form=METADATA,
            line=line,
            make=partial(_beside, CSV, text),
            where=f"labels.csv{where}: " if what != "an open quotation" else "labels.csv",
            says=says,
            way_out=way_out,
            quotes=what == "empty",
        )
    yield Fault(
        what="a row too few for cells without ids",
        form=METADATA,
        line=NUMBERS.line("--training_metadata labels.csv"),
        make=partial(_beside, NUMBERS, "cell_type\nB\nT\nB\n"),
        where="labels.csv: ",
        says="the table has 3 rows, but there are 4 cells, which have no ids",
        way_out="give it one row per cell, in the order of the cells",
    )
    yield Fault(
        what="not there",
        form=METADATA,
        line=line,
        make=CSV.write_into,
        where="labels.csv: ",
        says="there is no such file",
        way_out="check --training_metadata",
    )
    yield Fault(
        what="no text",
        form=METADATA,
        line=line,
        make=lambda folder: (CSV.write_into(folder), (folder / "labels.csv").write_bytes(b"\x80\x81,\xff\n")),
        where="labels.csv: ",
        says="it is not written in UTF-8",
        way_out="save it as CSV in UTF-8",
        quotes=True,
    )
    yield Fault(
        what="no gzip, as its name says",
        form=METADATA,
        line=line.replace("labels.csv", "labels.csv.gz"),
        make=lambda folder: (CSV.write_into(folder), (folder / "labels.csv.gz").write_text(LABELS)),
        where="labels.csv.gz: ",
        says="the table cannot be read",
        way_out="write it as CSV",
        quotes=True,
    )
    yield Fault(
        what="for a store, which has its own",
        form=METADATA,
        line="predict_cell_types --input_counts cells.zarr --out_path out --model_path run/tissue_independent "
        "--training_metadata labels.csv",
        needs=("cells.zarr", "run/tissue_independent"),
        make=partial(write_text_at, "labels.csv", LABELS),
        where="--training_metadata: ",
        says="a store keeps the annotations with which it was converted",
        way_out="give it the new ones, and then its new name: scnym convert cells.zarr cells_annotated.zarr",
    )
    for command in ("train_tissue_independent", "find_cell_type_markers"):
        model = "--model_path run/tissue_independent" if command.startswith("find") else QUICK
        yield Fault(
            what="ids of other cells",
            form=METADATA,
            line=f"{command} --input_counts cells.zarr --out_path out --training_metadata labels.csv {model}",
            needs=("cells.zarr", "run/tissue_independent"),
            make=partial(write_text_at, "labels.csv", LABELS),
            where="labels.csv: ",
            says="no column holds the ids of the cells, such as 'cell 0'",
            way_out="add a column with the cell ids of the count matrix",
        )


def write_text_at(name: str, text: str, folder: Path) -> None:
    """Write a text file into a folder."""
    write_text(folder / name, text)


def _columns() -> Iterator[Fault]:
    yield Fault(
        what="a column to group by that is not there",
        form="h5ad",
        line=H5AD.line("--cluster_by celltype"),
        make=H5AD.write_into,
        where="counts.h5ad: ",
        says="there is no column 'celltype' among the cells' annotations",
        way_out="give --cluster_by one of 'cell_type'",
    )
    yield Fault(
        what="a column to group by, and no annotations",
        form="CSV",
        line=CSV.line("--cluster_by cell_type"),
        make=CSV.write_into,
        where="counts.csv: ",
        says="there is no column 'cell_type' among the cells' annotations",
        way_out="give --training_metadata",
    )
    yield Fault(
        what="a column of library sizes that is not there",
        form="h5ad",
        line=H5AD.line("--library_size total"),
        make=H5AD.write_into,
        where="counts.h5ad: ",
        says="there is no column 'total' in obs",
        way_out="give --library_size one of 'cell_type'",
    )
    before = "give the column with the total counts before genes were removed"
    for what, totals, says, way_out in (
        ("a library size below the counts", "9,9,2,11", "library size 2 of cell c3 is below the 5 counts", before),
        ("a library size that is not there", "9,,9,11", "1 of 4 cells have no library size: 'c2'", "give every cell"),
        (
            "a library size that is no number",
            "9,many,9,11",
            "library size many of cell c2 is not a finite number",
            before,
        ),
    ):
        table = "cell,total\n" + "".join(f"c{k + 1},{total}\n" for k, total in enumerate(totals.split(",")))
        yield Fault(
            what=what,
            form=METADATA,
            line=CSV.line("--training_metadata labels.csv --library_size total"),
            make=partial(_beside, CSV, table),
            where="counts.csv, column total: ",
            says=says,
            way_out=way_out,
        )


def _manifests() -> Iterator[Fault]:
    for what, text, where, says, way_out in (
        ("lists nothing", "path,sample\n", "", "the manifest lists no files", "give it a line per file"),
        ("a line without a path", "path,sample\ncounts.csv,a\n,b\n", ", line 3", "a line names no path", "give it one"),
        ("a sample twice", "path,sample\ncounts.csv,a\nx.csv,a\n", "", "sample 'a' stands twice", "name every sample"),
        (
            "a line with a field too many",
            "path,sample\ncounts.csv,a\nx.csv,b,c\n",
            ", line 3",
            "3 fields where",
            "put quotes",
        ),
        ("a file twice", "path\ncounts.csv\ncounts.csv\n", "", "the input is named twice", "name every input once"),
        ("a file that is not there", "path\ncounts.csv\nx.csv\n", "", "there is no such file", "check the path"),
    ):
        named = {"a file twice": "counts.csv", "a file that is not there": "x.csv"}.get(what, "files.csv")
        yield Fault(
            what=what,
            form=MANIFEST,
            line="convert files.csv new.zarr",
            make=partial(_beside, CSV, text, name="files.csv"),
            where=f"{named}{where}: ",
            says=says,
            way_out=way_out,
        )
    yield Fault(
        what="one file of two with a mistake in it",
        form=MANIFEST,
        line="convert files.csv new.zarr",
        make=_one_of_two,
        where="bad.csv, line 3: ",
        says="'-2' in column Cd3e is negative",
        way_out="counts are numbers from 0 up",
        leaves=(".new.zarr.partial", ".new.zarr.partial/*"),
    )


def _one_of_two(folder: Path) -> None:
    _beside(CSV, "path\ncounts.csv\nbad.csv\n", folder, name="files.csv")
    CSV.write(folder / "bad.csv", SOUND.with_value(-2))


FAULTS = (*_annotations(), *_columns(), *_manifests())
