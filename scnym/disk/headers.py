"""What is wrong with the columns of an input, found before any of its counts are read."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from scnym.base.errors import DataError, examples, meant
from scnym.base.progress import Progress
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import Joined, Rows, join_annotations, none_found, read_annotations, remark_on_shared_rows
from scnym.disk.formats.sniff import AnySource
from scnym.disk.gather import Input, path_state
from scnym.disk.libraries import column_of_sizes


def check_sources(inputs: Sequence[Input], settings: ConvertSettings, progress: Progress) -> None:
    """Check every input by itself (`check_source`), and whether the table of annotations has cells of any."""
    found = [check_source(one, settings, progress, is_only=len(inputs) == 1) for one in inputs]
    require_annotated([why for why, _ in found], settings)
    table = table_of(settings.training_metadata)
    if table is not None:
        rows_of = [(one.sample, rows) for one, (_, rows) in zip(inputs, found, strict=True)]
        remark = remark_on_shared_rows(rows_of, table, Path(settings.training_metadata or ""))
        if remark:
            progress.say(remark)


def check_source(one: Input, settings: ConvertSettings, progress: Progress, *, is_only: bool) -> tuple[str, Rows]:
    """Find what is wrong with columns before any counts are read.

    Returns
    -------
    str
        Why no cell is in the table of annotations, which is no mistake if cells of another input are. Empty if any is,
        if there is no table, or if only reading the counts would tell.
    Rows
        The rows of the table that its cells have.
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
        return "", ()
    joined = with_table(obs.assign(**one.columns), one, source, settings, progress, is_only=is_only)
    obs = joined.obs
    if settings.library_size_column is not None and not joined.why_not:
        column_of_sizes(obs, settings.library_size_column, one.path)
    return joined.why_not, joined.rows


def with_table(
    obs: pd.DataFrame, one: Input, source: AnySource, settings: ConvertSettings, progress: Progress, *, is_only: bool
) -> Joined:
    """Return the annotations of an input with those of the table, if there is one; say how cells and rows fit.

    Raises
    ------
    DataError
        If the table has no cell of it, and there is no other input.
    """
    table = table_of(settings.training_metadata)
    if table is None:
        return Joined(obs)
    path = Path(settings.training_metadata or "")
    joined = join_annotations(obs, table, path, sample=one.sample, has_cell_ids=source.has_cell_ids)
    for line in joined.remarks:
        progress.say(f"{one.sample}: {line}")
    if is_only:
        require_annotated([joined.why_not], settings)
    elif joined.why_not:
        progress.say(f"{one.sample}: none of its cells has a row in the table of annotations: {joined.why_not}")
    return joined


def require_annotated(whys: Sequence[str], settings: ConvertSettings) -> None:
    """Raise if the table of annotations has no cell of any input.

    Raises
    ------
    DataError
        Says why of the first.
    """
    if all(whys):
        raise none_found(whys[0], Path(settings.training_metadata or ""))


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
