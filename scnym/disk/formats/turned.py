"""A source whose values do not stand cell by cell, turned into one that does."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scnym.base.progress import Progress
from scnym.disk.arrange import RowArranger
from scnym.disk.formats.block import CellBlock, ScatteredSource, strings


class TurnedSource:
    """Gives the cells of a scattered source in order, in bounded memory, by way of files.

    Parameters
    ----------
    source
        What is turned.
    folder
        Where its values are set aside; what an earlier, interrupted run has set aside is not read again.
    """

    def __init__(self, source: ScatteredSource, folder: Path, progress: Progress) -> None:
        self.source = source
        """What is turned."""
        self._folder = folder
        self._progress = progress
        self.path, self.var = source.path, source.var
        self.has_cell_ids, self.remark = source.has_cell_ids, source.remark
        self._cell_ids = strings(source.obs.index)
        self.n_cells = len(self._cell_ids)

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. It may be read anew each time."""
        return self.source.obs

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        arranger = self._arranged(max_elements)
        for counts_CG in arranger.blocks(max_elements, first_cell):
            n_cells = counts_CG.shape[0]
            yield CellBlock(counts_CG, pd.Index(self._cell_ids[first_cell : first_cell + n_cells].astype(object)))
            first_cell += n_cells

    def _arranged(self, max_elements: int) -> RowArranger:
        arranger = RowArranger(self._folder, self.n_cells, len(self.var))
        with self._progress.task(f"turn {self.path.name}", total=None, unit="values") as task:
            for slab in self.source.slabs(max_elements, arranger.n_slabs):
                arranger.add_values(slab.cells_N, slab.genes_N, slab.values_N)
                task.advance(len(slab.values_N))
        return arranger
