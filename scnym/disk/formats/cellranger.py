"""10x Genomics output: matrix folders (Matrix Market, of Cell Ranger 2 and later) and HDF5 files of both versions.

Features other than genes are left out. C cells, G genes, F features of the file, N stored values.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, MissingInputError, ScnymError, examples
from scnym.disk.annotations import require_bounded
from scnym.disk.formats.block import (
    READING_FAULTS,
    CellBlock,
    Slab,
    names_or_ids,
    numbers,
    require_indptr,
    require_unique,
    row_spans,
    smallest,
)
from scnym.disk.formats.byte_lines import chunks, numbers_in, opened

MATRIX, BARCODES = ("matrix.mtx", "matrix.mtx.gz"), ("barcodes.tsv", "barcodes.tsv.gz")
FEATURES = ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz")
BANNER = ("%%matrixmarket", "matrix", "coordinate")
FIELDS = ("integer", "unsigned-integer", "real")
ENTRY_FORM = b"  \n"
LEAST_ENTRY_BYTES = 4
"""Bytes of text read per value that may be held: lines of six at least, about thirteen as a rule."""
GENE_EXPRESSION = "Gene Expression"
GROUP_FIELDS = frozenset({"barcodes", "data", "indices", "indptr", "shape"})
GENE_IDS, GENE_SYMBOLS, FEATURE_TYPES, GENOME = "gene_ids", "gene_symbols", "feature_types", "genome"
MAX_HEADER_BYTES = 2**16
COPY_AGAIN = "copy or write it again"


def is_10x_folder(path: Path) -> bool:
    """Whether a path is a folder with a matrix as Cell Ranger writes it."""
    return any((path / name).is_file() for name in MATRIX)


def is_10x_h5(file: h5py.File) -> bool:
    """Whether an HDF5 file holds a matrix as Cell Ranger writes it."""
    return bool(_groups_in(file))


class Features:
    """The features of a file, and the genes among them.

    Parameters
    ----------
    table
        One row per feature: `gene_ids`, `gene_symbols` and, where they are known, `feature_types` and `genome`.
    path
        The file, for errors.

    Raises
    ------
    DataError
        If there is no gene, or genes share symbol and id.
    """

    def __init__(self, table: pd.DataFrame, path: Path) -> None:
        is_gene = np.ones(len(table), bool)
        self.remark: str | None = None
        """What is left out, to be said to the user; None if nothing is."""
        if FEATURE_TYPES in table:
            is_gene = (table[FEATURE_TYPES] == GENE_EXPRESSION).to_numpy()
            others = Counter(table[FEATURE_TYPES][~is_gene])
            if others and not is_gene.any():
                raise DataError(
                    f"none of its features is of the type {GENE_EXPRESSION}: they are {examples(others)}",
                    where=path,
                    way_out="give the output of a gene expression library",
                )
            if others:
                kinds = ", ".join(f"{times:,} of {kind}" for kind, times in others.items())
                self.remark = f"features that are no genes are left out: {kinds}"
        genes = table[is_gene]
        names = names_or_ids(list(genes[GENE_SYMBOLS]), _ids_across_genomes(genes))
        require_unique(names, "gene", path, "give every gene an id of its own")
        self.var = genes.set_axis(pd.Index(names, dtype=object), axis="index")
        self.gene_of_F = np.where(is_gene, np.cumsum(is_gene) - 1, -1).astype(np.int32)
        """Place of each feature among the genes, -1 if it is none, shape (F,)."""
        self.n_features = len(table)
        self.are_all_genes = bool(is_gene.all())


class CellRangerFolder:
    """A folder with matrix.mtx, barcodes.tsv and features.tsv or genes.tsv, each gzipped or not.

    Raises
    ------
    MissingInputError
        If one of the files is not there.
    FormatError
        If a file is damaged, or they do not belong together.
    DataError
        If there are no genes, or names stand twice.
    """

    has_cell_ids = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._matrix = _companion(path, MATRIX)
        features, cells = _companion(path, FEATURES), _companion(path, BARCODES)
        self._features = Features(_features_in(features), features)
        self.remark = self._features.remark
        barcodes = [line.partition("\t")[0] for line in _lines_of(cells)]
        require_unique(barcodes, "cell", cells, "give every cell a barcode of its own")
        self.obs = pd.DataFrame(index=pd.Index(barcodes, dtype=object))
        self.var = self._features.var
        with opened(self._matrix) as file:
            self._n_entries = self._read_header(file)

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values, at most `max_elements` at a time; slabs before `first_slab` are not parsed again."""
        first_entry = 0
        with opened(self._matrix) as file:
            self._read_header(file)
            for number, chunk in enumerate(chunks(file, LEAST_ENTRY_BYTES * max_elements)):
                text = _without_blank_lines(chunk)
                n_entries = text.count(b"\n")
                if number >= first_slab:
                    yield self._slab(_entries(text, n_entries, partial(self._refuse_entry, first_entry)), first_entry)
                first_entry += n_entries
        if first_entry != self._n_entries:
            raise FormatError(
                f"it holds {first_entry:,} entries, but its header promises {self._n_entries:,}",
                where=self._matrix,
                way_out=COPY_AGAIN,
            )

    def _slab(self, entries_3N: np.ndarray, first_entry: int) -> Slab:
        limits = (self._features.n_features, len(self.obs))
        for places_N, limit, noun in zip(entries_3N, limits, ("feature", "cell"), strict=False):
            if len(places_N) and not _are_places(places_N, limit):
                at = next(k for k in range(len(places_N)) if not _are_places(places_N[k : k + 1], limit))
                self._refuse_entry(first_entry, at, f"there is no {noun} {places_N[at]:g}, but 1 to {limit:,}")
        genes_N = self._features.gene_of_F[entries_3N[0].astype(np.int32) - 1]
        cells_N = entries_3N[1].astype(np.int32) - 1
        values_N = smallest(entries_3N[2])
        if self._features.are_all_genes:
            return Slab(cells_N, genes_N, values_N)
        return Slab(cells_N[genes_N >= 0], genes_N[genes_N >= 0], values_N[genes_N >= 0])

    def _refuse_entry(self, first_entry: int, at: int, what: str) -> None:
        raise FormatError(what, where=f"{self._matrix}, entry {first_entry + at + 1:,}", way_out=COPY_AGAIN)

    def _read_header(self, file: BinaryIO) -> int:
        """Check the lines above the entries; give how many entries there are."""
        banner = file.readline(MAX_HEADER_BYTES).decode().split()
        if len(banner) != 5 or tuple(word.lower() for word in banner[:3]) != BANNER:
            self._refuse_header("the first line is not that of a sparse Matrix Market file")
        field, symmetry = (word.lower() for word in banner[3:])
        if field not in FIELDS or symmetry != "general":
            self._refuse_header(f"it holds a {symmetry} matrix of {field} values, which cannot be counts")
        line = file.readline(MAX_HEADER_BYTES)
        while line.startswith(b"%") or line.isspace():
            line = file.readline(MAX_HEADER_BYTES)
        size = line.split()
        if len(size) != 3 or not all(number.isdigit() for number in size):
            self._refuse_header(f"{line.decode().strip()!r} is no size: features, cells, entries")
        n_features, n_cells, n_entries = map(int, size)
        self._check_sizes(n_features, n_cells)
        return n_entries

    def _check_sizes(self, n_features: int, n_cells: int) -> None:
        named = (self._features.n_features, len(self.obs))
        if (n_features, n_cells) != named:
            turned = "; it lies cells x features" if (n_cells, n_features) == named else ""
            raise FormatError(
                f"the matrix has {n_features:,} features and {n_cells:,} cells, but {named[0]:,} features and "
                f"{named[1]:,} barcodes are named beside it{turned}",
                where=self._matrix,
                way_out="give the files that were written together",
            )

    def _refuse_header(self, what: str) -> None:
        raise FormatError(what, where=self._matrix, way_out="write it as coordinate integer general")


