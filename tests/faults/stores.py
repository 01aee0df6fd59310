"""Stores that are not there, damaged, or written by a newer version; and those of a run's cache."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults.bench import MODEL, QUICK
from faults.fault import Fault
from faults.files import cut
from faults.tables import write_text_at

from scnym.base.progress import SILENT
from scnym.base.settings import ConvertSettings
from scnym.runs.inputs import open_input

STORE = "store"
TRAIN = f"train_tissue_independent --input_counts cells.zarr --out_path out {QUICK}"
PREDICT = f"predict_cell_types --input_counts cells.zarr --out_path out --model_path {MODEL}"
READERS = {
    "train": (TRAIN, ()),
    "predict": (PREDICT, (MODEL,)),
    "export": ("export cells.zarr cells.h5ad", ()),
    "inspect": ("inspect cells.zarr", ()),
    "convert": ("convert cells.zarr new.zarr", ()),
    "evaluate": ("evaluate labels.csv cells.zarr", ()),
}
"""Commands that read a store, and what they need besides."""
LOST = {"export": "72 of 72 cells are lost", "convert": "dataset_0/X/data/c/0: the index is damaged"}
CUT_OFF = {"export": "copy the store again, or convert the source again", "convert": "copy or write it again"}
"""What is said of a chunk that was cut off, where it is not found when counts are read."""
AGAIN = "copy it again, or convert the source again"


def _with_attributes(change: Callable[[dict], object], folder: Path) -> None:
    """Change what a store says of itself."""
    path = folder / "cells.zarr" / "zarr.json"
    content = json.loads(path.read_text())
    change(content["attributes"])
    path.write_text(json.dumps(content))
    write_text_at("labels.csv", "cell_id,cell_type\ncell 0,type 0\n", folder)


def _newer(attributes: dict) -> None:
    attributes["format_version"] = 99


def _without_sources(attributes: dict) -> None:
    del attributes["sources"]


def _chunk(folder: Path, array: str = "X/data") -> Path:
    return next((folder / "cells.zarr" / "dataset_0" / array / "c").glob("*"))


def _flipped(folder: Path) -> None:
    """Change a byte in the middle of the counts."""
    path = _chunk(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def _descriptions() -> Iterator[Fault]:
    for name, (line, needs) in READERS.items():
        yield Fault(
            what="of a newer format",
            form=STORE,
            line=line,
            needs=("cells.zarr", *needs),
            make=partial(_with_attributes, _newer),
            where="cells.zarr: ",
            says="written in format 99, newer than the ",
            way_out="update scnym",
        )
        yield Fault(
            what="a description that lacks its sources",
            form=STORE,
            line=line,
            needs=("cells.zarr", *needs),
            make=partial(_with_attributes, _without_sources),
            where="cells.zarr: ",
            says="the store's description is damaged",
            way_out=AGAIN,
        )
        if name in {"evaluate", "inspect"}:
            continue
        yield Fault(
            what="a chunk that is not there",
            form=STORE,
            line=line,
            needs=("cells.zarr", *needs),
            make=lambda folder: _chunk(folder).unlink(),
            where="cells.zarr: ",
            says="1 of 1 chunks of dataset_0/X/data are missing",
            way_out="copy the store again, or convert the source again",
        )
        yield Fault(
            what="a chunk cut off",
            form=STORE,
            line=line,
            needs=("cells.zarr", *needs),
            make=lambda folder: cut(_chunk(folder)),
            where="cells.zarr",
            says=LOST.get(name, "cannot be read"),
            way_out=CUT_OFF.get(name, "see scnym verify; copy the store again, or delete it and"),
            quotes=name not in LOST,
            leaves=("out",),
        )


def _places() -> Iterator[Fault]:
    for line in ("verify cells.zarr", "export cells.zarr cells.h5ad"):
        yield Fault(
            what="not there",
            form=STORE,
            line=line,
            where="cells.zarr: ",
            says="there is no such store",
            way_out="check the path",
        )
        yield Fault(
            what="a folder that is none",
            form=STORE,
            line=line,
            make=lambda folder: (folder / "cells.zarr").mkdir(),
            where="cells.zarr: ",
            says="not a Zarr store",
            way_out="make one with scnym convert",
        )
    yield Fault(
        what="no .h5ad at the end of the name",
        form="output",
        line="export cells.zarr cells.loom",
        needs=("cells.zarr",),
        where="cells.loom: ",
        says="the name must end in .h5ad",
        way_out="write cells.loom.h5ad",
    )


def _verified() -> Iterator[Fault]:
    for what, make, says in (
        ("a byte that has changed", _flipped, "cells are lost"),
        ("a chunk that is not there", lambda folder: _chunk(folder).unlink(), "72 of 72 cells are lost"),
        ("a chunk cut off", lambda folder: cut(_chunk(folder)), "cells are lost"),
        ("labels that are not there", _remove_labels, "72 of 72 cells are lost"),
    ):
        yield Fault(
            what=what,
            form=STORE,
            line="verify cells.zarr",
            needs=("cells.zarr",),
            make=make,
            where="cells.zarr: ",
            says=says,
            way_out="copy the store again, or convert the source again",
            prints=True,
        )
    yield Fault(
        what="a list of hashes cut off",
        form=STORE,
        line="verify cells.zarr",
        needs=("cells.zarr",),
        make=lambda folder: cut(next((folder / "cells.zarr").glob("*hashes*"))),
        where="cells.zarr",
        says="the list of hashes",
        way_out="copy the store again",
        quotes=True,
    )
    yield Fault(
        what="a byte that has changed",
        form=STORE,
        line="export cells.zarr cells.h5ad",
        needs=("cells.zarr",),
        make=_flipped,
        where="cells.zarr: ",
        says="cells are lost",
        way_out="copy the store again, or convert the source again",
    )


def _remove_labels(folder: Path) -> None:
    shutil.rmtree(folder / "cells.zarr" / "dataset_0" / "obs" / "cell_type")


def _caches() -> Iterator[Fault]:
    for command in ("train_tissue_dependent", "predict_cell_types", "find_cell_type_markers"):
        more = QUICK if command.startswith("train") else f"--model_path {MODEL}"
        for what, make in (("a chunk that is not there", _without_chunk), ("a description cut off", _cut_description)):
            yield Fault(
                what=what,
                form="cache of a run",
                line=f"{command} --input_counts cells.h5ad --out_path run {more}",
                needs=("cells.h5ad", MODEL),
                make=make,
                where="run/cache/cells-",
                says="chunks of dataset_0/X/data are missing" if make is _without_chunk else "not a Zarr store",
                way_out="delete this folder, cells.h5ad is then converted anew",
            )


def _cached(folder: Path) -> Path:
    """Convert the counts into the cache, as a run does."""
    with contextlib.chdir(folder):
        return Path(open_input("cells.h5ad", Path("run"), ConvertSettings(), SILENT).path).absolute()


def _without_chunk(folder: Path) -> None:
    next((_cached(folder) / "dataset_0" / "X" / "data" / "c").glob("*")).unlink()


def _cut_description(folder: Path) -> None:
    cut(_cached(folder) / "zarr.json")


FAULTS = (*_places(), *_descriptions(), *_verified(), *_caches())
