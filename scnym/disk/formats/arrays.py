"""Inputs that are arrays: an AnnData in memory, and NumPy's ``.npy`` with a list of genes beside it.

Nothing in a ``.npy`` is unpickled. C cells, G genes.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scnym.base.errors import DataError, FormatError, SettingsError, examples
from scnym.disk.features import read_genes
from scnym.disk.formats.source import CellBlock, numbers, require_indptr, require_unique, row_spans

SUFFIX = ".npy"


class NpySource:
    """An array of counts, mapped and read in bounded blocks of cells.

    Parameters
    ----------
    path
        The file.
    genes_path
        Text file with the genes of the columns, one a line.

    Raises
    ------
    SettingsError
        If there is no list of genes.
    FormatError
        If the file is damaged, or holds anything but numbers.
    DataError
        If the array has not one column per gene.
    """

    remark = None
    has_cell_ids = False

    def __init__(self, path: Path, genes_path: str | None) -> None:
        if genes_path is None:
            raise SettingsError(
                "an array carries no gene names", where=path, way_out="give --input_genes, one gene a line"
            )
        self.path = path
        genes = read_genes(Path(genes_path), "--input_genes")
        shape = self._mapped().shape
        if len(shape) != 2 or shape[1] != len(genes):
            raise DataError(
                f"an array of shape {shape}, where {len(genes):,} genes are listed",
                where=path,
                way_out="give an array of cells x genes, and --input_genes with one gene for each of its columns",
            )
        self.n_cells = shape[0]
        self.var = pd.DataFrame(index=pd.Index(genes, dtype=object))
        self.obs = pd.DataFrame(index=pd.Index([f"cell_{row}" for row in range(shape[0])], dtype=object))

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        cells = max(1, max_elements // max(1, len(self.var)))
        for start in range(first_cell, self.n_cells, cells):
            # Mapped anew for each block, so that pages read before do not count as memory of this process.
            counts_CG = numbers(np.array(self._mapped()[start : start + cells]), self.path)
            yield CellBlock(sparse.csr_matrix(counts_CG), self.obs.index[start : start + cells])

    def _mapped(self) -> np.ndarray:
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError, ArithmeticError, TokenError, SyntaxError) as fault:
            raise FormatError(
                f"not an array of numbers, or a damaged one ({fault}); nothing in it was executed",
                where=self.path,
                way_out="write it with numpy.save, as numbers",
            ) from fault


RAW = "raw"
HASH_ELEMENTS = 2**22


class InMemorySource:
    """Reads an AnnData in memory, which is left as it is.

    Parameters
    ----------
    adata
        With counts as CSR, CSC or dense; CSC is turned into CSR, in memory.
    name
        What it is called in errors.
    layer
        None for X, ``raw`` for raw.X, else the name of a layer.

    Raises
    ------
    DataError
        If cell names stand twice, or the layer is not there.
    FormatError
        If the counts are of a kind that is not known.
    """

    has_cell_ids, remark = True, None
    make_unique = "make them unique first, with adata.var_names_make_unique()"

    def __init__(self, adata: AnnData, name: str, layer: str | None = None) -> None:
        self.path = Path(name)
        self._counts_CG = _row_by_row(_counts(adata, self.path, layer), self.path)
        self.obs = cast("pd.DataFrame", adata.obs)
        var = adata.raw.var if layer == RAW and adata.raw is not None else adata.var
        self.var = cast("pd.DataFrame", var)
        self.n_cells = len(self.obs)
        way_out = "make them unique first, with adata.obs_names_make_unique()"
        require_unique(self.obs.index, "cell", self.path, way_out)

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        for start, stop in self._spans(max_elements, first_cell):
            block = self._counts_CG[start:stop]
            counts_CG = sparse.csr_matrix(block if _is_sparse(block) else numbers(np.asarray(block), self.path))
            counts_CG.data = numbers(counts_CG.data, self.path)
            yield CellBlock(counts_CG, self.obs.index[start:stop])

    def _spans(self, max_elements: int, first_cell: int) -> Iterator[tuple[int, int]]:
        if _is_sparse(self._counts_CG):
            yield from row_spans(self._counts_CG.indptr, max_elements, first_cell)
            return
        rows = max(1, max_elements // max(1, len(self.var)))
        for start in range(first_cell, self.n_cells, rows):
            yield start, min(start + rows, self.n_cells)


def adata_hash(adata: AnnData) -> str:
    """Name all that a conversion reads of an AnnData: counts, layers, annotations and names."""
    content = hashlib.sha256()
    layers = [(name, adata.layers[name]) for name in _layers(adata)]
    raw = [] if adata.raw is None else [("raw", adata.raw.X), ("raw/var", adata.raw.var)]
    for name, element in [("X", adata.X), *layers, ("obs", adata.obs), ("var", adata.var), *raw]:
        content.update(f"\0{name}\0".encode())
        for array in _arrays_of(element):
            content.update(f"{array.dtype} {array.shape}".encode())
            for stretch in _stretches(array):
                content.update(np.ascontiguousarray(stretch).data)
    return content.hexdigest()


def _arrays_of(element: Any) -> Iterator[np.ndarray]:
    """Take a matrix or a table apart into arrays of plain numbers."""
    element = _loaded(element)
    if isinstance(element, pd.DataFrame):
        yield np.frombuffer(
            repr([(str(name), str(dtype)) for name, dtype in element.dtypes.items()]).encode(), np.uint8
        )
        for column in (element.index.to_series(), *(column for _, column in element.items())):
            yield pd.util.hash_pandas_object(column.astype(str), index=False).to_numpy()
    elif _is_sparse(element):
        yield from (element.indptr, element.indices, element.data)
    elif element is not None:
        yield np.asarray(element)


def _stretches(array: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, HASH_ELEMENTS // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _counts(adata: AnnData, path: Path, layer: str | None) -> Any:
    """Find the counts.

    Raises
    ------
    DataError
        If there are none; names the layers that there are.
    """
    if layer is None:
        found = adata.X
    elif layer == RAW:
        found = None if adata.raw is None else adata.raw.X
    else:
        found = adata.layers.get(layer)
    if found is None:
        known = [*_layers(adata), *([RAW] if adata.raw is not None else [])]
        raise DataError(
            f"there are no counts in {layer or 'X'}",
            where=path,
            way_out=f"give the layer, one of {examples(known)}" if known else "store the counts in X",
        )
    return found


def _layers(adata: AnnData) -> list[str]:
    """Name the layers, without X, which AnnData counts among them from version 0.13 on, as None."""
    return [name for name in adata.layers if name is not None]


def _row_by_row(counts_CG: Any, path: Path) -> Any:
    """Return counts of which rows can be taken.

    Raises
    ------
    FormatError
        If they are neither sparse nor dense, or their row pointers are damaged.
    """
    counts_CG = _loaded(counts_CG)
    if _is_sparse(counts_CG):
        counts_CG = sparse.csr_matrix(counts_CG)
        n_values = [len(counts_CG.data), len(counts_CG.indices)]
        require_indptr(counts_CG.indptr, counts_CG.shape[0], n_values, str(path))
        return counts_CG
    if isinstance(counts_CG, np.ndarray):
        return counts_CG
    raise FormatError(
        f"the counts are a {type(counts_CG).__name__}, which is not known",
        where=path,
        way_out="make them a scipy CSR matrix or a numpy array",
    )


def _loaded(matrix: Any) -> Any:
    """Return a matrix in memory, of an AnnData that is backed by a file as well."""
    if isinstance(matrix, h5py.Dataset):
        return matrix[()]
    return matrix.to_memory() if hasattr(matrix, "to_memory") else matrix


def _is_sparse(counts: Any) -> bool:
    """Return whether it is, without narrowing the type to one that lacks the parts of the matrix."""
    return bool(sparse.issparse(counts))