class CellRangerFile:
    """A 10x HDF5 file: one group ``matrix``, or in the old version one group per genome.

    Raises
    ------
    FormatError
        If it is damaged, or its genomes hold different cells.
    DataError
        If there are no genes, or names stand twice.
    """

    has_cell_ids = True

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            self._groups = _groups_in(file)
            barcodes = [_strings(file[name]["barcodes"]) for name in self._groups]
            tables = [_features_of_group(file[name]) for name in self._groups]
        if any(other != barcodes[0] for other in barcodes[1:]):
            raise FormatError(
                f"its genomes {examples(self._groups)} hold different cells",
                where=path,
                way_out="write it as one h5ad per genome",
            )
        self._n_features = list(map(len, tables))
        self._features = Features(pd.concat(tables, ignore_index=True), path)
        self.remark = self._features.remark
        require_unique(barcodes[0], "cell", path, "give every cell a barcode of its own")
        self.obs = pd.DataFrame(index=pd.Index(barcodes[0], dtype=object))
        self.var = self._features.var
        self.n_cells = len(self.obs)

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        is_gene_F = self._features.gene_of_F >= 0
        with self._opened() as file:
            indptrs = [self._indptr(file[name]) for name in self._groups]
            for start, stop in row_spans(np.sum(indptrs, axis=0), max_elements, first_cell):
                genomes = [
                    self._rows(file[name], n_features, indptr[start : stop + 1])
                    for name, n_features, indptr in zip(self._groups, self._n_features, indptrs, strict=True)
                ]
                counts_CF = genomes[0] if len(genomes) == 1 else sparse.hstack(genomes, format="csr")
                counts_CG = counts_CF if self._features.are_all_genes else counts_CF[:, is_gene_F]
                yield CellBlock(sparse.csr_matrix(counts_CG), self.obs.index[start:stop])

    def _rows(self, group: Any, n_features: int, indptr: np.ndarray) -> sparse.csr_matrix:
        low, high = int(indptr[0]), int(indptr[-1])
        features = np.asarray(group["indices"][low:high])
        if len(features) and (features.min() < 0 or features.max() >= n_features):
            raise FormatError(
                f"{group.name}/indices names features outside 0 to {n_features - 1}",
                where=self.path,
                way_out=COPY_AGAIN,
            )
        values = numbers(np.asarray(group["data"][low:high]), self.path)
        return sparse.csr_matrix((values, features, indptr - low), shape=(len(indptr) - 1, n_features))

    def _indptr(self, group: Any) -> np.ndarray:
        indptr = np.asarray(group["indptr"][:], dtype=np.int64)
        place = f"{self.path}, {group.name}"
        require_indptr(indptr, self.n_cells, (group["data"].shape[0], group["indices"].shape[0]), place)
        return indptr

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with h5py.File(self.path) as file:
                yield file
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError):
                raise
            raise FormatError(
                f"the file is damaged or not of 10x ({fault})", where=self.path, way_out=COPY_AGAIN
            ) from fault


