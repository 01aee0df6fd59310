"""Values that no count can have, in every form of counts."""

from collections.abc import Iterator
from functools import partial

from faults.fault import Fault
from faults.forms import ARRAY, CSV, EVERY, FOLDER_10X, GZIPPED, H5AD, LOOM, NUMBERS, SOUND, TURNED, Counts, Form

LINE_OF = {CSV: "line 3", GZIPPED: "line 3", TURNED: "line 3", NUMBERS: "line 2"}
"""Where a text table holds the value of gene Cd3e and cell c2."""
COLUMN_OF = {CSV: "Cd3e", GZIPPED: "Cd3e", TURNED: "c2", NUMBERS: "Cd3e"}
WRONG_VALUES = {
    "negative value": (-2, "is negative"),
    "NaN": (float("nan"), "is not a number"),
    "infinite value": (float("inf"), "is infinite"),
}
LOG2_CG = ((2.5, 0, 1), (1.5, 2, 0), (0, 1, 2.25), (3, 1.5, 1.5))
TOO_LARGE = 2**33
COUNTS_ONLY = "give raw counts: numbers from 0 up"


def _single_values() -> Iterator[Fault]:
    for what, (value, words) in WRONG_VALUES.items():
        for form in EVERY:
            in_text = form in LINE_OF
            cell = "cell_1" if form is ARRAY else "c2"
            yield Fault(
                what=what,
                form=form.name,
                line=form.line(),
                make=partial(form.write_into, counts=SOUND.with_value(value)),
                where=f"{form.file}, {LINE_OF[form]}: " if in_text else f"{form.file}, cell {cell}, gene Cd3e: ",
                says=f"'{value}' in column {COLUMN_OF[form]} {words}" if in_text else f"value {value:g} is negative or",
                way_out="counts are numbers from 0 up" if in_text else COUNTS_ONLY,
            )


def _words() -> Iterator[Fault]:
    for form, line in LINE_OF.items():
        yield Fault(
            what="a word where a number belongs",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=SOUND.with_value("high")),
            where=f"{form.file}, {line}: ",
            says=f"'high' in column {COLUMN_OF[form]} is not a number",
            way_out="counts are numbers from 0 up",
        )


def _other_scales() -> Iterator[Fault]:
    for form in (CSV, H5AD, LOOM, FOLDER_10X):
        yield Fault(
            what="log2 values",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=Counts(LOG2_CG)),
            where=f"{form.file}: ",
            says="the values are neither counts nor ln(CP10k+1) or ln(CPM+1) of whole cells",
            way_out="give the raw counts",
        )


def _too_large() -> Iterator[Fault]:
    for form in (CSV, H5AD):
        yield Fault(
            what="a count above 32 bits",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=SOUND.with_value(TOO_LARGE)),
            where=f"{form.file}, cell c2, gene Cd3e: ",
            says="value 8.58993e+09 is above 4,294,967,295",
            way_out=COUNTS_ONLY,
        )


def _in_training(form: Form) -> Fault:
    return Fault(
        what="negative value",
        form=form.name,
        line=f"train_tissue_independent --input_counts {form.file} --lower_group cell_type --out_path out",
        make=partial(form.write_into, counts=SOUND.with_value(-2)),
        where=f"{form.file}, cell c2, gene Cd3e: ",
        says="value -2 is negative",
        way_out=COUNTS_ONLY,
        leaves=("out", "out/cache"),
    )


FAULTS = (*_single_values(), *_words(), *_other_scales(), *_too_large(), _in_training(H5AD))
