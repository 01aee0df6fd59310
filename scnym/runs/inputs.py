"""What a job is given: a store, or a raw file that is converted into the job's cache once; labels and tissues of cells.

C cells of the store.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scnym.base.errors import (
    MAX_EXAMPLES,
    DataError,
    FormatError,
    MissingInputError,
    SettingsError,
    command,
    examples,
    meant,
)
from scnym.base.progress import Progress
from scnym.base.schema import OWN_OBS_COLUMNS, safe_names
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import MISSING, join_annotations, none_found, read_annotations, remark_on_shared_rows
from scnym.disk.atomic import clear_finished
from scnym.disk.convert import convert
from scnym.disk.formats.detect import is_store
from scnym.disk.inputs import IN_MEMORY, SAMPLE_COLUMN, Given, Input, conversion_key, gather
from scnym.disk.location import Location, location
from scnym.disk.obs_var import stacked
from scnym.disk.store import Store
from scnym.disk.values.scales import require_untold

NO_NAMES = frozenset(word.casefold() for word in MISSING if word) | {"nat"}
"""What missing values become where a column is made text."""


def remarks_on_names(names: Iterable[str], what: str) -> Iterator[str]:
    """Yield which names differ only in blanks, case or the like, and which are those of missing values.

    Nothing is merged or left out: a reader may have meant it so.

    Parameters
    ----------
    names
        As they stand in the data.
    what
        What they are names of, in the plural, and where.
    """
    alike, missing = defaultdict[str, list[str]](list), []
    for name in sorted(set(names)):
        alike[_core(name).casefold()].append(name)
        if name.strip().casefold() in NO_NAMES:
            missing.append(name)
    several = [group for group in alike.values() if len(group) > 1]
    for group in several[:MAX_EXAMPLES]:
        yield (
            f"{what}: {examples(group)} differ only in {_difference(group)}, but stay {len(group)} different ones; if "
            "they are the same, give them one name"
        )
    if len(several) > MAX_EXAMPLES:
        yield f"{what}: {len(several) - MAX_EXAMPLES:,} more groups of names differ as little"
    if missing:
        yield (
            f"{what}: one is called {examples(missing)}, as missing values are once they have become text; where cells "
            "have none, leave it empty"
        )


def _core(name: str) -> str:
    """Return a name without blanks and characters that are not seen, each letter in its usual form."""
    usual = unicodedata.normalize("NFKC", name)
    return "".join(one for one in usual if not one.isspace() and unicodedata.category(one) not in {"Cf", "Cc"})


def _difference(names: Iterable[str]) -> str:
    """Return in what names differ of which the same is left."""
    if len({"".join(name.split()) for name in names}) == 1:
        return "blanks"
    if len({name.casefold() for name in names}) == 1:
        return "upper and lower case"
    if len({"".join(name.split()).casefold() for name in names}) == 1:
        return "blanks and case"
    return "characters that look alike or are not seen"


CACHE = "cache"
UNLABELLED = -1


@dataclass(frozen=True)
class CellLabels:
    """The classes of a store's cells."""

    codes_C: np.ndarray
    """Position in `classes`, -1 for cells without a label; as few bytes as it takes, shape (n_cells,)."""
    classes: tuple[str, ...]
    """Class names, sorted."""
    n_unlabelled: int
    """Cells without a label, left out."""
    n_rare: int
    """Cells of classes that are too small, left out."""

    @property
    def cells_per_class(self) -> np.ndarray:
        """Cells of each class; int64, one for each of `classes`."""
        return np.bincount(self.codes_C[self.codes_C >= 0], minlength=len(self.classes))

    def within(self, keep_C: np.ndarray, *, min_cells: int = 0) -> "CellLabels":
        """Return the labels of some of the cells: only classes that occur among them, in `min_cells` cells or more.

        Parameters
        ----------
        keep_C
            Which cells keep their label, bool, shape (n_cells,).
        min_cells
            Smaller classes are left out, in cells.
        """
        codes_C = np.where(keep_C, self.codes_C, UNLABELLED)
        sizes = np.bincount(codes_C[codes_C >= 0], minlength=len(self.classes))
        kept = np.flatnonzero(sizes >= max(1, min_cells))
        new_code = np.full(len(self.classes) + 1, UNLABELLED, self.codes_C.dtype)  # the last stands for -1
        new_code[kept] = np.arange(len(kept))
        n_rare = int(sizes.sum() - sizes[kept].sum())
        return CellLabels(new_code[codes_C], tuple(self.classes[code] for code in kept), self.n_unlabelled, n_rare)


