"""AnnData of every version and by every writer: read right, or without the part that cannot be read, which is said."""

import importlib.util
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem
from fuzz.seeds import write_10x_h5
from helpers import dense, telling_adata, telling_counts, write_h5ad, write_loom
from scipy import sparse
from test_groups import Saying
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

import scnym
from scnym import ConvertSettings, convert
from scnym.base.errors import DataError, FormatError
from scnym.disk.formats.detect import open_source

CELLS = [f"cell {k}" for k in range(40)]
GENES = [f"gene {k}" for k in range(12)]
TEXTS = h5py.string_dtype()


def converted(path: Path, **settings: Any) -> tuple[Any, str]:
    """Convert a file, check that AnnData opens the store and the export; give the cells, and what was said."""
    progress: Any = Saying()
    target = path.with_name("out.zarr")
    shutil.rmtree(target, ignore_errors=True)
    convert([path], target, ConvertSettings(**settings), progress=progress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structured arrays, which Zarr has no final specification for
        found: Any = anndata.read_zarr(target / "dataset_0")
        back: Any = anndata.read_h5ad(scnym.export(target, path.with_name("out.h5ad"), overwrite=True))
    assert list(back.obs_names) == list(found.obs_names)
    assert set(back.obsm) == set(found.obsm)
    assert set(back.uns) == set(found.uns)
    return found, "; ".join(progress.said)


def changed(path: Path, change: Callable[[Any], object], adata: anndata.AnnData | None = None) -> Path:
    """Write an h5ad, and change something in it."""
    write_h5ad(path, adata)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replaced(group: Any, name: str, values: Any, **options: Any) -> Any:
    """Put other values in the place of an element, which keeps its attributes."""
    attributes = dict(group[name].attrs) if name in group else {}
    if name in group:
        del group[name]
    group.create_dataset(name, data=values, **options).attrs.update(attributes)
    return group[name]


def add_column(file: Any, name: str = "odd") -> Any:
    """Name another column of obs, which is then written; give the table."""
    file["obs"].attrs["column-order"] = np.array(["cell_type", name], dtype=TEXTS)
    return file["obs"]


def is_told(adata: anndata.AnnData) -> bool:
    """Whether cells, genes and counts are those that were written."""
    return (
        list(adata.obs_names) == CELLS
        and list(adata.var_names) == GENES
        and bool((dense(adata) == telling_counts()).all())
    )


# As AnnData 0.13 writes with pandas 3.


def nullable_adata() -> anndata.AnnData:
    adata: Any = telling_adata()
    for frame, names in ((adata.obs, CELLS), (adata.var, GENES)):
        frame.index = pd.Index(pd.array(names, dtype="string"))
    note = pd.array([None if k % 5 == 0 else f"note {k}" for k in range(40)], dtype="string")
    count = pd.array([None if k % 3 == 0 else k for k in range(40)], dtype="Int64")
    is_ok = pd.array([None if k % 4 == 0 else k % 2 == 1 for k in range(40)], dtype="boolean")
    adata.obs = adata.obs.assign(note=note, count=count, is_ok=is_ok)
    adata.obsm["frame"] = pd.DataFrame({"note": note}, index=adata.obs_names)
    adata.raw = adata
    return adata


def write_nullable(path: Path) -> Path:
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata, is_h5ad = nullable_adata(), path.suffix == ".h5ad"
        (adata.write_h5ad if is_h5ad else adata.write_zarr)(path, convert_strings_to_categoricals=False)
    return path


@pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:Consolidated metadata", "ignore:The codec")
@pytest.mark.parametrize(("name", "zarr_format"), [("a.h5ad", 3), ("a.zarr", 2), ("a.zarr", 3)])
def test_names_and_columns_with_a_mask_are_read_and_missing_values_stay_missing(
    name: str, zarr_format: int, tmp_path: Path
):
    with anndata.settings.override(zarr_write_format=zarr_format, auto_shard_zarr_v3=False):
        path = write_nullable(tmp_path / name)
    for settings in ({}, {"layer": "raw"}):
        found, said = converted(path, **settings)
        assert is_told(found)
        assert said == f"{name}: left out: {'X' if settings else 'raw'}"
        wanted = nullable_adata().obs
        for column in wanted:
            assert found.obs[column].isna().tolist() == wanted[column].isna().tolist()
            assert found.obs[column].dropna().tolist() == wanted[column].dropna().tolist()
        assert list(found.obsm["frame"]["note"].dropna()) == list(wanted["note"].dropna())


@pytest.mark.parametrize(("table", "noun"), [("obs", "cell"), ("var", "gene")])
def test_a_name_that_is_missing_is_refused_as_that(table: str, noun: str, tmp_path: Path):
    path = write_nullable(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        mask: Any = file[f"{table}/_index/mask"]
        mask[[3, 5]] = True
    with pytest.raises(DataError, match=f"2 {noun}s have no name, the first of them {noun} 3") as refused:
        convert([path], tmp_path / "out.zarr")
    assert f"adata.{table}_names" in refused.value.way_out


# As AnnData wrote before version 0.7.


def write_old(path: Path, *, x: np.ndarray | None = None, categories: str = "uns") -> Path:
    """Write an h5ad as AnnData 0.6 did: tables of records, categories apart, raw in two pieces."""

    def put_sparse(place: Any, name: str, matrix: Any) -> None:
        group = place.create_group(name)
        group.attrs.update({"h5sparse_format": matrix.format, "h5sparse_shape": np.array(matrix.shape)})
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)

    genes = np.array([(name, k % 2) for k, name in enumerate(GENES)], dtype=[("index", TEXTS), ("kind", "i1")])
    cells = [(name, k % 3, k) for k, name in enumerate(CELLS)]
    with h5py.File(path, "w") as file:
        put_sparse(file, "raw.X", sparse.csr_matrix(telling_counts().astype("f4")))
        if x is None:
            put_sparse(file, "X", sparse.csr_matrix(telling_counts().astype("f4")))
        else:
            file["X"] = x
        file["obs"] = np.array(cells, dtype=[("index", TEXTS), ("cell_type", "i1"), ("n", "i8")])
        file["var"], file["raw.var"] = genes, genes
        place = file.create_group("raw.cat") if categories == "raw.cat" else file.require_group("uns")
        place["kind_categories"] = np.array([b"even", b"odd"])
        file["uns/cell_type_categories"] = np.array([f"type {k}" for k in range(3)], dtype=TEXTS)
        file["uns/palette_categories"] = np.array(["red"], dtype=TEXTS)
        put_sparse(file, "obsm/near", sparse.csc_matrix(np.diag(np.arange(40.0))[:, :3]))
        put_sparse(file, "uns/neighbors/distances", sparse.csr_matrix(np.diag(np.arange(40.0))))
        file["uns/neighbors/params/n"] = [5]
    return path


def test_tables_graphs_and_matrices_of_old_versions_are_read_as_what_they_are(tmp_path: Path):
    found, said = converted(write_old(tmp_path / "a.h5ad"))
    assert is_told(found)
    assert said == "a.h5ad: left out: raw"
    assert list(found.obs["cell_type"]) == [f"type {k % 3}" for k in range(40)]
    assert list(found.var["kind"]) == ["even", "odd"] * 6
    assert set(found.uns) == {"neighbors", "palette_categories"}
    assert found.obsm["near"].toarray().tolist() == np.diag(np.arange(40.0))[:, :3].tolist()
    assert found.obsp["distances"].diagonal().tolist() == list(range(40))


@pytest.mark.parametrize("categories", ["uns", "raw.cat"])
def test_raw_counts_of_old_versions_are_read_and_offered_where_x_is_scaled(categories: str, tmp_path: Path):
    path = write_old(tmp_path / "a.h5ad", x=telling_counts() - 5.5, categories=categories)
    with pytest.raises(DataError, match="is negative") as refused:
        convert([path], tmp_path / "out.zarr")
    assert refused.value.mend == {"--layer": "raw"}
    found, said = converted(path, layer="raw")
    assert is_told(found)
    assert said == "a.h5ad: left out: X"
    assert list(found.var["kind"]) == ["even", "odd"] * 6


def test_a_graph_of_cells_is_left_out_where_the_cells_get_another_order(tmp_path: Path):
    found, said = converted(write_old(tmp_path / "a.h5ad"), cluster_by="cell_type")
    assert "left out, since it cannot be read or stored: uns neighbors/distances" in said
    assert not found.obsp
    rows = found.obs["source_row"].to_numpy()
    assert found.obsm["near"].toarray().tolist() == np.diag(np.arange(40.0))[rows, :3].tolist()


def test_the_way_out_of_scaled_counts_in_zarr_is_raw(tmp_path: Path):
    adata = telling_adata()
    adata.raw = adata
    adata.X = -dense(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AnnData says which format it will write one day
        adata.write_zarr(tmp_path / "a.zarr")
    with pytest.raises(DataError, match="is negative") as refused:
        convert([tmp_path / "a.zarr"], tmp_path / "out.zarr")
    assert refused.value.mend == {"--layer": "raw"}


# As SeuratDisk, MuDataSeurat and AnnData 0.7 write.


def kept_apart(reference: str) -> Callable[[Any], None]:
    """Keep the names of a factor apart from its codes; R's missing integer stands for a missing name."""

    def change(file: Any) -> None:
        codes = np.arange(40, dtype="i4") % 3
        codes[7] = np.iinfo("i4").min
        obs = file["obs"]
        del obs["cell_type"]
        column = obs.create_dataset("cell_type", data=codes)
        names = obs.create_dataset("__categories/cell_type", data=np.array(["B", "NK", "T"], dtype=TEXTS))
        if reference:
            column.attrs["categories"] = names.ref if reference == "reference" else names.name
        obs.attrs["encoding-version"] = "0.1.0"
        replaced(obs, "_index", np.array(CELLS, dtype=TEXTS)).attrs.clear()

    return change


@pytest.mark.parametrize("reference", ["", "reference", "path"])
def test_codes_whose_names_stand_apart_are_read_as_the_names(reference: str, tmp_path: Path):
    found, _ = converted(changed(tmp_path / "a.h5ad", kept_apart(reference)))
    assert is_told(found)
    wanted = ["B", "NK", "T"] * 14
    assert found.obs["cell_type"].isna().tolist() == [k == 7 for k in range(40)]
    assert found.obs["cell_type"].dropna().tolist() == wanted[:7] + wanted[8:40]


def test_codes_that_stand_for_no_name_leave_the_column_out_and_say_so(tmp_path: Path):
    def change(file: Any) -> None:
        kept_apart("")(file)
        file["obs/cell_type"][3] = 3

    found, said = converted(changed(tmp_path / "a.h5ad", change))
    assert "cell_type" not in found.obs
    assert said == "a.h5ad: left out: obs cell_type (it holds codes that stand for no category)"


def without_encoding(file: Any) -> None:
    for key in ("var", "obs"):
        for name in ("encoding-type", "encoding-version", "column-order"):
            del file[key].attrs[name]
    file["var"]["features"] = np.array(GENES, dtype=TEXTS)


def test_a_table_that_names_its_rows_and_nothing_else_is_read(tmp_path: Path):
    found, said = converted(changed(tmp_path / "a.h5ad", without_encoding))
    assert is_told(found)
    assert list(found.var["features"]) == GENES
    assert list(found.obs["cell_type"]) == [f"type {k % 3}" for k in range(40)]
    assert said == ""


def test_a_table_that_names_no_rows_is_refused_as_that(tmp_path: Path):
    path = changed(tmp_path / "a.h5ad", lambda file: file["var"].attrs.update(_index="symbol"))
    with pytest.raises(FormatError, match="var names no genes: there is no 'symbol' in it"):
        convert([path], tmp_path / "out.zarr")


@pytest.mark.parametrize("by_gene", [False, True])
def test_a_sparse_matrix_that_does_not_say_how_it_lies_is_read_by_its_row_pointers(by_gene: bool, tmp_path: Path):
    def change(file: Any) -> None:
        for name in ("encoding-type", "encoding-version", "shape"):
            del file["X"].attrs[name]

    adata = telling_adata()
    adata.X = sparse.csc_matrix(telling_counts()) if by_gene else adata.X
    found, _ = converted(changed(tmp_path / "a.h5ad", change, adata))
    assert is_told(found)


# As HDF5.jl, rhdf5, hdf5r and Matlab write.


def fixed_length(as_lists: bool) -> Callable[[Any], None]:
    """Make all texts those of fixed length, attributes that are one text lists of one as well, if asked for."""

    def change(file: Any) -> None:
        elements: list[Any] = [file]
        file.visititems(lambda _, element: elements.append(element))
        for element in elements:
            for name, value in list(element.attrs.items()):
                texts = np.ravel(np.asarray(value, dtype=object)).tolist()
                if all(isinstance(text, str) for text in texts):
                    fixed = np.array([text.encode() for text in texts], dtype="S") if texts else np.zeros(0, "S1")
                    is_one = isinstance(value, str) and not as_lists
                    element.attrs[name] = fixed[0] if is_one else fixed
        for key in ("obs/_index", "var/_index", "obs/cell_type/categories"):
            place, _, name = key.rpartition("/")
            replaced(file[place], name, np.array([text.encode() for text in file[key].asstr()[()]]))
        replaced(file["X"], "indptr", file["X/indptr"][()].astype("f8"))
        file["X"].attrs["shape"] = np.array([40.0, 12.0])

    return change


@pytest.mark.parametrize("as_lists", [False, True])
def test_texts_of_fixed_length_are_read_wherever_they_stand(as_lists: bool, tmp_path: Path):
    adata: Any = telling_adata()
    adata.obsm["near"] = sparse.csr_matrix(np.diag(np.arange(40.0)))
    adata.uns["nested"] = {"colours": np.array(["red", "blue"])}
    found, said = converted(changed(tmp_path / "a.h5ad", fixed_length(as_lists), adata))
    assert is_told(found)
    assert said == ""
    assert list(found.obs["cell_type"]) == [f"type {k % 3}" for k in range(40)]
    assert found.obsm["near"].diagonal().tolist() == list(range(40))
    assert list(found.uns["nested"]["colours"]) == ["red", "blue"]


def test_texts_that_are_said_to_be_ascii_and_are_utf8_are_read(tmp_path: Path):
    def change(file: Any) -> None:
        names = [f"β {k}".encode() for k in range(3)]
        replaced(file["obs/cell_type"], "categories", np.array(names, dtype=h5py.string_dtype("ascii")))

    found, _ = converted(changed(tmp_path / "a.h5ad", change))
    assert list(found.obs["cell_type"][:4]) == ["β 0", "β 1", "β 2", "β 0"]


def enum(names: dict[str, int], base: str = "i1") -> np.dtype:
    return h5py.enum_dtype(names, basetype=base)


def test_enums_are_read_as_what_they_name(tmp_path: Path):
    logical = {"FALSE": 0, "TRUE": 1, "NA": 2}
    factor = {"T cell": 7, "B cell": 3}
    unnamed = np.where(np.arange(40) == 4, 9, 3)

    def change(file: Any) -> None:
        obs = add_column(file)
        obs.attrs["column-order"] = np.array(["logical", "plain", "factor", "bits", "column"], dtype=TEXTS)
        obs.create_dataset("logical", data=np.arange(40) % 3, dtype=enum(logical))
        obs.create_dataset("plain", data=np.arange(40) % 2, dtype=enum({"FALSE": 0, "TRUE": 1}, "u4"))
        obs.create_dataset("factor", data=np.where(np.arange(40) % 2, 7, unnamed), dtype=enum(factor, "u1"))
        obs["column"] = np.arange(40)[:, None]
        bits = h5py.h5d.create(obs.id, b"bits", h5py.h5t.STD_B8LE, h5py.h5s.create_simple((40,)))
        bits.write(h5py.h5s.ALL, h5py.h5s.ALL, (np.arange(40) % 2).astype("u1"), mtype=h5py.h5t.STD_B8LE)

    found, said = converted(changed(tmp_path / "a.h5ad", change))
    missing = found.obs["logical"].isna()
    assert missing.tolist() == [k % 3 == 2 for k in range(40)]
    assert found.obs["logical"][~missing].tolist() == [k % 3 == 1 for k in range(40) if k % 3 != 2]
    assert found.obs["plain"].tolist() == found.obs["bits"].tolist() == [k % 2 == 1 for k in range(40)]
    assert found.obs["column"].tolist() == list(range(40))
    assert found.obs["factor"].isna().tolist() == [k == 4 for k in range(40)]
    assert found.obs["factor"].dropna().tolist() == ["T cell" if k % 2 else "B cell" for k in range(40) if k != 4]
    assert said == "a.h5ad: 1 values of obs factor that its enum does not name are missing"


# What is not needed.


def _external(file: Any) -> None:
    for key in ("uns/x", "obsm/x", "obs/x", "layers/x"):
        file[key] = h5py.ExternalLink("/etc/hostname", "/")


def _external_kinds(file: Any) -> None:
    for key in ("uns", "raw", "layers", "obs/__categories"):
        if key in file:
            del file[key]
        file[key] = h5py.ExternalLink("/etc/hostname", "/")


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file["uns"].create_virtual_dataset("x", layout)


def _dangling(file: Any) -> None:
    file["uns/x"], file["obsm/x"] = h5py.SoftLink("/nowhere"), h5py.SoftLink("/nowhere")


def _huge(file: Any) -> None:
    file["uns"].create_dataset("x", (10**15,), "f8", chunks=(1024,))


def _of_the_future(file: Any) -> None:
    for key in ("uns", "obsm"):
        file[key].create_dataset("x", data=np.ones((40, 2))).attrs.update(
            {"encoding-type": "new", "encoding-version": "9"}
        )


def _short(file: Any) -> None:
    write_elem(file["obsm"], "x", np.ones((7, 2)))
    write_elem(file["varm"], "x", sparse.csr_matrix(np.ones((7, 2))))


def _dictionary(file: Any) -> None:
    write_elem(file["obsm"], "x", {"a": np.ones(40)})


def _broken_chunk(file: Any) -> None:
    for key in ("uns", "obsm"):
        values = file[key].create_dataset("x", (40, 2), "f8", chunks=(40, 2), compression="gzip")
        values.id.write_direct_chunk((0, 0), b"nothing that unpacks" * 20)


def _broken_matrix(file: Any) -> None:
    write_elem(file["obsm"], "x", sparse.csr_matrix(np.eye(40)))
    file["obsm/x/indices"][0] = 10**6


def _references(file: Any) -> None:
    file["uns"].create_dataset("x", data=np.array([file["X"].ref], dtype=h5py.ref_dtype))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (_external, ("uns x", "obsm x")),
        (_external_kinds, ("uns (", "raw", "layers")),
        (_virtual, ("uns x",)),
        (_dangling, ("uns x", "obsm x")),
        (_huge, ("uns x",)),
        (_of_the_future, ("uns x", "obsm x")),
        (_short, ("obsm x", "varm x")),
        (_dictionary, ("obsm x",)),
        (_broken_chunk, ("uns x", "obsm x")),
        (_broken_matrix, ("obsm x",)),
        (_references, ("uns x",)),
    ],
)
def test_a_part_that_is_not_needed_and_cannot_be_read_is_left_out_and_said(
    change: Callable[[Any], None], names: tuple[str, ...], tmp_path: Path
):
    found, said = converted(changed(tmp_path / "a.h5ad", change))
    assert is_told(found)
    assert "x" not in {*found.uns, *found.obsm, *found.varm}
    for name in names:
        assert name in said