def _groups_in(file: Any) -> list[str]:
    """Names of the groups that hold a matrix of features x cells."""
    groups = {name: set(group) for name, group in file.items() if isinstance(group, h5py.Group)}
    return sorted(
        name
        for name, members in groups.items()
        if members >= GROUP_FIELDS and ("genes" in members or "features" in members)
    )


def _features_of_group(group: Any) -> pd.DataFrame:
    if "features" in group:
        features = group["features"]
        table = pd.DataFrame({GENE_IDS: _strings(features["id"]), GENE_SYMBOLS: _strings(features["name"])})
        known = {FEATURE_TYPES: "feature_type", GENOME: "genome"}
        table = table.assign(**{column: _strings(features[key]) for column, key in known.items() if key in features})
    else:
        names = group["gene_names"] if "gene_names" in group else group["genes"]
        table = pd.DataFrame({GENE_IDS: _strings(group["genes"]), GENE_SYMBOLS: _strings(names)})
        table[GENOME] = group.name.strip("/")
    n_features = int(group["shape"][0])
    if len(table) != n_features:
        raise ValueError(f"{len(table):,} features are named, but the matrix has {n_features:,}")
    return table


def _strings(dataset: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:]]


def _features_in(path: Path) -> pd.DataFrame:
    """Read features.tsv: id, symbol, type; or genes.tsv: id, symbol."""
    lines = [line.split("\t") for line in _lines_of(path)]
    width = min(map(len, lines), default=0)
    columns = (GENE_IDS, GENE_SYMBOLS, FEATURE_TYPES)[:width]
    if not lines:
        raise DataError("it names no gene", where=path, way_out="give the file that was written with the matrix")
    table = pd.DataFrame({name: [fields[k] for fields in lines] for k, name in enumerate(columns)}, dtype=object)
    return table if GENE_SYMBOLS in table else table.assign(**{GENE_SYMBOLS: table[GENE_IDS]})


def _lines_of(path: Path) -> list[str]:
    require_bounded(path)
    with opened(path) as file:
        return [line for line in file.read().decode().splitlines() if line.strip()]


def _ids_across_genomes(genes: pd.DataFrame) -> Sequence[str]:
    """Ids of the genes; with the genome before them, as 10x does, where genomes share ids."""
    ids = list(genes[GENE_IDS])
    if GENOME not in genes or len(set(ids)) == len(ids):
        return ids
    return [f"{genome}_{id_}" for genome, id_ in zip(genes[GENOME], ids, strict=True)]


def _companion(folder: Path, names: Sequence[str]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise MissingInputError(f"there is no {' or '.join(names)} in it", where=folder, way_out="put it there")
    return found


def _without_blank_lines(chunk: bytes) -> bytes:
    if b"\n\n" in chunk or chunk.startswith(b"\n"):
        chunk = b"\n".join(line for line in chunk.split(b"\n") if line)
    return chunk if chunk.endswith(b"\n") or not chunk else chunk + b"\n"


def _entries(text: bytes, n_entries: int, refuse: Callable[[int, str], None]) -> np.ndarray:
    """Parse lines of feature, cell and value, shape (3, N)."""
    found = numbers_in(text, ENTRY_FORM, n_entries)
    if found is not None:
        return np.ascontiguousarray(found.reshape(-1, 3).T)
    entries_3N = np.empty((3, n_entries))
    for at, line in enumerate(text.splitlines()):
        try:
            feature, cell, value = map(float, line.split())
        except ValueError:
            refuse(at, f"{line.decode(errors='replace')!r} is no entry: feature, cell, value")
        else:
            entries_3N[:, at] = feature, cell, value
    return entries_3N


def _are_places(places_N: np.ndarray, limit: int) -> bool:
    """Whether all are whole numbers from 1 to a limit."""
    is_whole = places_N.dtype.kind == "i" or np.array_equal(places_N, np.floor(places_N))
    return is_whole and places_N.min() >= 1 and places_N.max() <= limit
