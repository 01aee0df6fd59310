"""What a dataset of a store consists of: looked at when it is first used, so that nothing is found missing later."""

from typing import Any

import zarr
from pydantic import BaseModel, Field

from scnym.base.errors import FormatError, ScnymError
from scnym.base.schema import N_COUNTS, Scale
from scnym.disk.bucket import Location
from scnym.disk.formats.block import READING_FAULTS
from scnym.disk.formats.table_claims import require_table


class _Description(BaseModel):
    """What a dataset says of itself."""

    scale: Scale


class _TableDescription(BaseModel):
    """What a table of annotations says of itself."""

    index: str = Field(alias="_index")
    columns: tuple[str, ...] = Field(alias="column-order")


def require_dataset(root: Any, dataset: str, path: Location) -> zarr.Group:
    """Give a dataset of the store at `path` if its parts are there, are what they should be, and fit together.

    Raises
    ------
    FormatError
        If they are not.
    """
    try:
        group = root[dataset]
        _Description.model_validate(dict(group.attrs))
        for name in ("obs", "var"):
            _require_table(group[name], f"{dataset}/{name}", path)
        pointers, values, indices = (_array(group, f"X/{name}") for name in ("indptr", "data", "indices"))
        n_cells = _array(group, f"obs/{N_COUNTS}").shape[0]
        if pointers.shape[0] != n_cells + 1 or values.shape != indices.shape or values.chunks != indices.chunks:
            raise ValueError("its parts do not fit together")
    except READING_FAULTS as fault:
        if isinstance(fault, ScnymError):
            raise
        raise FormatError(
            f"the description of its parts is damaged ({fault})",
            where=f"{path}/{dataset}",
            way_out="copy the store again, or convert the source again",
        ) from fault
    return group


def _require_table(table: Any, name: str, path: Location) -> None:
    described = _TableDescription.model_validate(dict(table.attrs))
    missing = {described.index, *described.columns} - set(table)
    if missing:
        raise ValueError(f"{name} lacks {min(missing)!r}")
    require_table(table, name, path)


def _array(group: Any, name: str) -> Any:
    array = group[name]
    if not isinstance(array, zarr.Array) or array.ndim != 1:
        raise ValueError(f"{name} is no list")
    return array