@dataclass(frozen=True)
class Context:
    """A group of each of a store's cells: as a rule the upper group, their tissue."""

    column: str
    """Column of the annotations that holds it."""
    codes_C: np.ndarray
    """Position in `levels`, -1 for cells without a tissue; as few bytes as it takes, shape (n_cells,)."""
    levels: tuple[str, ...]
    """Names of the tissues, sorted."""

    def names_of(self, rows: np.ndarray) -> pd.Series:
        """Return the tissue of each of some cells, as a name; missing where there is none."""
        names = pd.CategoricalDtype(pd.Index(self.levels))
        return pd.Series(pd.Categorical.from_codes(self.codes_C[rows], dtype=names))

    def within(self, keep_C: np.ndarray) -> "Context":
        """Return the tissues of some of the cells; only levels that occur among them."""
        codes_C = np.where(keep_C, self.codes_C, UNLABELLED)
        occurring, new_C = np.unique(codes_C[codes_C >= 0], return_inverse=True)
        codes_C[codes_C >= 0] = new_C
        return Context(self.column, codes_C, tuple(self.levels[code] for code in occurring))


def name_of(given: Given) -> Location:
    """Return what an input is called in errors: its path or URL, or a name for cells in memory."""
    if isinstance(given, Input):
        return given.path
    return location(IN_MEMORY if isinstance(given, AnnData) else given)


def open_input(
    given: Given,
    out_path: Path,
    settings: ConvertSettings,
    progress: Progress,
    columns: Mapping[str, str] | None = None,
) -> Store:
    """Open a store, or convert a raw input into the cache below `out_path` and open that.

    A raw file that has not changed since, or an AnnData that holds the same, is not converted again.

    Parameters
    ----------
    given
        The input.
    out_path
        Folder of the cache.
    settings
        How to convert.
    progress
        Where to report cells done.
    columns
        Annotations that will be needed, by the option that names each: looked for before hours of conversion.

    Raises
    ------
    UserError
        If the file is not there, lacks a column, or cannot be converted.
    """
    path = name_of(given)
    if not isinstance(given, AnnData) and not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check --input_counts")
    if not isinstance(given, AnnData) and is_store(path) and _is_whole(given):
        if settings.training_metadata is not None:
            words = (
                "convert",
                path,
                f"{str(path).removesuffix('.zarr')}_annotated.zarr",
                "--training_metadata",
                settings.training_metadata,
            )
            raise SettingsError(
                "a store keeps the annotations with which it was converted",
                where="--training_metadata",
                way_out=f"give it the new ones, and then its new name: {command(*words)}",
            )
        store = Store(path)
        require_untold((source.scale for source in store.sources), settings.counts_as, path)
        return store
    settings = replace(settings, overwrite=False)
    key = conversion_key([given], settings)
    cached = out_path / CACHE / f"{path.name.partition('.')[0]}-{key[:16]}.zarr"
    clear_finished(cached)
    if not cached.exists():
        _require_annotations(given, settings, columns or {})
        convert([given], cached, settings, progress=progress)
    try:
        return Store(cached)
    except FormatError as fault:
        raise FormatError(
            fault.what, where=cached, way_out=f"delete this folder, {path} is then converted anew"
        ) from fault


def _require_annotations(given: Given, settings: ConvertSettings, columns: Mapping[str, str]) -> None:
    """Refuse a raw input that is sure to lack a column; of text, and with a table beside it, there is no telling yet.

    Raises
    ------
    DataError
        Names the option.
    """
    if not columns or settings.training_metadata is not None:
        return
    known = dict.fromkeys(OWN_OBS_COLUMNS)
    for one in gather([given]).inputs:
        obs = one.open(settings).obs
        if obs is None:
            return
        known |= dict.fromkeys([*one.columns, *map(str, obs.columns), *safe_names(obs.columns)])
    for option, column in columns.items():
        before = re.sub(r"_input_*$", "", column)  # of a column whose name the store needs itself
        if not {column, before} & known.keys():
            _require_column(list(known), column, name_of(given), option)


def _is_whole(given: Given) -> bool:
    """Whether it is a path, or an input that is all of its path with no annotations beside it."""
    return not isinstance(given, Input) or (
        set(given.columns) <= {SAMPLE_COLUMN} and len(Store(given.path).sources) == 1
    )


def annotated(store: Store, metadata: Path | None, progress: Progress) -> pd.DataFrame:
    """Return the annotations of the cells, numbered from 0, with the columns of a metadata table joined by cell id.

    Raises
    ------
    DataError
        If the table has no cell of any source.
    """
    if metadata is None:
        return store.annotations
    table = read_annotations(metadata, progress.say)
    joined = [
        join_annotations(dataset.obs, table, metadata, sample=source.sample, has_cell_ids=source.has_cell_ids)
        for dataset, source in zip(store.datasets, store.sources, strict=True)
    ]
    if all(one.why_not for one in joined):
        raise none_found(joined[0].why_not, metadata)
    rows_of = [(source.sample, one.rows) for one, source in zip(joined, store.sources, strict=True)]
    remark = remark_on_shared_rows(rows_of, table, metadata)
    if remark:
        progress.say(remark)
    for one, source in zip(joined, store.sources, strict=True):
        none = [f"none of its cells has a row in {metadata.name}: {one.why_not}"] if one.why_not else []
        for line in [*one.remarks, *none]:
            progress.say(f"{source.sample}: {line}")
    return stacked([one.obs for one in joined])


