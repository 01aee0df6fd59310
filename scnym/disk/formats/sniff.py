"""Which format a path is, and the `Source` that reads it."""

from pathlib import Path

import h5py

from scnym.base.errors import FormatError, MissingInputError, SettingsError
from scnym.base.settings import ConvertSettings
from scnym.disk.formats.block import Source
from scnym.disk.formats.delimited import SUFFIXES as DELIMITED_SUFFIXES
from scnym.disk.formats.delimited import DelimitedSource
from scnym.disk.formats.h5ad import H5adSource
from scnym.disk.formats.loom import LoomSource


def open_source(path: Path, settings: ConvertSettings) -> Source:
    """Open a raw file as what it is; its content decides before its name does.

    Raises
    ------
    MissingInputError
        If nothing is there.
    FormatError
        If it is none of the formats that can be read, or damaged.
    DataError
        If its cell or gene names make no sense.
    """
    if not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check the path")
    if (path / "zarr.json").is_file():
        raise FormatError("a store already", where=path, way_out="give it to --input_counts as it is")
    if path.is_file() and h5py.is_hdf5(path):
        if settings.input_genes is not None:
            raise SettingsError("this format names its genes", where=path, way_out="leave out --input_genes")
        return _open_hdf5(path, settings.layer)
    if path.is_file() and path.name.lower().endswith(DELIMITED_SUFFIXES):
        if settings.layer is not None:
            raise SettingsError("a text table has no layers", where=path, way_out="leave out --layer")
        return DelimitedSource(path, settings.input_genes)
    if path.suffix.lower() in {".h5ad", ".loom", ".h5"}:
        raise FormatError("the file is damaged: it is not HDF5", where=path, way_out="copy or write it again")
    raise FormatError(
        "the format is not known",
        where=path,
        way_out="give a .h5ad, .loom, .csv, .tsv, .csv.gz or .tsv.gz file",
    )


def _open_hdf5(path: Path, layer: str | None) -> Source:
    try:
        with h5py.File(path) as file:
            keys = set(file)
    except OSError as fault:
        raise FormatError(f"the file is damaged ({fault})", where=path, way_out="copy or write it again") from fault
    if {"matrix", "row_attrs", "col_attrs"} <= keys:
        return LoomSource(path, layer)
    if {"obs", "var"} <= keys:
        return H5adSource(path, layer)
    raise FormatError(
        f"an HDF5 file, but neither h5ad nor loom: it holds {', '.join(sorted(keys)) or 'nothing'}",
        where=path,
        way_out="convert it to h5ad first",
    )
