"""What is fuzzed: for each kind of file a small valid one, ways to damage it, and how scnym opens and reads it."""

import contextlib
import gzip
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.mutations import damaged
from helpers import telling_adata, write_csv

from scnym.base.errors import ScnymError
from scnym.base.progress import SILENT
from scnym.base.settings import ConvertSettings
from scnym.disk.checks import ValueChecks, ValueRange
from scnym.disk.cut import canonical
from scnym.disk.formats.block import ScatteredSource
from scnym.disk.formats.sniff import open_source
from scnym.disk.formats.turned import TurnedSource
from scnym.disk.frames import storable

Execute = Callable[[Random], None]
"""Damages a file in its own way, and reads it as scnym does."""
FEW = telling_adata(n_cells=6, n_genes=5)
SETTINGS = ConvertSettings()
MAX_ELEMENTS = 2**16


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    prepare: Callable[[Path], Execute]
    """Writes what it needs into a folder; gives what is executed again and again."""
    executions: int = 100_000
    """How often it is executed in `make fuzz`, unless something else is asked for."""


def attempt(execute: Execute, random: Random) -> bool:
    """Execute once; whether the file was read. A refusal is a good answer, anything else raised a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            execute(random)
        except ScnymError:
            return False
        return True


def read_source(path: Path, settings: ConvertSettings = SETTINGS) -> None:
    """Open a raw input and read all of it, as a conversion does."""
    source, values = open_source(path, settings), ValueRange()
    with contextlib.ExitStack() as stack:
        if isinstance(source, ScatteredSource):
            scratch = path.parent / "turned"
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            source = TurnedSource(source, scratch, SILENT)
        checks = ValueChecks(source.path, source.var.index)
        for block in source.blocks(MAX_ELEMENTS):
            checks.check(block.counts_CG, block.obs.index)
            values = values.joined(checks.range_of(canonical(block.counts_CG), block.obs.index))
        values.scale(source.path)
        for frame in (source.var, source.obs):
            if frame is not None:
                storable(frame)


def _csv(folder: Path) -> Execute:
    path = write_csv(folder / "cells.csv", FEW)
    content = path.read_bytes()

    def execute(random: Random) -> None:
        path.write_bytes(damaged(random, content))
        read_source(path)

    return execute


def _csv_gz(folder: Path) -> Execute:
    content = write_csv(folder / "cells.csv", FEW).read_bytes()
    packed, path = gzip.compress(content), folder / "cells.csv.gz"

    def execute(random: Random) -> None:
        whole = random.randrange(2)
        path.write_bytes(gzip.compress(damaged(random, content), 1) if whole else damaged(random, packed))
        read_source(path)

    return execute


TARGETS = {target.name: target for target in (Target("csv", _csv), Target("csv_gz", _csv_gz))}
