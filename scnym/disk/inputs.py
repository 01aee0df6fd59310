"""Which files a conversion reads: several, patterns, folders of files, or a table that lists files and samples."""

import csv
import glob
import gzip
import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
from anndata import AnnData

from scnym.base.errors import DataError, MissingInputError, examples
from scnym.base.schema import FORMAT_VERSION
from scnym.base.settings import ConvertSettings
from scnym.base.text import parse_json
from scnym.disk.annotations import read_table
from scnym.disk.folder_contents import Contents, contents_of
from scnym.disk.formats.arrays import InMemorySource, adata_hash
from scnym.disk.formats.csv_lines import separator_among
from scnym.disk.formats.detect import (
    KNOWN,
    TEXT_SUFFIXES,
    AnySource,
    is_readable,
    is_store,
    open_source,
    require_no_stranger_folder,
)
from scnym.disk.formats.genes import with_named_genes
from scnym.disk.formats.matrix_market_files import is_matrix, lists_beside, sample_in_name
from scnym.disk.location import require_local

PATH_COLUMN, SAMPLE_COLUMN = "path", "sample"
IN_MEMORY = "AnnData"
"""What cells in memory are called; with a number behind it where there are several."""
PATTERN_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Input:
    """One file or folder that becomes one or more datasets."""

    path: Path
    sample: str
    """Names it among the others."""
    columns: dict[str, str] = field(default_factory=dict)
    """Annotations that all of its cells get."""
    dataset: str = ""
    """Which dataset, where the path is a store."""
    adata: AnnData | None = None
    """The cells themselves, where they are in memory; the path is then only a name for them."""

    def fingerprint(self) -> str:
        """Return what changes when the input does: names, sizes and times of change of its files, or a hash of it."""
        state = path_state(self.path) if self.adata is None else adata_hash(self.adata)
        return hashlib.sha256(repr((state, self.sample, self.columns, self.dataset)).encode()).hexdigest()

    def located(self) -> "Input":
        """Return the same with an absolute path, for a process that stands in another folder."""
        return replace(self, path=self.path.absolute())

    def open(self, settings: ConvertSettings) -> AnySource:
        """Open it as what it is; see `open_source`."""
        if self.adata is not None:
            return with_named_genes(InMemorySource(self.adata, self.sample, settings.layer))
        return open_source(self.path, settings, self.dataset)


Given = str | Path | AnnData | Input
"""What may be converted: a path or a pattern, cells in memory, or an input that was gathered before."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that a conversion reads, in order."""

    inputs: tuple[Input, ...]
    left_out: tuple[Path, ...]
    """Files in folders that hold no counts, or are of no known format."""
    remarks: tuple[str, ...] = ()
    """What was chosen among files of the same cells."""

    def lines(self) -> Iterator[str]:
        """Yield what is to be said to the user about what is not read."""
        if self.left_out:
            yield f"left out, no counts or not of a known format: {examples(path.name for path in self.left_out)}"
        yield from self.remarks


def gather(inputs: Sequence[Given]) -> Gathered:
    """Find all inputs behind some paths, patterns, folders and manifests; an AnnData in memory is one itself.

    A manifest is a CSV or TSV with a column `path` (relative to the manifest, if not absolute) and, if wanted,
    `sample`; its other columns become annotations of the cells.

    Raises
    ------
    MissingInputError
        If nothing is there, or a pattern matches nothing.
    DataError
        If a manifest is empty, or names a path or a sample twice.
    """
    found = [one for one in inputs if isinstance(one, Input)]
    left_out: list[Path] = []
    remarks: list[str] = []
    in_memory = [one for one in inputs if isinstance(one, AnnData)]
    for number, adata in enumerate(in_memory):
        name = f"{IN_MEMORY}_{number}" if len(in_memory) > 1 else IN_MEMORY
        found.append(Input(Path(name), name, adata=adata))
    for text in (one for one in inputs if isinstance(one, str | Path)):
        matches = _matches(text)
        manifests = [path for path in matches if _is_manifest(path)]
        lines = [line for path in manifests for line in _listed(path)]
        for line in lines:
            within, said = _within(line)
            found += within
            remarks += said
        others = [path for path in matches if path not in manifests]
        if len(others) > 1 or any(path.is_dir() and not is_readable(path) for path in others):
            contents = _require_inputs(others)
            found += [_of_path(path) for path in contents.inputs]
            left_out += contents.left_out
            remarks += contents.remarks
        else:
            found += map(_of_path, others)
    on_disk = [one.path.resolve() for one in found if one.adata is None and not one.dataset]
    twice = [path for path, times in Counter(on_disk).items() if times > 1]
    if twice:
        raise DataError("the input is named twice", where=twice[0], way_out="name every input once")
    return Gathered(_named([part for one in found for part in _datasets(one)]), tuple(left_out), tuple(remarks))


