"""A NumPy array of cells x genes (``.npy``), whose genes stand in a list of their own. Nothing in it is unpickled."""

from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, SettingsError
from scnym.disk.features import read_genes
from scnym.disk.formats.block import CellBlock, numbers

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
