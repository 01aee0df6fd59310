"""Which format a path is, and the sources that read it."""

from pathlib import Path

import h5py

from scnym.base.documents import parse_json
from scnym.base.errors import FormatError, MissingInputError, ScnymError, SettingsError
from scnym.base.schema import STORE_ENCODING
from scnym.base.settings import ConvertSettings
from scnym.disk.bucket import Location
from scnym.disk.formats.block import READING_FAULTS, ScatteredSource, Source
from scnym.disk.formats.cellranger import CellRangerFile, is_10x_h5, lacking_in
from scnym.disk.formats.claims import require_sound_heaps, unsound_hdf5
from scnym.disk.formats.companions import MATRIX_SUFFIXES, is_10x_folder, is_matrix, lists_in
from scnym.disk.formats.delimited import SUFFIXES as TEXT_SUFFIXES
from scnym.disk.formats.delimited import open_delimited
from scnym.disk.formats.genes import with_named_genes
from scnym.disk.formats.h5ad import open_anndata
from scnym.disk.formats.loom import LoomSource
from scnym.disk.formats.matrix_market import MatrixMarketSource
from scnym.disk.formats.npy import SUFFIX as NPY_SUFFIX
from scnym.disk.formats.npy import NpySource
from scnym.disk.formats.restored import RestoredDataset
from scnym.disk.formats.strangers import kind_by_name, require_anndata_zarr, require_no_stranger_hdf5

AnySource = Source | ScatteredSource
ALEVIN_BINARY = "quants_mat.gz"
HDF5_SUFFIXES = (".h5ad", ".loom", ".h5")
KNOWN = (
    "a .h5ad, .loom, .npy, .csv, .tsv, .csv.gz or .tsv.gz file, 10x output (a matrix folder or .h5), a .mtx with its "
    "lists of genes and cells beside it, or a .zarr"
)


def is_readable(path: Path) -> bool:
    """Whether a path looks like an input, by its name and by what is in a folder.

    An array (``.npy``) may be anything; it is an input only where it is named itself.
    """
    if path.is_dir():
        return is_zarr(path) or is_10x_folder(path)
    return path.name.lower().endswith((*TEXT_SUFFIXES, *HDF5_SUFFIXES, *MATRIX_SUFFIXES))


def hdf5_kind(path: Path) -> str:
    """Return what an HDF5 file is by the groups in it: loom, 10x, AnnData or other; nothing if it cannot be read."""
    try:
        with h5py.File(path) as file:
            keys, is_10x = set(file), is_10x_h5(file)
    except READING_FAULTS:
        return ""  # whoever reads it says what is wrong
    kinds = {"loom": {"matrix", "row_attrs", "col_attrs"} <= keys, "10x": is_10x, "AnnData": {"obs", "var"} <= keys}
    return next((kind for kind, is_it in kinds.items() if is_it), "other")