@pytest.mark.parametrize("key", ["X/data", "obs/_index", "var"])
def test_a_part_that_is_needed_and_lies_in_another_file_is_refused(key: str, tmp_path: Path):
    def change(file: Any) -> None:
        del file[key]
        file[key] = h5py.ExternalLink("other.h5", "/")

    with pytest.raises(FormatError, match=f"{key} is a link to another file"):
        open_source(changed(tmp_path / "a.h5ad", change), ConvertSettings())


def _as_lists(obs: Any) -> None:
    obs.create_dataset("odd", data=[np.arange(k % 3) for k in range(40)], dtype=h5py.vlen_dtype("i4"))


def _of_another_length(obs: Any) -> None:
    obs["odd"] = np.arange(39)


def _not_there(obs: Any) -> None:
    del obs


def _latin(obs: Any) -> None:
    obs["odd"] = np.array([b"Zell\xe9"] * 40)


@pytest.mark.parametrize("write", [_as_lists, _of_another_length, _not_there, _latin])
def test_a_column_that_cannot_be_read_is_left_out_and_said(write: Callable[[Any], None], tmp_path: Path):
    found, said = converted(changed(tmp_path / "a.h5ad", lambda file: write(add_column(file))))
    assert is_told(found)
    assert list(found.obs["cell_type"]) == [f"type {k % 3}" for k in range(40)]
    assert "odd" not in found.obs
    assert said.startswith("a.h5ad: left out: obs odd (")


