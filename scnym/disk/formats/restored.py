"""A dataset of a store as an input: its annotations as they were before the store added its own."""

from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem

from scnym.base.columns import original_names
from scnym.base.documents import parse_json
from scnym.base.errors import FormatError
from scnym.base.schema import FORMAT_VERSION, N_COUNTS, OWN_OBS_COLUMNS, RENAMED, RENAMED_VAR, SOURCE_ROW, Scale
from scnym.disk.bucket import Location, zarr_store
from scnym.disk.chunk_index import require_chunks
from scnym.disk.encode import codecs_for
from scnym.disk.formats.block import require_unique
from scnym.disk.formats.h5ad import AnnDataFile, CellByCell


class RestoredDataset(CellByCell):
    """Reads a dataset of a finished store in bounded blocks.

    Parameters
    ----------
    path
        The store.
    name
        ``dataset_N``.

    Raises
    ------
    FormatError
        If the store is of a newer version, or damaged.
    """

    def __init__(self, path: Location, name: str) -> None:
        has_cell_ids = _has_cell_ids(path, name)
        if isinstance(path, Path):  # of one in object storage, whoever opened it has counted the objects
            with codecs_for(path):
                require_chunks(zarr.open_group(zarr_store(path), mode="r"), path, name)
        file = AnnDataFile(path, group=name)
        super().__init__(file)
        require_unique(self.var.index, "gene", path, "convert its source again")
        self.has_cell_ids = has_cell_ids
        with file.opened() as group:
            attributes = dict(group.attrs)
            self.n_counts_C = np.asarray(read_elem(group["obs"][N_COUNTS]), dtype=np.float64)
            """Library size of every cell, shape (C,)."""
            self.scale: Scale = attributes.get("scale", "counts")
            """What its values are."""
        self._new_names = attributes.get(RENAMED, {})
        self.var = _renamed(self.var, attributes.get(RENAMED_VAR, {}))

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells, as they came; the index holds their ids. Read anew each time."""
        obs = super().obs
        own = [column for column in OWN_OBS_COLUMNS if column in obs and column != SOURCE_ROW]
        return _renamed(obs.drop(columns=own), self._new_names)


def _renamed(frame: pd.DataFrame, renamed: dict[str, str]) -> pd.DataFrame:
    return frame.set_axis(original_names(list(frame.columns), renamed), axis="columns")


def _has_cell_ids(path: Location, name: str) -> bool:
    """Read from a store's description whether a dataset's cells have ids of their own."""
    try:
        attributes = parse_json((path / "zarr.json").read_bytes())["attributes"]
        written_as = int(attributes["format_version"])
        has_cell_ids = {source["dataset"]: bool(source["has_cell_ids"]) for source in attributes.get("sources", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        written_as, has_cell_ids = FORMAT_VERSION, {}
    if written_as > FORMAT_VERSION:
        raise FormatError(
            f"written in format {written_as}, newer than the {FORMAT_VERSION} known here",
            where=path,
            way_out="update scnym",
        )
    if name not in has_cell_ids:
        raise FormatError(
            "the store's description is damaged", where=path, way_out="copy it again, or convert the source again"
        )
    return has_cell_ids[name]
