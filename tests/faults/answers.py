"""Labels that cannot be judged, and runs that cannot be compared."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults.fault import Fault
from faults.tables import write_text_at

GIVEN = "cell_id,cell_type,confidence\nc1,B,0.9\nc2,T,0.8\n"
TRUTH = "cell_id,cell_type\nc1,B\nc2,T\n"
LINE = "evaluate given.csv truth.csv"


def _written(given: str, truth: str, folder: Path, mapping: str = "") -> None:
    write_text_at("given.csv", given, folder)
    write_text_at("truth.csv", truth, folder)
    if mapping:
        write_text_at("mapping.csv", mapping, folder)


def _judged() -> Iterator[Fault]:
    twice, other = GIVEN + "c1,T,0.5\n", TRUTH.replace("c", "x", 0).replace("\nc", "\nx")
    for what, more, given, truth, where, says, way_out in (
        (
            "cells of which none has a label",
            "",
            GIVEN,
            other,
            "given.csv: ",
            "none of the 2 cells, such as",
            "give the",
        ),
        (
            "a cell that stands twice",
            "",
            twice,
            TRUTH,
            "given.csv: ",
            "cell 'c1' stands twice",
            "keep one row per cell",
        ),
        (
            "a cell that stands twice in the truth",
            "",
            GIVEN,
            TRUTH + "c1,T\n",
            "truth.csv: ",
            "no column names",
            "name one",
        ),
        ("no labels given", "", "cell_id,x\nc1,1\n", TRUTH, "given.csv: ", "no column has one of the usual", "give"),
        (
            "no true labels",
            "",
            GIVEN,
            "cell_id,x\nc1,1\n",
            "truth.csv: ",
            "no column has one of the usual",
            "give --low",
        ),
        (
            "a column that is not there",
            "--predicted_column p",
            GIVEN,
            TRUTH,
            "given.csv: ",
            "no column 'p'",
            "give --pr",
        ),
        (
            "true labels that are not there",
            "--lower_group t",
            GIVEN,
            TRUTH,
            "truth.csv: ",
            "no column 't'",
            "give --low",
        ),
        (
            "ids that are not there",
            "--cell_column id",
            GIVEN,
            TRUTH,
            "given.csv: ",
            "no column 'id'",
            "give --cell_col",
        ),
        ("a confidence above 1", "", GIVEN.replace("0.9", "90"), TRUTH, "given.csv, column", "confidence '90'", "name"),
        ("a line with a field too many", "", GIVEN + "c3,B,1,2\n", TRUTH, "given.csv, line 4: ", "4 fields", "put quo"),
    ):
        yield Fault(
            what=what,
            form="labels",
            line=f"{LINE} {more}".strip(),
            make=partial(_written, given, truth),
            where=where,
            says=says,
            way_out=way_out,
        )
    for what, mapping, says, way_out in (
        ("no column from", "a,b\nB,lymphocyte\n", "it lacks a column from or to", "write a header from,to"),
        ("a label that stands twice", "from,to\nB,x\nB,y\n", "'B' stands twice", "rename every label once"),
    ):
        yield Fault(
            what=what,
            form="mapping of labels",
            line=f"{LINE} --mapping mapping.csv",
            make=partial(_written, GIVEN, TRUTH, mapping=mapping),
            where="mapping.csv: ",
            says=says,
            way_out=way_out,
        )
    for name, text in (
        ("given.csv", "check PREDICTIONS"),
        ("truth.csv", "check TRUTH"),
        ("mapping.csv", "check --map"),
    ):
        yield Fault(
            what=f"{name} that is not there",
            form="labels",
            line=f"{LINE} --mapping mapping.csv",
            make=partial(_all_but, name),
            where=f"{name}: ",
            says="there is no such file",
            way_out=text,
        )


def _all_but(name: str, folder: Path) -> None:
    _written(GIVEN, TRUTH, folder, mapping="from,to\n")
    (folder / name).unlink()


def _compared() -> Iterator[Fault]:
    both = ("run/tissue_independent", "run/tissue_dependent")
    held_out = "run/tissue_dependent/held_out_predictions.csv"
    summary = "run/tissues/summary.csv"
    parameters = "run/tissue_dependent/all_data/all_data_parameters.json"
    for what, needs, make, where, says, way_out in (
        ("not there", (), lambda _: None, "run: ", "there is no family of models", "two are"),
        ("one family only", both[:1], lambda _: None, "run: ", "only tissue_independent is there", "two are compared"),
        (
            "no held-out cells",
            both,
            _removing(held_out),
            "run/tissue_dependent: ",
            "was trained without",
            "train it with",
        ),
        ("another table", both, partial(write_text_at, held_out, "a\n1\n"), f"{held_out}: ", "not a table of", "train"),
        ("an empty table", both, partial(write_text_at, held_out, ""), f"{held_out}: ", "the table cannot be", "train"),
        ("no parameters", both, _removing(parameters), f"{parameters}: ", "the run's parameters cannot be", "train it"),
        ("parameters cut off", both, partial(write_text_at, parameters, "{"), f"{parameters}: ", "the run's", "train"),
        (
            "other parameters",
            both,
            partial(write_text_at, parameters, "{}"),
            f"{parameters}: ",
            "the run's",
            "train it",
        ),
        (
            "another summary",
            (both[0], "run/tissues"),
            partial(write_text_at, summary, "a\n1\n"),
            summary,
            "not the",
            "train",
        ),
        ("other cells", both, _other_cells, "run: ", "no cell was held out by all families", "train them on the same"),
        ("a table of others in the way", both, _table_in_the_way, "run/comparison.csv: ", "something else", "move it"),
    ):
        yield Fault(
            what=what,
            form="folder of runs",
            line="compare run",
            needs=needs,
            make=make,
            where=where,
            says=says,
            way_out=way_out,
            quotes="cannot be" in says,
        )


def _removing(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _other_cells(folder: Path) -> None:
    path = folder / "run/tissue_dependent/held_out_predictions.csv"
    path.write_text(path.read_text().replace("\ncell ", "\nother "))


def _table_in_the_way(folder: Path) -> None:
    write_text_at("run/comparison.csv", "years,of\n1,work\n", folder)


FAULTS = (*_judged(), *_compared())
