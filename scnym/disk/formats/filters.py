"""Filters that HDF5 compresses with: those that h5py lacks come with hdf5plugin, if it is installed."""

from importlib import import_module
from pathlib import Path

import h5py

from scnym.base.errors import FormatError

PLUGINS = "hdf5plugin"
NAMES = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32029: "HTJ2K",
    32028: "SPERR",
}
"""Registered filters by their numbers (https://github.com/HDFGroup/hdf5_plugins)."""


def require_filters(name: str, dataset: h5py.Dataset, path: Path) -> None:
    """Refuse an array that is compressed by a filter that is not installed.

    Raises
    ------
    FormatError
        Names the filter.
    """
    settings = dataset.id.get_create_plist()
    for number in range(settings.get_nfilters()):
        code, _, _, described = settings.get_filter(number)
        if not _is_available(code):
            known = NAMES.get(code) or described.decode(errors="replace").strip("\0 ") or f"number {code}"
            raise FormatError(
                f"{name} is compressed by the HDF5 filter {known}, which is not installed",
                where=path,
                way_out=f"install it with pip install {PLUGINS}, or write the file with gzip",
            )


def _is_available(code: int) -> bool:
    if h5py.h5z.filter_avail(code):
        return True
    try:
        import_module(PLUGINS)  # registers its filters
    except ImportError:
        return False
    return h5py.h5z.filter_avail(code)