@pytest.fixture
def zarred(tmp_path: Path) -> Path:
    """Write an AnnData in Zarr."""
    adata: Any = telling_adata()
    adata.obs["age"], adata.obsm["near"], adata.uns["table"] = np.arange(40), np.ones((40, 2)), np.arange(3)
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        warnings.simplefilter("ignore")  # of Zarr, that consolidated metadata is not in the specification
        adata.write_zarr(tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


@pytest.mark.parametrize("key", ["uns/table", "obsm/near", "obs/age"])
@pytest.mark.parametrize(
    "change", [{"data_type": {"name": "new"}}, {"codecs": [{"name": "new"}]}], ids=["type", "codec"]
)
def test_an_array_of_zarr_that_is_not_known_is_left_out_and_spoils_no_other(
    key: str, change: dict[str, Any], zarred: Path
):
    described = json.loads((zarred / "zarr.json").read_text())
    described["consolidated_metadata"]["metadata"][key] |= change
    (zarred / "zarr.json").write_text(json.dumps(described))
    own = json.loads((zarred / key / "zarr.json").read_text())
    (zarred / key / "zarr.json").write_text(json.dumps(own | change))
    found, said = converted(zarred)
    assert is_told(found)
    assert key.replace("/", " ") in said
    assert ("age" in found.obs, "near" in found.obsm, "table" in found.uns) == tuple(
        key != other for other in ("obs/age", "obsm/near", "uns/table")
    )


def test_an_array_of_zarr_that_is_needed_and_not_known_is_refused_by_its_name(zarred: Path):
    described = json.loads((zarred / "X/data/zarr.json").read_text())
    (zarred / "X/data/zarr.json").write_text(json.dumps(described | {"codecs": [{"name": "new"}]}))
    plain = {"zarr_format": 3, "node_type": "group", "attributes": {"encoding-type": "anndata"}}
    (zarred / "zarr.json").write_text(json.dumps(plain))
    with pytest.raises(FormatError, match=r"X/data cannot be read .*new"):
        convert([zarred], zarred.with_name("out.zarr"))


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("has_checksum", [True, False])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_shards_are_read_wherever_their_index_stands(location: str, has_checksum: bool, endian: str, zarred: Path):
    group: Any = zarr.open_group(zarred, mode="r+", use_consolidated=False)
    order: Any = [BytesCodec(endian=endian)]  # type: ignore[arg-type]
    for key in ("X/data", "X/indices", "obs/age"):
        values = group[key][:]
        attributes = dict(group[key].attrs)
        del group[key]
        codec = ShardingCodec(
            chunk_shape=(7,),
            index_codecs=[*order, Crc32cCodec()] if has_checksum else order,
            index_location=location,  # type: ignore[arg-type]
        )
        array = group.create_array(
            key,
            shape=values.shape,
            chunks=(28,),
            dtype=values.dtype,
            serializer=codec,
            compressors=None,
            attributes=attributes,
        )
        array[:] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(zarred)
    found, said = converted(zarred)
    assert is_told(found)
    assert found.obs["age"].tolist() == list(range(40))
    assert said == ""


# Filters, and what libraries say.


@pytest.mark.skipif(importlib.util.find_spec("hdf5plugin") is not None, reason="hdf5plugin is installed")
@pytest.mark.parametrize(
    ("name", "write", "key"),
    [
        ("a.h5ad", write_h5ad, "X/data"),
        ("a.loom", write_loom, "matrix"),
        ("a.h5", write_10x_h5, "matrix/data"),
    ],
)
def test_a_filter_that_is_not_installed_is_named_with_the_way_out(
    name: str, write: Callable[[Path], Path], key: str, tmp_path: Path
):
    with h5py.File(write(tmp_path / name), "r+") as file:
        values = np.asarray(file[key])
        del file[key]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(values.shape)
        settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(values.shape)
        data = h5py.h5d.create(file.id, key.encode(), h5py.h5t.IEEE_F32LE, space, dcpl=settings)
        data.write_direct_chunk((0,) * values.ndim, values.astype("f4").tobytes())
    with pytest.raises(FormatError, match=f"{key} is compressed by the HDF5 filter Zstandard") as refused:
        convert([tmp_path / name], tmp_path / "out.zarr")
    assert "pip install hdf5plugin" in refused.value.way_out


def test_counts_compressed_by_a_filter_of_hdf5plugin_are_read_where_it_is_installed(tmp_path: Path):
    plugin = pytest.importorskip("hdf5plugin")

    def change(file: Any) -> None:
        for name in ("data", "indices"):
            replaced(file["X"], name, file[f"X/{name}"][()], **plugin.Blosc())

    assert is_told(converted(changed(tmp_path / "a.h5ad", change))[0])


@pytest.mark.slow
def test_structured_arrays_are_carried_without_a_word_of_a_library(tmp_path: Path):
    adata: Any = telling_adata()
    ranks = np.array([(k / 2, f"gene {k}") for k in range(5)], dtype=[("B", "f4"), ("T", "U8")])
    adata.uns["ranks"] = ranks
    path = write_h5ad(tmp_path / "a.h5ad", adata)
    found, said = converted(path)
    assert said == ""
    assert found.uns["ranks"].tolist() == ranks.tolist()
    for line in (["convert", path, tmp_path / "b.zarr"], ["export", tmp_path / "b.zarr", tmp_path / "b.h5ad"]):
        words = [str(word) for word in line]
        command = [sys.executable, "-c", "from cli.main import app; app()", *words]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
        assert "arn" not in done.stderr


# What is no AnnData.


def _mudata(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "MuData"
        for key in ("obs", "var", "mod/prot", "mod/rna"):
            file.create_group(key)


def _h5seurat(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["cell.names"] = np.array(["a"], dtype=TEXTS)
        file.create_group("assays/RNA")
        file.create_group("meta.data")


def _pandas(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("counts").attrs["pandas_type"] = "frame"


def _soma(path: Path) -> None:
    (path / "obs").mkdir(parents=True)
    (path / "__tiledb_group.tdb").touch()


def _bpcells(path: Path) -> None:
    path.mkdir()
    for name in ("version", "storage_order", "row_names", "col_names", "val", "index_data"):
        (path / name).write_text("x")


def _spatial(path: Path) -> None:
    root = zarr.open_group(path, mode="w", attributes={"spatialdata_attrs": {"version": "0.2"}})
    for key in ("images", "points", "tables/table"):
        root.create_group(key)


def _mudata_zarr(path: Path) -> None:
    root = zarr.open_group(path, mode="w", zarr_format=2, attributes={"encoding-type": "MuData"})
    for key in ("obs", "var", "mod/rna"):
        root.create_group(key)


def _hca(path: Path) -> None:
    root = zarr.open_group(path, mode="w", zarr_format=2)
    for key in ("expression", "cell_id", "gene_id"):
        root.create_group(key)


@pytest.mark.parametrize(
    ("name", "make", "says", "way_out"),
    [
        ("a.h5mu", _mudata, "a MuData, no AnnData", "mudata.read('a.h5mu')['rna'].write_h5ad('rna.h5ad')"),
        ("a.h5ad", _mudata, "a MuData, no AnnData", "['rna'].write_h5ad"),
        ("a.h5seurat", _h5seurat, "an h5Seurat, no AnnData", "SeuratDisk::Convert"),
        ("a.h5", _pandas, "a table of pandas, no AnnData", "pandas.read_hdf"),
        ("a.soma", _soma, "a TileDB or SOMA array, no AnnData", "to_h5ad"),
        ("counts", _bpcells, "a matrix of BPCells, no AnnData", "write_matrix_10x_hdf5"),
        ("a.zarr", _spatial, "a SpatialData, no AnnData", "tables/table"),
        ("a.zarr", _mudata_zarr, "a MuData, no AnnData", "mod/rna"),
        ("a.zarr", _hca, "a Zarr group, but no AnnData: it holds 'cell_id', 'expression', 'gene_id'", "write it as"),
        ("a.rds", Path.touch, "the format is not known: it is an R object", "in R with anndataR"),
        ("a.zarr.zip", Path.touch, "the format is not known: it is an archive", "unpack it"),
    ],
)
def test_a_file_of_another_tool_is_refused_as_what_it_is(
    name: str, make: Callable[[Path], None], says: str, way_out: str, tmp_path: Path
):
    make(tmp_path / name)
    with pytest.raises(FormatError) as refused:
        convert([tmp_path / name], tmp_path / "out.zarr")
    assert says in refused.value.what
    assert way_out in refused.value.way_out
