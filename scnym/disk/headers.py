"""What is wrong with the columns of an input, found before any of its counts are read."""

from functools import lru_cache
from pathlib import Path

import pandas as pd

from scnym.base.errors import DataError, examples, meant
from scnym.base.progress import Progress
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import join_annotations, read_annotations
from scnym.disk.gather import Input, path_state
from scnym.disk.libraries import column_of_sizes


def check_source(one: Input, settings: ConvertSettings, progress: Progress) -> DataError | None:
    """Find what is wrong with columns before any counts are read.

    Returns
    -------
    DataError or None
        Why no cell is in the table of annotations, which is no mistake if cells of another input are. None if any is,
        there is no table, or only reading the counts would tell.
    """
    source, table, wanted = one.open(settings), table_of(settings.training_metadata), settings.cluster_by
    if source.remark:
        progress.say(f"{one.sample}: {source.remark}")
    obs = source.obs
    frames = [frame for frame in (obs, table) if frame is not None]
    known = [*one.columns, *(str(name) for frame in frames for name in frame.columns)]
    if wanted is not None and wanted not in known:
        raise DataError(
            f"there is no column {wanted!r} among the cells' annotations",
            where=one.path,
            way_out=f"give --cluster_by one of {examples(known)}" if known else "give --training_metadata",
            mend=meant("--cluster_by", wanted, known),
        )
    if obs is None:
        return None
    obs, fault = obs.assign(**one.columns), None
    if table is not None:
        path = Path(settings.training_metadata or "")
        joined = join_annotations(obs, table, path, sample=one.sample, has_cell_ids=source.has_cell_ids)
        obs, fault = joined.obs, joined.fault
        for line in joined.remarks:
            progress.say(f"{one.sample}: {line}")
    if settings.library_size_column is not None and fault is None:
        column_of_sizes(obs, settings.library_size_column, one.path)
    return fault


def table_of(path: str | None) -> pd.DataFrame | None:
    """Read the table of annotations, if there is one; once, as all inputs of a process share it."""
    return None if path is None else _read(Path(path))[0]


def remarks_on_table(path: str | None) -> tuple[str, ...]:
    """Say how the table of annotations was understood, where the user should know."""
    return () if path is None else _read(Path(path))[1]


def _read(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    return _table_as_it_is(path, path_state(path) if path.exists() else None)


@lru_cache(maxsize=1)
def _table_as_it_is(path: Path, state: object) -> tuple[pd.DataFrame, tuple[str, ...]]:
    del state
    remarks: list[str] = []
    return read_annotations(path, remarks.append), tuple(remarks)