def path_state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of a file, and of those that belong to it; or of all files below a folder.

    Raises
    ------
    MissingInputError
        If nothing is there.
    """
    if not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check the path")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if is_matrix(path) and path.is_file():
        files += lists_beside(path)
    return tuple((str(one.resolve()), one.stat().st_size, one.stat().st_mtime_ns) for one in files)


def conversion_key(inputs: Sequence[Given], settings: ConvertSettings) -> str:
    """Name everything that a conversion of some inputs depends on, the format of the store among it."""
    settings = replace(settings, overwrite=False)
    lists = [path_state(Path(name)) for name in (settings.input_genes, settings.training_metadata) if name]
    state = [(one.path, one.fingerprint()) for one in gather(inputs).inputs]
    return hashlib.sha256(repr((FORMAT_VERSION, state, lists, settings)).encode()).hexdigest()


def _matches(text: str | Path) -> list[Path]:
    path = require_local(text)
    if path.exists() or not PATTERN_CHARACTERS & set(str(text)):
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(text), recursive=True))  # noqa: PTH207 - may be absolute
    if not matches:
        raise MissingInputError("nothing matches this pattern", where=str(text), way_out="check the pattern")
    return matches


def _is_manifest(path: Path) -> bool:
    if not path.is_file() or not path.name.lower().endswith(TEXT_SUFFIXES):
        return False
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as text:
            line = text.readline(2**16)
            header = next(csv.reader([line], delimiter=separator_among([line], path, blanks=False)), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error):
        return False  # whoever reads it says what is wrong
    return PATH_COLUMN in header


def _listed(manifest: Path) -> list[Input]:
    table = read_table(manifest, "check the manifest")
    if not len(table):
        raise DataError("the manifest lists no files", where=manifest, way_out="give it a line per file")
    unnamed = table.index[table[PATH_COLUMN].isna()]
    if len(unnamed):
        raise DataError("a line names no path", where=f"{manifest}, line {unnamed[0] + 2}", way_out="give it one")
    samples = table[SAMPLE_COLUMN].dropna() if SAMPLE_COLUMN in table else pd.Series([], dtype=object)
    twice = samples[samples.duplicated()].unique()
    if len(twice):
        raise DataError(f"sample {examples(twice)} stands twice", where=manifest, way_out="name every sample once")
    return [_of_line(manifest, line) for line in table.to_dict("records")]


def _of_line(manifest: Path, line: dict) -> Input:
    given = {str(name): str(value) for name, value in line.items() if not pd.isna(value)}
    path, sample = manifest.parent / given.pop(PATH_COLUMN), given.get(SAMPLE_COLUMN, "")
    return Input(path, sample, given)


def _datasets(one: Input) -> list[Input]:
    """Return an input for every dataset of a store, under the sample names that it has there."""
    if one.adata is not None or one.dataset or not is_store(one.path):
        return [one]
    entries = parse_json((one.path / "zarr.json").read_bytes())["attributes"].get("sources", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        return [replace(one, dataset="dataset_0")]  # whoever opens it says what is wrong
    several = len(entries) > 1
    return [
        replace(
            one,
            dataset=str(entry.get("dataset")),
            sample=f"{one.sample}/{entry.get('sample', '')}"
            if one.sample and several
            else one.sample or str(entry.get("sample", "")),
        )
        for entry in entries
    ]


def _require_inputs(paths: Sequence[Path]) -> Contents:
    """Find the inputs in a folder, or among all that a pattern matches.

    Raises
    ------
    MissingInputError
        If there is none.
    """
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))
    contents = contents_of(paths, root)
    if not contents.inputs:
        require_no_stranger_folder(root)
        found = examples(path.name for path in contents.left_out) if contents.left_out else "nothing"
        raise MissingInputError(
            "no file in this folder is of a known format", where=root, way_out=f"it holds {found}; give {KNOWN}"
        )
    return contents


def _within(line: Input) -> tuple[list[Input], tuple[str, ...]]:
    """Return what a line of a manifest names: itself, or what is in its folder, such as Cell Ranger's ``outs``."""
    if not line.path.is_dir() or is_readable(line.path):
        return [line], ()
    contents = _require_inputs([line.path])
    if len(contents.inputs) == 1:
        return [replace(line, path=contents.inputs[0])], contents.remarks
    samples = [f"{line.sample}/{path.name}" if line.sample else "" for path in contents.inputs]
    return [
        replace(line, path=path, sample=sample) for path, sample in zip(contents.inputs, samples, strict=True)
    ], contents.remarks


def _of_path(path: Path) -> Input:
    return Input(path, sample_in_name(path) if is_matrix(path) and path.is_file() else "")


def _require_text(path: Path) -> None:
    """Refuse a file whose name is no text, as stores and tables hold it.

    Raises
    ------
    DataError
        With the way out.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as fault:
        raise DataError("the name is not UTF-8", where=ascii(path.name), way_out="rename it") from fault


def _named(inputs: Sequence[Input]) -> tuple[Input, ...]:
    """Return a unique name for every input: its sample's or file's, with folders before it where others share that."""
    if not inputs:
        raise MissingInputError("there is no input", where="INPUT", way_out="name at least one file of a known format")
    for one in inputs:
        _require_text(one.path)
    places = _places(inputs)
    names = [one.sample or place.name for one, place in zip(inputs, places, strict=True)]
    for depth in range(2, 1 + max(len(place.parts) for place in places)):
        shared = {name for name, times in Counter(names).items() if times > 1}
        if not shared:
            break
        for k, one in enumerate(inputs):
            if names[k] in shared:
                folders = places[k].parts[-depth:]
                names[k] = "/".join([*folders, one.sample] if one.sample else folders)
    return tuple(replace(one, sample=name) for one, name in zip(inputs, names, strict=True))


def _places(inputs: Sequence[Input]) -> list[Path]:
    """Return what names each input: its path; of a matrix whose own name says nothing, the folder it lies in alone."""
    unnamed = [is_matrix(one.path) and not one.sample for one in inputs]
    times = Counter(one.path.parent for one, is_unnamed in zip(inputs, unnamed, strict=True) if is_unnamed)
    return [
        (one.path.parent if is_unnamed and times[one.path.parent] == 1 else one.path).absolute()
        for one, is_unnamed in zip(inputs, unnamed, strict=True)
    ]
