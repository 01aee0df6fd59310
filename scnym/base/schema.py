"""The contract of a store on disk: names, contents, dtypes and chunks.

A store is a Zarr format 3 group whose children ``dataset_0 … dataset_n`` are AnnData groups. `docs/decisions.md`
gives the measurements behind dtypes and chunks. Names of columns that no store can hold are replaced and kept.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

MAX_NAME_BYTES = 200
"""Longest name of a column, which becomes a folder; file systems take 255 bytes."""
RESERVED = re.compile(r"(_index|\.{0,2}|zarr\.json|__.*)", re.DOTALL)
"""Names that AnnData or Zarr use themselves, or that are none."""
UNSAFE = re.compile(r"[/\\\x00-\x1f]")


def safe_names(names: Iterable[object], max_bytes: int | None = MAX_NAME_BYTES) -> list[str]:
    """Return a unique name for every column under which AnnData can store it: its own wherever that is possible.

    A slash would make a folder of it, so it becomes an underscore, as do control characters; a name that is reserved,
    empty or taken gets an underscore behind it or `column` in front; one that is too long is cut.

    Parameters
    ----------
    names
        What the columns are called.
    max_bytes
        Longest name, in bytes of UTF-8; None for no limit.
    """
    texts = [str(name) for name in names]
    wanted = [_safe(text, max_bytes) for text in texts]
    kept = {text for text, safe in zip(texts, wanted, strict=True) if text == safe}
    given: list[str] = []
    taken: set[str] = set()
    for text, safe in zip(texts, wanted, strict=True):
        free = safe if text == safe and safe not in taken else free_name(safe, kept | taken)
        given.append(free)
        taken.add(free)
    return given


def original_names(columns: Sequence[str], renamed: dict[str, str]) -> list[str]:
    """Return columns the names they had before `storable`, but for those that would stand twice."""
    names: list[str] = []
    kept = {name for name in columns if name not in renamed}
    for name in columns:
        old = renamed.get(name, name)
        names.append(name if old != name and old in kept | set(names) else old)
    return names


def _safe(name: str, max_bytes: int | None) -> str:
    name = UNSAFE.sub("_", name)
    if RESERVED.fullmatch(name):
        name = f"{name}_" if name.strip("_") and not name.startswith("_") else f"column{name}"
    return name if max_bytes is None else name.encode()[:max_bytes].decode(errors="ignore")


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with underscores behind it until it is not among those taken."""
    taken = set(taken)
    if name in taken and not name.strip("_"):
        name = f"column{name}"  # two underscores in front are reserved
    while name in taken:
        name += "_"
    return name


STORE_ENCODING = "scnym-store"
FORMAT_VERSION = 2
"""The newest format that is read."""
HASHES_FILE = "hashes.json"
STORE_SUFFIX = ".zarr"

N_COUNTS = "n_counts"
N_GENES = "n_genes"
SOURCE = "source"
SOURCE_ROW = "source_row"
"""In a store whose cells were regrouped: the row that each had in its source."""
OWN_OBS_COLUMNS = (N_COUNTS, N_GENES, SOURCE, SOURCE_ROW)
RENAMED, RENAMED_VAR = "renamed_obs_columns", "renamed_var_columns"
"""Attributes of a dataset: new and old names of columns that stepped aside, or could not be stored under their own."""

Scale = Literal["counts", "ln_cp10k", "ln_cpm", "ln_normalised", "normalised"]
"""What a stored value is: a raw count, ln(counts per 10,000 + 1), ln(counts per million + 1), ln(x + 1) of counts that
were normalised to whatever total, or such counts themselves. In all but counts, `N_COUNTS` is the cell's total in the
units of the values, once logarithms are undone."""

SCALES_SINCE_2: frozenset[Scale] = frozenset({"ln_normalised", "normalised"})
"""Scales that readers of format 1 do not know."""
LOGARITHMS: frozenset[Scale] = frozenset({"ln_cp10k", "ln_cpm", "ln_normalised"})

CellNames = Literal["id", "sample:id"]
"""How cells are named in a store: by their id, or with the sample's name before it where samples share ids."""

LIBRARY_OF_SCALE: dict[Scale, float] = {"ln_cp10k": 1e4, "ln_cpm": 1e6}
"""Library size, in the units of expm1(value), of a cell stored on a logarithmic scale."""

CHUNK_ROWS = 16
MIN_CHUNK_ELEMENTS = 32_768
MAX_SHARD_BYTES = 512 * 2**20


def format_version(scales: Iterable[Scale]) -> int:
    """Return the oldest format that can hold datasets on some scales, which older releases can read as well."""
    return FORMAT_VERSION if SCALES_SINCE_2.intersection(scales) else 1


def dataset_name(number: int) -> str:
    """Name of the store's `number`-th dataset."""
    return f"dataset_{number}"


def value_dtype(max_value: float, *, integral: bool) -> np.dtype:
    """Smallest dtype that holds every whole number exactly, u1, u2 or u4; f4 for other values, to 7 digits."""
    if not integral or max_value > np.iinfo(np.uint32).max:
        return np.dtype("<f4")
    return next(np.dtype(d).newbyteorder("<") for d in (np.uint8, np.uint16, np.uint32) if max_value <= np.iinfo(d).max)


def index_dtype(n_genes: int) -> np.dtype:
    """Smallest unsigned dtype for gene positions below `n_genes`: u2 below 65,536, else u4."""
    return np.dtype("<u2") if n_genes < 2**16 else np.dtype("<u4")


def chunk_elements(elements_per_row: float) -> int:
    """Return the stored values per chunk: about 16 rows' worth, a power of two, at least 32,768."""
    wanted = max(MIN_CHUNK_ELEMENTS, int(CHUNK_ROWS * elements_per_row))
    return 1 << (wanted - 1).bit_length()


def shard_elements(n_elements: int, chunk: int, max_shard_bytes: int, itemsize: int) -> int:
    """Return the stored values per shard: whole chunks, no more than the array holds, below `max_shard_bytes`."""
    limit = max(1, min(max_shard_bytes, MAX_SHARD_BYTES) // (chunk * itemsize))
    needed = max(1, -(-n_elements // chunk))
    return chunk * min(limit, needed)
