"""Output that is in the way, cannot be written, or was begun by another run."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults.bench import MODEL, QUICK, READY
from faults.fault import Fault
from faults.files import cut
from faults.forms import CSV
from faults.tables import write_text_at
from helpers import clustered_adata

import scnym

OUTPUT, BEGUN = "output", "unfinished run"
OVERWRITE = "choose another place, or give --overwrite"
ELSEWHERE = "choose another place"
TARGETS = {
    "convert": "cells.zarr",
    "train_tissue_independent": MODEL,
    "train_tissue_dependent": "run/tissue_dependent",
    "train_tissue_specific": "run/tissues",
    "predict_cell_types": "run/predictions",
    "find_cell_type_markers": "run/tissue_ind_class_optimums",
    "evaluate": "run/evaluation",
}
"""What each command writes."""
INPUTS = ("cells.h5ad", "cells.zarr", MODEL, "run/predictions")


def _line(command: str) -> str:
    """Return the line that made the command's output."""
    return next(line for line in READY.values() if line.startswith(f"{command} "))


def _needs(command: str) -> tuple[str, ...]:
    return tuple(name for name in INPUTS if name != TARGETS[command])


def _there_already() -> Iterator[Fault]:
    for command, target in TARGETS.items():
        yield Fault(
            what="there already",
            form=OUTPUT,
            line=_line(command),
            needs=(*_needs(command), target),
            where=f"{target}: ",
            says="the output exists already",
            way_out=OVERWRITE,
        )
        yield Fault(
            what="something else in its place",
            form=OUTPUT,
            line=f"{_line(command)} --overwrite",
            needs=_needs(command),
            make=partial(_in_the_way, target),
            where=f"{target}: ",
            says="something else stands there, which is not overwritten",
            way_out=ELSEWHERE,
        )
    yield Fault(
        what="there already",
        form=OUTPUT,
        line="export cells.zarr cells.h5ad",
        needs=("cells.zarr", "cells.h5ad"),
        where="cells.h5ad: ",
        says="it exists already",
        way_out="choose another name, or give --overwrite",
    )
    yield Fault(
        what="a prediction of all cells in the way of one by sample",
        form=OUTPUT,
        line=f"predict_cell_types --input_counts cells.zarr --out_path run --model_path {MODEL} --by_sample",
        needs=("cells.zarr", MODEL, "run/predictions"),
        where="run/predictions: ",
        says="a prediction of all cells together stands there",
        way_out="choose another --out_path",
    )


def _in_the_way(target: str, folder: Path) -> None:
    """Put a folder with a thesis in it where output would go."""
    (folder / target).mkdir(parents=True)
    (folder / target / "thesis.txt").write_text("years of work")


def _not_to_be_written() -> Iterator[Fault]:
    for command, line in {command: _line(command) for command in TARGETS if command != "convert"}.items():
        yield Fault(
            what="a file in the place of the folder",
            form=OUTPUT,
            line=line.replace("--out_path run", "--out_path notes.txt"),
            needs=_needs(command),
            make=partial(write_text_at, "notes.txt", "years of work"),
            where="notes.txt: ",
            says="a file stands there, where a folder is to be",
            way_out="name another --out_path",
        )
        yield Fault(
            what="in object storage",
            form=OUTPUT,
            line=line.replace("--out_path run", "--out_path s3://lab/run"),
            needs=_needs(command),
            where="s3://lab/run: ",
            says="not read from or written to object storage",
            way_out="name a folder on disk with --out_path",
        )
    for what, line, where, says, way_out in (
        ("no .zarr at the end of the name", "convert counts.csv new", "new: ", ".zarr", "write new.zarr"),
        (
            "a file in the place of a folder",
            "convert counts.csv counts.csv/new.zarr",
            "counts.csv",
            "Not a",
            "check the",
        ),
        ("no store named", "convert counts.csv", "Missing argument", "Missing", "see scnym convert --help"),
    ):
        yield Fault(
            what=what,
            form=OUTPUT,
            line=line,
            make=CSV.write_into,
            where=where,
            says=says,
            way_out=way_out,
        )
    yield Fault(
        what="a place where nothing can be written",
        form=OUTPUT,
        line="convert counts.csv /dev/null/new.zarr",
        make=CSV.write_into,
        where="/dev/null/",
        says="Not a directory",
        way_out="check the path, its rights and the free space",
    )
    yield Fault(
        what="an input inside the store that is to be written",
        form=OUTPUT,
        line="convert new.zarr/counts.csv new.zarr --overwrite",
        make=lambda folder: ((folder / "new.zarr").mkdir(), CSV.write_into(folder / "new.zarr")),
        where="new.zarr: ",
        says="something else stands there, which is not overwritten",
        way_out=ELSEWHERE,
    )


