"""Values and names that make no sense, in every form of counts."""

from collections.abc import Iterator
from functools import partial

from faults.fault import Fault
from faults.forms import (
    ARRAY,
    CSV,
    EVERY,
    GZIPPED,
    NUMBERS,
    SOUND,
    TURNED,
)

LINE_OF = {CSV: "line 3", GZIPPED: "line 3", TURNED: "line 3", NUMBERS: "line 2"}
COLUMN_OF = {CSV: "Cd3e", GZIPPED: "Cd3e", TURNED: "c2", NUMBERS: "Cd3e"}
WRONG_VALUES = {
    "negative value": (-2, "is negative"),
    "NaN": (float("nan"), "is not a number"),
    "infinite value": (float("inf"), "is infinite"),
}


def values() -> Iterator[Fault]:
    """Give the faults of single values."""
    for what, (value, in_text) in WRONG_VALUES.items():
        for form in EVERY:
            make = partial(form.write_into, counts=SOUND.with_value(value))
            if form in LINE_OF:
                yield Fault(
                    what=what,
                    form=form.name,
                    line=form.line(),
                    make=make,
                    where=f"{form.file}, {LINE_OF[form]}",
                    says=f"'{value}' in column {COLUMN_OF[form]} {in_text}",
                    way_out="counts are numbers from 0 up",
                )
            else:
                cell = "cell_1" if form is ARRAY else "c2"
                yield Fault(
                    what=what,
                    form=form.name,
                    line=form.line(),
                    make=make,
                    where=f"{form.file}, cell {cell}, gene Cd3e",
                    says=f"value {value:g} is negative or not a finite number",
                    way_out="give raw counts",
                )


VALUES = tuple(values())