def is_zarr(path: Location) -> bool:
    """Whether a folder is a Zarr group, of format 2 or 3."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


def is_store(path: Location) -> bool:
    """Whether a path is a folder that a conversion has written."""
    try:
        return parse_json((path / "zarr.json").read_bytes())["attributes"]["encoding-type"] == STORE_ENCODING
    except (OSError, ValueError, KeyError, TypeError):
        return False


def open_source(path: Path, settings: ConvertSettings, dataset: str = "") -> AnySource:
    """Open a raw file, or a dataset of a store, as what it is; its content decides before its name does.

    Of a raw file, features that are no genes are left out, and genes are named; see `with_named_genes`.

    Raises
    ------
    MissingInputError
        If nothing is there.
    FormatError
        If it is none of the formats that can be read, or damaged.
    DataError
        If its cell or gene names make no sense.
    """
    source = _opened(path, settings, dataset)
    return source if dataset else with_named_genes(source)


def _opened(path: Path, settings: ConvertSettings, dataset: str) -> AnySource:
    if not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check the path")
    if path.is_file() and path.name.lower().endswith(TEXT_SUFFIXES) and not h5py.is_hdf5(path):
        _refuse_layer(path, settings)
        _refuse_list(path)
        return open_delimited(path, genes_path=settings.input_genes, orientation=settings.csv_orientation)
    if path.is_file() and path.name.lower().endswith(NPY_SUFFIX):
        _refuse_layer(path, settings)
        return NpySource(path, settings.input_genes)
    if settings.input_genes is not None:
        raise SettingsError(
            "this format names its genes", where=path, way_out="leave out --input_genes", mend={"--input_genes": None}
        )
    if dataset:
        _refuse_layer(path, settings)
        return RestoredDataset(path, dataset)
    if path.is_dir() and is_zarr(path):
        require_anndata_zarr(path)
        return open_anndata(path, settings.layer, max_memory_bytes=settings.max_memory_bytes)
    if is_10x_folder(path) or (path.is_file() and is_matrix(path)):
        _refuse_layer(path, settings)
        return MatrixMarketSource(path)
    if path.is_file() and h5py.is_hdf5(path):
        return _open_hdf5(path, settings.layer, settings.max_memory_bytes)
    if path.suffix.lower() in HDF5_SUFFIXES:
        raise FormatError("the file is damaged: it is not HDF5", where=path, way_out="copy or write it again")
    kind, way_out = kind_by_name(path) or ("", "")
    raise FormatError(
        f"the format is not known{kind and f': it is {kind}'}",
        where=path,
        way_out=f"{way_out and f'{way_out}, or '}give {KNOWN}",
    )


def _refuse_layer(path: Path, settings: ConvertSettings) -> None:
    if settings.layer is not None:
        raise SettingsError(
            "this format has no layers", where=path, way_out="leave out --layer", mend={"--layer": None}
        )


def _refuse_list(path: Path) -> None:
    """Raise if a text file holds the names that belong to a Matrix Market file beside it."""
    if path.name.startswith("quants_mat_") and (path.parent / ALEVIN_BINARY).exists():
        raise FormatError(
            f"it holds names for {ALEVIN_BINARY} beside it, which is in a format of salmon's own",
            where=path,
            way_out="run salmon alevin with --dumpMtx, and give the quants_mat.mtx.gz that it writes",
        )
    matrix = lists_in(path.parent).get(path)
    if matrix is not None:
        given = path.parent if is_10x_folder(path.parent) else matrix
        raise FormatError(
            f"it holds names for {matrix.name} beside it, no counts",
            where=path,
            way_out=f"give {given}",
            mend={str(path): given},
        )


def _open_hdf5(path: Path, layer: str | None, max_memory_bytes: int) -> AnySource:
    try:
        require_sound_heaps(path)
        with h5py.File(path) as file:
            keys = set(file)
            unsound = unsound_hdf5(file, path)
            unsound.require_whole()
            require_no_stranger_hdf5(file, path, unsound)
            if not {"obs", "var"} <= keys:  # of an AnnData, what is not needed is left out
                unsound.require_any()
            is_10x, lacking = is_10x_h5(file), lacking_in(file)
    except READING_FAULTS as fault:
        if isinstance(fault, ScnymError):
            raise
        raise FormatError(f"the file is damaged ({fault})", where=path, way_out="copy or write it again") from fault
    if {"matrix", "row_attrs", "col_attrs"} <= keys:
        return LoomSource(path, layer, max_memory_bytes=max_memory_bytes)
    if is_10x:
        return CellRangerFile(path)
    if {"obs", "var"} <= keys:
        return open_anndata(path, layer, max_memory_bytes=max_memory_bytes, unsound=unsound)
    if {"X", "Y"} <= keys:
        raise FormatError(
            "its matrix X carries no gene names",
            where=path,
            way_out="write it as an h5ad with the gene names, or as CSV with --input_genes",
        )
    if path.suffix.lower() == ".h5ad":
        missing = " and no ".join(key for key in ("obs", "var") if key not in keys)
        raise FormatError(f"an h5ad with no {missing}", where=path, way_out="copy or write it again")
    if lacking is not None:
        raise FormatError(f"a 10x file with no {lacking}", where=path, way_out="copy or write it again")
    raise FormatError(
        f"an HDF5 file, but none of h5ad, loom or 10x: it holds {', '.join(sorted(map(str, keys))) or 'nothing'}",
        where=path,
        way_out="convert it to h5ad first",
    )