def _unfinished() -> Iterator[Fault]:
    needs = ("cells.zarr", "unfinished")
    line = f"train_tissue_independent --input_counts cells.zarr --out_path unfinished {QUICK}"
    yield _begun("in the way", line, "unfinished/tissue_independent: ", "an unfinished run is in the way", "give --re")
    resumed = f"{line} --resume"
    target = "unfinished/tissue_independent: "
    yield _begun(
        "of other settings",
        f"{resumed} --seed 7",
        target,
        "what was begun is another run: settings.split.seed was 0, is 7",
        "give the same data and settings",
    )
    yield _begun(
        "a checkpoint cut off",
        resumed,
        "unfinished/.tissue_independent.partial/states/fold00.finished.pt: ",
        "a damaged checkpoint; nothing in it was executed",
        "start anew with --overwrite",
        make=lambda folder: cut(folder / "unfinished/.tissue_independent.partial/states/fold00.finished.pt"),
    )
    yield _begun(
        "a checkpoint of another store",
        resumed.replace("cells.zarr", "other.zarr"),
        target,
        "what was begun is another run: counts was",
        "give the same data and settings",
        make=_other_store,
    )
    yield _begun(
        "a record cut off",
        resumed,
        "unfinished/.tissue_independent.partial/begun.json: ",
        "a damaged record of an unfinished run",
        "give --overwrite to start anew",
        make=lambda folder: cut(folder / "unfinished/.tissue_independent.partial/begun.json"),
    )
    yield _begun(
        "a record without its identity",
        resumed,
        "unfinished/.tissue_independent.partial/begun.json: ",
        "a damaged record of an unfinished run",
        "give --overwrite to start anew",
        make=partial(write_text_at, "unfinished/.tissue_independent.partial/begun.json", json.dumps({"a": 1})),
    )
    yield Fault(
        what="finished, nothing to resume",
        form=BEGUN,
        line=f"{_line('train_tissue_independent')} --resume",
        needs=("cells.zarr", MODEL),
        where=f"{MODEL}: ",
        says="the run is finished, nothing is left to do",
        way_out="give --overwrite to train again",
    )
    yield Fault(
        what="both --resume and --overwrite",
        form="option",
        line=f"{resumed} --overwrite",
        needs=needs,
        where="--resume: ",
        says="'with --overwrite' is not possible",
        way_out="give one of --resume and --overwrite",
    )


def _begun(
    what: str,
    line: str,
    where: str,
    says: str,
    way_out: str,
    make: Callable[[Path], object] = lambda _: None,
) -> Fault:
    return Fault(
        what=what,
        form=BEGUN,
        line=line,
        needs=("cells.h5ad", "cells.zarr", "unfinished"),
        make=make,
        where=where,
        says=says,
        way_out=way_out,
    )


def _other_store(folder: Path) -> None:
    """Convert as many cells of other counts."""
    scnym.convert([clustered_adata(72, n_genes=12, seed=1)], folder / "other.zarr")


FAULTS = (*_there_already(), *_not_to_be_written(), *_unfinished())
