"""Which format a path has, and the source that reads it; what files of other tools are, and how to convert them."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py

from scnym.base.errors import FormatError, MissingInputError, ScnymError, SettingsError, examples
from scnym.base.schema import STORE_ENCODING
from scnym.base.settings import ConvertSettings
from scnym.base.text import parse_json
from scnym.disk.formats.anndata import RestoredDataset, open_anndata
from scnym.disk.formats.anndata_elements import Unsound, names_in, text_attribute
from scnym.disk.formats.arrays import SUFFIX as NPY_SUFFIX
from scnym.disk.formats.arrays import NpySource
from scnym.disk.formats.cellranger import CellRangerFile, is_10x_h5, lacking_in
from scnym.disk.formats.csv import SUFFIXES as TEXT_SUFFIXES
from scnym.disk.formats.csv import open_delimited
from scnym.disk.formats.genes import with_named_genes
from scnym.disk.formats.hdf5 import require_sound_heaps, unsound_hdf5
from scnym.disk.formats.loom import LoomSource
from scnym.disk.formats.matrix_market import MatrixMarketSource
from scnym.disk.formats.matrix_market_files import MATRIX_SUFFIXES, is_10x_folder, is_matrix, lists_in
from scnym.disk.formats.source import READING_FAULTS, ScatteredSource, Source
from scnym.disk.location import Location

IN_R = "write it as an h5ad, in R with anndataR::write_h5ad or zellkonverter::writeH5AD"
UNPACK = "unpack it, and give what is in it"
AS_CSV = "save it as CSV, a line per cell"
NOT_OPENED = "open it where it comes from, and write it as an h5ad, in Python with adata.write_h5ad"
BY_SUFFIX = {
    **dict.fromkeys((".rds", ".rdata", ".rda", ".qs", ".qs2", ".robj"), ("an R object", IN_R)),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), ("a spreadsheet", AS_CSV)),
    **dict.fromkeys((".parquet", ".feather", ".arrow"), ("a table of Arrow", AS_CSV)),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".tar.gz", ".tar.bz2", ".tar.xz"), ("an archive", UNPACK)),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), ("a pickle, which runs code when it is opened", NOT_OPENED)),
    **dict.fromkeys((".fastq.gz", ".fastq", ".bam", ".sam", ".cram"), ("reads", "count them first")),
    ".mat": ("a MATLAB file", "write its counts as CSV, a line per cell, or as Matrix Market"),
}
"""What files of a name are that cannot be read, and the way out."""
SPATIAL = {"images", "labels", "points", "shapes", "tables", "table"}
WRITE_ANNDATA = "write it as an AnnData, in Python with adata.write_h5ad"
FROM_BPCELLS = "write it as 10x HDF5, in R with BPCells::write_matrix_10x_hdf5"
SOMA_MARKS = ("__tiledb_group.tdb", "__group", "__schema", "__array_schema.tdb")
BPCELLS_MARKS = {"version", "storage_order", "row_names", "col_names"}


def kind_by_name(path: Path) -> tuple[str, str] | None:
    """Return what a file of this name is, and the way out; None where its name says nothing."""
    name = path.name.lower()
    return next((found for suffix, found in BY_SUFFIX.items() if name.endswith(suffix)), None)


def require_no_stranger_folder(path: Path) -> None:
    """Refuse a folder that holds cells in a form that is not read.

    Raises
    ------
    FormatError
        Names the tool.
    """
    if any((path / mark).exists() for mark in SOMA_MARKS):
        raise FormatError(
            "a TileDB or SOMA array, no AnnData",
            where=path,
            way_out="write what you need of it as an h5ad, in Python with tiledbsoma.io.to_h5ad",
        )
    if all((path / mark).is_file() for mark in BPCELLS_MARKS):
        raise FormatError(
            "a matrix of BPCells, no AnnData",
            where=path,
            way_out=FROM_BPCELLS,
        )


def require_no_stranger_hdf5(file: h5py.File, path: Path, unsound: Unsound) -> None:
    """Refuse an HDF5 file of another tool.

    Parameters
    ----------
    file, path
        The file, opened, and where it is.
    unsound
        What in it must not be touched.

    Raises
    ------
    FormatError
        Names the tool.
    """
    members: dict[str, Any] = {key: file.get(key) for key in map(str, file) if unsound.at(key) is None}
    if text_attribute(file, "encoding-type") == "MuData" or {"mod", "obs"} <= set(members):
        raise _mudata(path, names_in(members["mod"]) if isinstance(members.get("mod"), h5py.Group) else [])
    if {"obs", "var"} <= set(file):
        return
    found = _kind_by_keys(set(members), path) or _kind_by_attributes([file, *filter(None, members.values())], path)
    if found is not None:
        raise FormatError(f"{found[0]}, no AnnData", where=path, way_out=found[1])


def _kind_by_keys(keys: set[str], path: Path) -> tuple[str, str] | None:
    if {"assays", "meta.data"} <= keys or {"assays", "cell.names"} <= keys:
        return "an h5Seurat", f"convert it, in R with SeuratDisk::Convert({path.name!r}, dest = 'h5ad')"
    if {"barcode_idx", "barcodes"} <= keys:
        return "the molecule_info.h5 of Cell Ranger", "give filtered_feature_bc_matrix.h5 of the same sample"
    if {"ArrowVersion", "Class"} & keys:
        return "an Arrow file of ArchR", IN_R
    return ("the assays of an R SummarizedExperiment", IN_R) if "assay001" in keys else None


def _kind_by_attributes(members: list[Any], path: Path) -> tuple[str, str] | None:
    names = {str(name) for one in members for name in one.attrs}
    if "pandas_type" in names:
        return "a table of pandas", f"write it as CSV, in Python with pandas.read_hdf({path.name!r}).to_csv"
    if any(text_attribute(one, "version").startswith(("packed-", "unpacked-")) for one in members):
        return "a matrix of BPCells", FROM_BPCELLS
    return BY_SUFFIX[".mat"] if "MATLAB_class" in names else None


def require_anndata_zarr(path: Path) -> None:
    """Refuse a Zarr folder that is no AnnData, by what it says of itself and what is in it.

    Raises
    ------
    FormatError
        Names what it is.
    """
    attributes, members = _attributes(path), _members(path)
    if attributes.get("encoding-type") == "MuData" or {"mod", "obs"} <= members:
        modalities = sorted(_members(path / "mod"))
        raise _mudata(path, modalities)
    if {"obs", "var"} <= members:
        return
    if "spatialdata_attrs" in attributes or len(SPATIAL & members) > 1:
        raise _spatial(path)
    if "multiscales" in attributes or "ome" in attributes:
        raise FormatError("an image (OME-Zarr), no AnnData", where=path, way_out="give the counts of its cells")
    if members or attributes:
        missing = " and no ".join(key for key in ("obs", "var") if key not in members)
        what = f"it has no {missing}" if "X" in members or "encoding-type" in attributes else _held(members)
        raise FormatError(f"a Zarr group, but no AnnData: {what}", where=path, way_out=WRITE_ANNDATA)


def _held(members: Collection[str]) -> str:
    return f"it holds {examples(sorted(members)) if members else 'nothing'}"


def _mudata(path: Path, modalities: list[str]) -> FormatError:
    one = "rna" if "rna" in modalities or not modalities else modalities[0]
    if path.is_dir() and modalities:
        inside = path / "mod" / one
        way_out, mend = f"give one of its modalities, such as {inside}", {str(path): str(inside)}
    else:
        read = f"mudata.read({path.name!r})[{one!r}].write_h5ad({one + '.h5ad'!r})"
        way_out, mend = f"write a modality as an h5ad, in Python with {read}", None
    held = f": it holds the modalities {examples(modalities)}" if modalities else ""
    return FormatError(f"a MuData, no AnnData{held}", where=path, way_out=way_out, mend=mend)


def _spatial(path: Path) -> FormatError:
    tables = [path / "tables" / name for name in sorted(_members(path / "tables"))]
    tables += [path / "table" / name for name in sorted(_members(path / "table") - {"obs", "var", "X"})]
    return FormatError(
        "a SpatialData, no AnnData",
        where=path,
        way_out=f"give the table in it, such as {tables[0]}" if tables else "it holds no table of counts",
        mend={str(path): str(tables[0])} if len(tables) == 1 else None,
    )


def _attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr group; none if they cannot be read, which whoever opens it says."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        try:
            document = parse_json((path / name).read_bytes())
            found = document.get(key, {}) if key else document
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _members(path: Path) -> set[str]:
    if not path.is_dir():
        return set()
    described = ("zarr.json", ".zarray", ".zgroup")
    return {one.name for one in path.iterdir() if any((one / name).is_file() for name in described)}


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
