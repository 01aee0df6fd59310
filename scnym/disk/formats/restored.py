"""A dataset of a store as an input: its annotations as they were before the store added its own."""

from pathlib import Path

import numpy as np

from scnym.base.schema import N_COUNTS, OWN_OBS_COLUMNS, RENAMED, SOURCE_ROW
from scnym.disk.formats.h5ad import AnnDataFile, CellByCell


class RestoredDataset(CellByCell):
    """Reads a dataset of a finished store in bounded blocks.

    Parameters
    ----------
    path
        The store.
    name
        ``dataset_N``.
    """

    def __init__(self, path: Path, name: str) -> None:
        file = AnnDataFile(path, None, name)
        super().__init__(file)
        with file.opened() as group:
            # A slash in a name would make a folder of it again.
            renamed = {new: old for new, old in dict(group.attrs.get(RENAMED, {})).items() if "/" not in old}
        self.n_counts_C = self.obs[N_COUNTS].to_numpy(dtype=np.float64)
        """Library size of every cell, shape (C,)."""
        own = [column for column in OWN_OBS_COLUMNS if column in self.obs and column != SOURCE_ROW]
        self.obs = self.obs.drop(columns=own).rename(columns=renamed)
