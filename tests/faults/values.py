"""Values that no count can have, in every form of counts."""

import math
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
TPM_CG = ((123456.7, 301234.5, 575308.8), (91234.5, 250123.4, 658642.1), (81234.6, 500123.3, 418642.1), (7e5, 2e5, 1e5))
LN_OF_SOME_GENES_CG = tuple(
    tuple(math.log1p(count / total * 1e4) for count in counts_G)
    for counts_G, total in (((1, 2, 4), 100), ((1, 3, 5), 150), ((2, 1, 3), 130), ((4, 2, 1), 170))
)
UNCLEAR_CG = ((0.71, 1.43, 2.26), (0.62, 1.16, 1.71), (0.83, 0.52, 1.37), (1.15, 2.33, 0.44))
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
            what="TPM",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=Counts(TPM_CG)),
            where=f"{form.file}: ",
            says="the values of each cell add up to 1,000,000, and are no multiples of one count: TPM, or normalised",
            way_out="give the raw counts; --counts_as estimated takes them all the same",
        )
        yield Fault(
            what="logarithms of normalised counts, of some genes",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=Counts(LN_OF_SOME_GENES_CG)),
            where=f"{form.file}: ",
            says="the values are ln(x+1) of counts normalised in each cell, with totals from 411.8 to 700, undone: "
            "genes were taken out afterwards, or each cell had a factor of its own",
            way_out="name the column with the total counts of the cells with --library_size",
        )
        yield Fault(
            what="values of few cells that may be anything",
            form=form.name,
            line=form.line(),
            make=partial(form.write_into, counts=Counts(UNCLEAR_CG)),
            where=f"{form.file}: ",
            says="the values are not whole, and there are too few cells or genes to tell what they are",
            way_out="give the raw counts; or say what they are with --counts_as",
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
