"""A dataset of a store as an input: its annotations as they were before the store added its own."""

import json

import numpy as np
import pandas as pd

from scnym.base.columns import original_names
from scnym.base.schema import N_COUNTS, OWN_OBS_COLUMNS, RENAMED, RENAMED_VAR, SOURCE_ROW
from scnym.disk.bucket import Location
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

    def __init__(self, path: Location, name: str) -> None:
        file = AnnDataFile(path, group=name)
        super().__init__(file)
        with file.opened() as group:
            attributes = dict(group.attrs)
        self.has_cell_ids = _has_cell_ids(path, name)
        self.n_counts_C = self.obs[N_COUNTS].to_numpy(dtype=np.float64)
        """Library size of every cell, shape (C,)."""
        own = [column for column in OWN_OBS_COLUMNS if column in self.obs and column != SOURCE_ROW]
        self.obs = _renamed(self.obs.drop(columns=own), attributes.get(RENAMED, {}))
        self.var = _renamed(self.var, attributes.get(RENAMED_VAR, {}))


def _renamed(frame: pd.DataFrame, renamed: dict[str, str]) -> pd.DataFrame:
    return frame.set_axis(original_names(list(frame.columns), renamed), axis="columns")


def _has_cell_ids(path: Location, name: str) -> bool:
    sources = json.loads((path / "zarr.json").read_bytes())["attributes"]["sources"]
    return next(bool(source["has_cell_ids"]) for source in sources if source["dataset"] == name)
