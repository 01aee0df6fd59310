"""10x Genomics output: its features, and its HDF5 files of both versions.

Features other than genes are left out. C cells, G genes, F features of the file, N stored values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import FormatError, ScnymError, examples
from scnym.disk.feature_kinds import genes_among
from scnym.disk.formats.name_lists import FEATURE_TYPES, GENE_IDS, GENE_SYMBOLS, GENOME
from scnym.disk.formats.source import (
    READING_FAULTS,
    CellBlock,
    names_or_ids,
    numbers,
    require_indptr,
    require_unique,
    row_spans,
)

GROUP_FIELDS = frozenset({"barcodes", "data", "indices", "indptr"})
NAMED = frozenset({"genes", "features"})
"""Either of them names the features, in files of version 2 and of later ones."""
NEEDED = {
    "barcodes": "a list with the barcode of each cell",
    "features": "a group with the id or name of each feature",
    **dict.fromkeys(("data", "indices", "indptr"), "a list of numbers"),
}
"""What must stand in the parts of a file that cannot be done without."""
COPY_AGAIN = "copy or write it again"


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
        features = table.set_axis(pd.Index(table[GENE_SYMBOLS], dtype=object), axis="index")
        is_gene, self.remark = genes_among(features, path)
        """What is left out is said to the user; None if nothing is."""
        genes = table[is_gene]
        names = names_or_ids(list(genes[GENE_SYMBOLS]), _ids_across_genomes(genes))
        require_unique(names, "gene", path, "give every gene an id of its own")
        self.var = genes.set_axis(pd.Index(names, dtype=object), axis="index")
        self.gene_of_F = np.where(is_gene, np.cumsum(is_gene) - 1, -1).astype(np.int32)
        """Place of each feature among the genes, -1 if it is none, shape (F,)."""
        self.n_features = len(table)
        self.are_all_genes = bool(is_gene.all())


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
            barcodes = [_strings(file[name], "barcodes", path) for name in self._groups]
            tables = [_features_of_group(file[name], path) for name in self._groups]
            is_untyped = any(
                _is_untyped(file[name], len(table)) for name, table in zip(self._groups, tables, strict=True)
            )
        if any(other != barcodes[0] for other in barcodes[1:]):
            raise FormatError(
                f"its genomes {examples(self._groups)} hold different cells",
                where=path,
                way_out="write it as one h5ad per genome",
            )
        self._n_features = list(map(len, tables))
        self._features = Features(pd.concat(tables, ignore_index=True), path)
        odd = "features/feature_type does not hold a type for each feature: all of them are taken for genes"
        self.remark = odd if is_untyped else self._features.remark
        """How the file was understood, to be said to the user; None if there is no doubt."""
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
        for key in ("data", "indices", "indptr"):
            if group[key].ndim != 1:
                _refuse_array(group, key, self.path)
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
    return sorted(name for name, members in groups.items() if members >= GROUP_FIELDS and members & NAMED)


def lacking_in(file: Any) -> str | None:
    """Return the part without which an HDF5 file is no 10x output; None if it is nothing like it."""
    for name, group in file.items():
        members = set(group) if isinstance(group, h5py.Group) else set()
        lacking = GROUP_FIELDS - members if members & NAMED else GROUP_FIELDS - members | {"features"}
        if len(lacking) == 1 and members & {"barcodes", *NAMED}:
            return f"{name}/{next(iter(lacking))}"
    return None


def _features_of_group(group: Any, path: Path) -> pd.DataFrame:
    """Read what is needed of the features; what else is in the file, or odd, keeps no one from reading it."""
    if "features" in group:
        names = group["features"]
        if not isinstance(names, h5py.Group) or not {"id", "name"} & set(names):
            _refuse_array(group, "features", path)
        keys = {GENE_IDS: "id", GENE_SYMBOLS: "name", FEATURE_TYPES: "feature_type", GENOME: "genome"}
        needed = _strings(names, "id" if "id" in names else "name", path)
    else:
        names, keys, needed = group, {GENE_SYMBOLS: "gene_names"}, _strings(group, "genes", path)
    columns = {
        column: _strings(names, key, path) for column, key in keys.items() if _is_column(names, key, len(needed))
    }
    table = pd.DataFrame({GENE_IDS: needed, GENE_SYMBOLS: needed, **columns}, dtype=object)
    if "features" not in group:
        table[GENOME] = group.name.strip("/")
    n_features = int(group["shape"][0]) if _is_column(group, "shape", 2) else len(table)
    if len(table) != n_features:
        raise FormatError(
            f"{len(table):,} features are named, but the matrix has {n_features:,}", where=path, way_out=COPY_AGAIN
        )
    return table


def _is_column(group: Any, key: str, n: int) -> bool:
    """Whether there is an array of one value for each of `n`."""
    return key in group and isinstance(group[key], h5py.Dataset) and group[key].shape == (n,)


def _is_untyped(group: Any, n_features: int) -> bool:
    """Whether something stands in the place of the features' types that has not one for each."""
    features = group.get("features", {})
    return "feature_type" in features and not _is_column(features, "feature_type", n_features)


def _strings(group: Any, key: str, path: Path) -> list[str]:
    if not isinstance(group[key], h5py.Dataset) or group[key].ndim != 1:
        _refuse_array(group, key, path)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in group[key][:]]


def _refuse_array(group: Any, key: str, path: Path) -> NoReturn:
    found = group[key]
    what = f"an array of shape {found.shape}" if isinstance(found, h5py.Dataset) else f"a group of {sorted(found)}"
    raise FormatError(
        f"{group.name.rstrip('/')}/{key} is {what}, not {NEEDED.get(key, 'a list of text')}",
        where=path,
        way_out=COPY_AGAIN,
    )


def _ids_across_genomes(genes: pd.DataFrame) -> Sequence[str]:
    """Ids of the genes; with the genome before them, as 10x does, where genomes share ids."""
    ids = list(genes[GENE_IDS])
    if GENOME not in genes or len(set(ids)) == len(ids):
        return ids
    return [f"{genome}_{id_}" for genome, id_ in zip(genes[GENOME], ids, strict=True)]