def labels_of(obs: pd.DataFrame, column: str, where: Location, *, min_cells: int = 0) -> CellLabels:
    """Read the classes from a column.

    Raises
    ------
    DataError
        If the column is not there, or holds no label at all.
    """
    _require_column(list(obs.columns), column, where, "--lower_group")
    if column in OWN_OBS_COLUMNS:
        raise DataError(
            f"{column!r} is a column that scnym writes",
            where=where,
            way_out=f"if the input had one of this name, it is now {column}_input: give that to --lower_group",
            mend={"--lower_group": f"{column}_input"} if f"{column}_input" in obs else None,
        )
    names = _names_in(obs[column])
    sizes = names.value_counts()
    sizes = sizes[sizes > 0]
    if not len(sizes):
        raise DataError(f"column {column!r} holds no labels", where=where, way_out="name another --lower_group")
    classes = tuple(sorted(sizes.index[sizes >= min_cells]))
    if not classes:
        raise DataError(
            f"no class of column {column!r} has {min_cells:,} cells",
            where=where,
            way_out=f"give --min_cells_per_class {int(sizes.max()):,} or less",
            mend={"--min_cells_per_class": int(sizes.max())},
        )
    codes_C = names.cat.set_categories(classes).cat.codes.to_numpy()
    n_unlabelled = int(names.isna().sum())
    return CellLabels(codes_C, classes, n_unlabelled, int((codes_C < 0).sum()) - n_unlabelled)


def groups_of(obs: pd.DataFrame, column: str, where: Location) -> Context:
    """Read the groups that cross-validation keeps whole.

    Raises
    ------
    DataError
        If the column is not there.
    """
    _require_column(list(obs.columns), column, where, "--cv_group")
    return _context(obs, column)


def require_grouped(groups: Context, codes_C: np.ndarray, store: Store, where: Location) -> None:
    """Refuse labelled cells that are in no group.

    Raises
    ------
    DataError
        Names some.
    """
    lost = np.flatnonzero((groups.codes_C < 0) & (codes_C != UNLABELLED))
    if len(lost):
        raise DataError(
            f"{len(lost):,} labelled cells have no group in column {groups.column!r}: {examples(store.cell_ids[lost])}",
            where=where,
            way_out="give them one, or take their label away to leave them out",
        )


def context_of(obs: pd.DataFrame, column: str) -> Context | None:
    """Read the tissues from a column; None if it is not there."""
    return _context(obs, column) if column in obs else None


def _context(obs: pd.DataFrame, column: str) -> Context:
    names = _names_in(obs[column]).cat.remove_unused_categories()
    levels = tuple(sorted(names.cat.categories))
    return Context(column, names.cat.set_categories(levels).cat.codes.to_numpy(), levels)


def _names_in(column: pd.Series) -> pd.Series:
    """Return a column as categories of text: of a million cells with ten names, no million of objects is made."""
    return column.map(label_text).astype("category")


def require_context(context: Context | None, columns: Sequence[str], column: str, where: str | Location) -> Context:
    """Return the tissues of a job that needs them.

    Raises
    ------
    DataError
        If the column is not there, or names no tissue at all.
    """
    if context is None or not context.levels:
        _require_column(columns, column, where, "--upper_group")
        raise DataError(f"column {column!r} names no tissue", where=where, way_out="name another --upper_group")
    return context


def _require_column(columns: Sequence[str], column: str, where: Location | str, option: str) -> None:
    if column not in columns:
        known = [str(name) for name in columns if name not in OWN_OBS_COLUMNS]
        listed = ", ".join(map(repr, known))
        raise DataError(
            f"there is no column {column!r} among the cells' annotations",
            where=where,
            way_out=f"give {option} one of {listed}" if listed else "give --training_metadata",
            mend=meant(option, column, known),
        )


def sources_of(store: Store) -> list[dict[str, Any]]:
    """Return what the cells came from: name, file, cells, genes and hash of every source."""
    told = ("sample", "file", "n_cells", "n_genes", "sha256")
    return [{name: getattr(source, name) for name in told} for source in store.sources]


def label_text(value: object) -> str | None:
    """Return a label as text; None where there is none. A whole number is written without a decimal point."""
    if value is None or value is pd.NA or value is pd.NaT or value != value:  # noqa: PLR0124 - NaN is not itself
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if text.strip() else None
