"""Files and folders of other tools, which hold cells but in no form that is read: what they are, and the way out."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py

from scnym.base.documents import parse_json
from scnym.base.errors import FormatError, examples
from scnym.disk.formats.elements import names_in, text_attribute
from scnym.disk.formats.unsound import Unsound

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
