"""What goes into a store comes out of it; what cannot go in is refused with place and way out."""

import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from helpers import WRITERS, dense, telling_adata, telling_counts, write_csv, write_h5ad, write_loom, write_text
from scipy import sparse

from scnym import ConvertSettings, ScnymError, Store, convert
from scnym.base.errors import DataError, FormatError, MissingInputError, OutputExistsError, SettingsError
from scnym.disk.formats.arrays import InMemorySource
from scnym.disk.formats.genes import with_named_genes


def counts_in(store: Store) -> np.ndarray:
    dataset = store.datasets[0]
    rows = dataset.read_rows(np.arange(dataset.n_cells))
    shape = (dataset.n_cells, len(dataset.genes))
    return sparse.csr_matrix((rows.values_N, rows.indices_N, rows.indptr_C1), shape=shape).toarray()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_store_reads_back_exactly_what_went_in(kind: str, tmp_path: Path):
    source = WRITERS[kind](tmp_path / f"cells.{kind}")
    store = Store(convert([source], tmp_path / "cells.zarr", ConvertSettings(max_memory_bytes=10**8)))
    adata = telling_adata()
    np.testing.assert_array_equal(counts_in(store), telling_counts())
    assert list(store.obs.index) == list(adata.obs_names)
    assert list(store.datasets[0].genes) == list(adata.var_names)
    np.testing.assert_array_equal(store.obs["n_counts"], telling_counts().sum(axis=1))
    np.testing.assert_array_equal(store.obs["n_genes"], (telling_counts() > 0).sum(axis=1))
    if kind in {"h5ad", "loom"}:
        assert list(store.obs["cell_type"]) == list(adata.obs["cell_type"])


def test_every_format_gives_the_same_content_hash(tmp_path: Path):
    hashes = set()
    for kind, write in WRITERS.items():
        store = Store(convert([write(tmp_path / f"cells.{kind}")], tmp_path / f"{kind}.zarr"))
        hashes.add(store.sources[0].sha256)
    assert len(hashes) == 1


@pytest.mark.parametrize("block_elements", [1, 7, 100, 10**6])
@pytest.mark.parametrize("kind", WRITERS)
def test_blocks_of_any_size_hold_every_cell_once_in_order(kind: str, block_elements: int, tmp_path: Path):
    from scnym.disk.formats.detect import open_source

    source: Any = open_source(WRITERS[kind](tmp_path / f"cells.{kind}"), ConvertSettings())
    blocks = list(source.blocks(block_elements))
    np.testing.assert_array_equal(np.vstack([block.counts_CG.toarray() for block in blocks]), telling_counts())
    assert [cell for block in blocks for cell in block.cells] == [f"cell {k}" for k in range(40)]
    if block_elements == 1:
        assert len(blocks) == 40


def test_anndata_opens_the_store_and_finds_counts_labels_and_genes(tmp_path: Path):
    convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    adata = anndata.read_zarr(tmp_path / "cells.zarr" / "dataset_0")
    np.testing.assert_array_equal(dense(adata), telling_counts())
    assert adata.obs["cell_type"].dtype == "category"
    assert list(adata.var_names) == [f"gene {k}" for k in range(12)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # scanpy's own
def test_scanpy_runs_on_the_store(tmp_path: Path):
    scanpy = pytest.importorskip("scanpy")
    convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    adata = anndata.read_zarr(tmp_path / "cells.zarr" / "dataset_0")
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    scanpy.pp.pca(adata, n_comps=5)
    assert adata.obsm["X_pca"].shape == (40, 5)


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(255, "uint8"), (256, "uint16"), (65_535, "uint16"), (65_536, "uint32"), (2**32 - 1, "uint32")],
)
def test_values_are_stored_in_the_smallest_dtype_that_holds_them_exactly(largest: int, dtype: str, tmp_path: Path):
    adata = telling_adata(4, 3)
    adata.X = sparse.csr_matrix(np.array([[largest, 0, 1]] * 4, dtype=np.float64))
    store = Store(convert([write_h5ad(tmp_path / "cells.h5ad", adata)], tmp_path / "cells.zarr"))
    assert store.datasets[0].read_rows(np.arange(4)).values_N.dtype == dtype
    assert counts_in(store).max() == largest


def test_dense_h5ad_and_unsorted_rows_with_stored_zeros_are_put_in_order(tmp_path: Path):
    adata = telling_adata()
    adata.X = telling_counts().astype(np.float32)
    messy = telling_adata()
    matrix = sparse.csr_matrix(telling_counts().astype(np.float32) + 1)
    matrix.data -= 1
    for row in range(40):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[span], matrix.data[span] = matrix.indices[span][::-1].copy(), matrix.data[span][::-1].copy()
    matrix.has_sorted_indices = False
    messy.X = matrix
    for name, one in (("dense", adata), ("messy", messy)):
        store = Store(convert([write_h5ad(tmp_path / f"{name}.h5ad", one)], tmp_path / f"{name}.zarr"))
        np.testing.assert_array_equal(counts_in(store), telling_counts())


def test_a_layer_and_raw_are_read_when_asked_for(tmp_path: Path):
    adata = telling_adata()
    adata.raw = adata.copy()
    adata.layers["counts"] = dense(adata)
    adata = adata[:, :5].copy()
    adata.X = -dense(adata)
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    raw = Store(convert([path], tmp_path / "raw.zarr", ConvertSettings(layer="raw")))
    np.testing.assert_array_equal(counts_in(raw), telling_counts())
    layer = Store(convert([path], tmp_path / "layer.zarr", ConvertSettings(layer="counts")))
    np.testing.assert_array_equal(counts_in(layer), telling_counts()[:, :5])
    with pytest.raises(DataError, match="counts"):
        convert([path], tmp_path / "none.zarr", ConvertSettings(layer="spliced"))


def test_several_files_become_several_datasets_with_their_own_genes(tmp_path: Path):
    first, second = telling_adata(), telling_adata(10, 5)
    second.obs_names = [f"other {k}" for k in range(10)]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_csv(tmp_path / "b.csv", second)]
    store = Store(convert(paths, tmp_path / "cells.zarr"))
    assert [dataset.n_cells for dataset in store.datasets] == [40, 10]
    assert [len(dataset.genes) for dataset in store.datasets] == [12, 5]
    assert list(store.obs["source"].unique()) == ["a.h5ad", "b.csv"]


def test_the_seeds_headerless_table_takes_its_genes_from_a_file(tmp_path: Path):
    table = write_text(tmp_path / "cells.csv", "\n".join(",".join(map(str, row)) for row in telling_counts()) + "\n")
    genes = write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(12)) + "\n")
    store = Store(convert([table], tmp_path / "cells.zarr", ConvertSettings(input_genes=str(genes))))
    np.testing.assert_array_equal(counts_in(store), telling_counts())
    assert list(store.obs.index[:2]) == ["cell_0", "cell_1"]


@pytest.mark.parametrize("total", [1e4, 1e6])
def test_log_normalised_values_are_recognised(total: float, tmp_path: Path):
    adata = telling_adata()
    counts = telling_counts()
    adata.X = sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * total).astype(np.float32))
    store = Store(convert([write_h5ad(tmp_path / "log.h5ad", adata)], tmp_path / "log.zarr"))
    assert store.sources[0].scale == {1e4: "ln_cp10k", 1e6: "ln_cpm"}[total]


def test_the_full_library_comes_from_a_column_when_only_a_gene_panel_is_in_the_file(tmp_path: Path):
    adata = telling_adata()
    adata.obs["n_counts"] = telling_counts().sum(axis=1) + 1000
    path = write_h5ad(tmp_path / "panel.h5ad", adata)
    store = Store(convert([path], tmp_path / "a.zarr", ConvertSettings(library_size_column="n_counts")))
    np.testing.assert_array_equal(store.obs["n_counts"], telling_counts().sum(axis=1) + 1000)
    computed = Store(convert([path], tmp_path / "b.zarr"))
    np.testing.assert_array_equal(computed.obs["n_counts"], telling_counts().sum(axis=1))
    np.testing.assert_array_equal(computed.obs["n_counts_input"], telling_counts().sum(axis=1) + 1000)
    adata.obs["n_counts"] = 3
    path = write_h5ad(tmp_path / "wrong.h5ad", adata)
    with pytest.raises(DataError, match="cell 0 is below"):
        convert([path], tmp_path / "c.zarr", ConvertSettings(library_size_column="n_counts"))


def test_values_of_one_gene_that_stand_twice_are_summed_without_overflow(tmp_path: Path):
    adata = telling_adata(3, 3)
    parts = (np.array([200, 200, 1, 7], np.uint8), np.array([1, 1, 0, 2]), np.array([0, 3, 3, 4]))
    adata.X = sparse.csr_matrix(parts, shape=(3, 3))
    store = Store(convert([write_h5ad(tmp_path / "cells.h5ad", adata)], tmp_path / "cells.zarr"))
    np.testing.assert_array_equal(counts_in(store), [[1, 400, 0], [0, 0, 0], [0, 0, 7]])
    assert list(store.obs["n_counts"]) == [401, 0, 7]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">i4", "<i8", "<u2", "bool"])
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_counts_of_every_dtype_are_read(dtype: str, form: str, tmp_path: Path):
    counts = (telling_counts(20, 6) > 0) if dtype == "bool" else telling_counts(20, 6)
    path = write_h5ad(tmp_path / "cells.h5ad", telling_adata(20, 6))
    matrix = sparse.csr_matrix(counts)
    with h5py.File(path, "a") as file:
        if form == "dense":
            del file["X"]
            file["X"] = counts.astype(dtype)
            file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        else:
            del file["X/data"]
            file["X/data"] = matrix.data.astype(dtype)
    np.testing.assert_array_equal(counts_in(Store(convert([path], tmp_path / "cells.zarr"))), counts)


def test_columns_with_our_names_or_a_slash_step_aside(tmp_path: Path):
    adata = telling_adata()
    for name in ("n_counts", "n_counts_input", "source", "a_b"):
        adata.obs[name] = [f"{name} {k}" for k in range(40)]
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with h5py.File(path, "a") as file:
        columns: Any = file["obs"].attrs["column-order"]
        file["obs"].attrs["column-order"] = [*columns, "a/b"]
        file.create_group("obs/a").create_dataset("b", data=np.arange(40))
        file["obs/a/b"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    store = Store(convert([path], tmp_path / "cells.zarr"))
    for name, expected in (
        ("n_counts_input", "n_counts_input 3"),
        ("n_counts_input_", "n_counts 3"),
        ("source_input", "source 3"),
        ("a_b", "a_b 3"),
        ("a_b_", 3),
    ):
        assert store.obs[name].iloc[3] == expected, name


def every_array(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("c") if path.is_dir())


def test_a_store_with_any_array_lost_is_refused(tmp_path: Path):
    adata = telling_adata()
    adata.obs["all_zero"] = 0
    source = write_h5ad(tmp_path / "cells.h5ad", adata)
    target = convert([source], tmp_path / "cells.zarr")
    assert len(every_array(target)) >= 8
    for chunks in every_array(target):
        aside = tmp_path / "aside"
        chunks.rename(aside)
        with pytest.raises(FormatError, match=rf"chunks of {chunks.parent.relative_to(target)} are missing"):
            Store(target)
        aside.rename(chunks)
    np.testing.assert_array_equal(counts_in(Store(target)), telling_counts())


def test_a_store_with_a_damaged_chunk_is_refused_when_it_is_read(tmp_path: Path):
    target = convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    for name in ("data", "indices"):
        (chunk,) = [p for p in (target / "dataset_0" / "X" / name / "c").rglob("*") if p.is_file()]
        content = chunk.read_bytes()
        chunk.write_bytes(content[:-30])
        with pytest.raises(FormatError, match="cannot be read"):
            Store(target).datasets[0].read_rows(np.arange(3))
        chunk.write_bytes(content)


def with_attributes(path: Path, **changes: object) -> Path:
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] = {**document["attributes"], **changes}
    (path / "zarr.json").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 99}, "format 99, newer"),
        ({"format_version": "x"}, "description is damaged"),
        ({"sources": []}, "description is damaged"),
        ({"sources": "x"}, "description is damaged"),
        ({"sources": [{"dataset": "../../x"}]}, "description is damaged"),
        ({"encoding-type": "anndata"}, "not a scnym store"),
    ],
)
def test_a_store_that_describes_itself_wrongly_is_refused(changes: dict, words: str, tmp_path: Path):
    target = convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    with pytest.raises(FormatError, match=words):
        Store(with_attributes(target, **changes))


def test_what_is_no_store_is_no_store(tmp_path: Path):
    with pytest.raises(MissingInputError):
        Store(tmp_path / "none.zarr")
    with pytest.raises(FormatError, match="not a Zarr store"):
        Store(tmp_path)


def test_only_a_store_is_ever_replaced_and_never_with_its_own_input(tmp_path: Path):
    source, precious = write_h5ad(tmp_path / "cells.h5ad"), tmp_path / "mine.zarr" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("x")
    with pytest.raises(OutputExistsError, match="something else stands there"):
        convert([source], precious.parent, ConvertSettings(overwrite=True))
    assert precious.read_text() == "x"
    target = convert([source], tmp_path / "cells.zarr")
    inside = target / "cells.h5ad"
    source.rename(inside)
    with pytest.raises(SettingsError, match="lies inside"):
        convert([inside], target, ConvertSettings(overwrite=True))
    assert inside.exists()


def test_a_conversion_that_was_killed_leaves_nothing_after_the_next_one(tmp_path: Path):
    source = write_h5ad(tmp_path / "cells.h5ad")
    left = tmp_path / ".cells.zarr.partial" / "dataset_0.parts"
    left.mkdir(parents=True)
    write_text(left / "part_000000.values.npy", "half")
    convert([source], tmp_path / "cells.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "cells.zarr"]


def test_two_conversions_to_one_target_do_not_spoil_it(tmp_path: Path):
    from scnym.disk.atomic import aside

    source, target = write_h5ad(tmp_path / "cells.h5ad"), tmp_path / "cells.zarr"
    with aside(target, overwrite=False, is_replaceable=lambda _: True) as folder:
        (folder / "x").write_text("work of the first")
        with pytest.raises(OutputExistsError, match="another process is writing it"):
            convert([source], target)
        assert (folder / "x").read_text() == "work of the first"
    assert (target / "x").exists()


def test_what_was_put_at_the_target_meanwhile_is_kept_and_so_is_the_finished_work(tmp_path: Path):
    from scnym.disk.atomic import aside

    target = tmp_path / "out"

    def work_while_another_writes() -> None:
        with aside(target, overwrite=False, is_replaceable=lambda _: True) as folder:
            write_text(folder / "done", "x")
            target.mkdir()
            write_text(target / "precious", "x")

    with pytest.raises(OutputExistsError, match=r"finished work is in .*\.out\.partial"):
        work_while_another_writes()
    assert (target / "precious").exists()
    assert (tmp_path / ".out.partial" / "done").exists()


def test_a_target_that_is_a_link_stays_one_however_often_it_is_overwritten(tmp_path: Path):
    from scnym.disk.atomic import aside

    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    for content in ("first", "second"):
        with aside(link, overwrite=True, is_replaceable=lambda _: True) as folder:
            write_text(folder / "x", content)
        assert link.is_symlink()
        assert (link / "x").read_text() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_genes_may_be_named_by_numbers(tmp_path: Path):
    path = write_text(tmp_path / "entrez.csv", "cell,1,2,9\na,0,3,1\nb,1,1,0\n")
    assert Store(convert([path], tmp_path / "cells.zarr")).datasets[0].genes == ("1", "2", "9")


def test_a_sum_too_large_to_be_kept_is_refused(tmp_path: Path):
    adata = telling_adata(1, 2)
    parts = (np.array([2**32 - 1, 4, 1]), np.array([0, 0, 1]), np.array([0, 3]))
    adata.X = sparse.csr_matrix(parts, shape=(1, 2))
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with pytest.raises(DataError, match=r"cell cell 0, gene gene 0: value 4\.29497e\+09 is above 4,294,967,295"):
        convert([path], tmp_path / "cells.zarr")


def test_options_that_a_format_has_no_use_for_are_refused(tmp_path: Path):
    genes = write_text(tmp_path / "genes.txt", "a\n")
    with pytest.raises(SettingsError, match="leave out --input_genes"):
        convert([write_h5ad(tmp_path / "a.h5ad")], tmp_path / "a.zarr", ConvertSettings(input_genes=str(genes)))
    with pytest.raises(SettingsError, match="leave out --layer"):
        convert([write_csv(tmp_path / "a.csv")], tmp_path / "a.zarr", ConvertSettings(layer="raw"))


def truncated(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def with_value(value: float) -> anndata.AnnData:
    adata = telling_adata()
    counts = telling_counts().astype(np.float32)
    counts[7, 3] = value
    adata.X = sparse.csr_matrix(counts)
    return adata


def with_twice(axis: str) -> anndata.AnnData:
    adata = telling_adata()
    names = adata.obs_names if axis == "obs" else adata.var_names
    twice = [names[1] if k == 4 else name for k, name in enumerate(names)]
    setattr(adata, f"{axis}_names", twice)
    return adata


def foreign_hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["X"] = np.ones(3)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def complex_h5ad(path: Path) -> Path:
    write_h5ad(path)
    with h5py.File(path, "a") as file:
        data = np.asarray(file["X/data"]).astype(complex)
        del file["X/data"]
        file["X/data"] = data
    return path


def h5ad_without(path: Path, key: str) -> Path:
    write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file[key]
    return path


def loom_short_of_ids(path: Path) -> Path:
    write_loom(path)
    with h5py.File(path, "a") as file:
        ids = list(np.asarray(file["col_attrs/CellID"])[:2])
        del file["col_attrs/CellID"]
        file["col_attrs/CellID"] = ids
    return path


HEADER = "cell,a,b\n"
FAULTS = {
    "missing file": (lambda d: d / "no.h5ad", MissingInputError, "no.h5ad: there is no such file"),
    "unknown format": (lambda d: write_text(d / "x.xlsx", "?"), FormatError, "x.xlsx: the format is not known"),
    "h5ad that is not HDF5": (lambda d: write_text(d / "x.h5ad", "?"), FormatError, "not HDF5"),
    "foreign HDF5": (lambda d: foreign_hdf5(d / "x.h5"), FormatError, "it holds X"),
    "truncated h5ad": (lambda d: truncated(write_h5ad(d / "x.h5ad")), FormatError, "x.h5ad: the file is damaged"),
    "truncated loom": (lambda d: truncated(write_loom(d / "x.loom")), FormatError, "x.loom: the file is damaged"),
    "truncated gzip": (lambda d: truncated(write_csv(d / "x.csv.gz")), FormatError, "x.csv.gz: the file is damaged"),
    "empty file": (lambda d: write_text(d / "x.csv", ""), FormatError, "x.csv: the file is empty"),
    "header only": (lambda d: write_text(d / "x.csv", HEADER), DataError, "no cells"),
    "row too long": (lambda d: write_text(d / "x.csv", HEADER + "c,1,2\nd,1,2,3\n"), FormatError, "line 3: 4 fields"),
    "row too short": (lambda d: write_text(d / "x.csv", HEADER + "c,1,2\nd,1\n"), FormatError, "line 3: 2 fields"),
    "header two short": (lambda d: write_text(d / "x.csv", "a,b\nc,1,2,3\n"), FormatError, "line 2: 4 fields"),
    "text in a table": (lambda d: write_text(d / "x.csv", HEADER + "c,1,hi\n"), DataError, "line 2: 'hi' in column b"),
    "empty field": (lambda d: write_text(d / "x.csv", HEADER + "c,,1\n"), DataError, "line 2: '' in column a"),
    "negative in a table": (
        lambda d: write_text(d / "x.csv", HEADER + "c,1,-2\n"),
        DataError,
        "'-2' in column b is neg",
    ),
    "NaN in a table": (lambda d: write_text(d / "x.csv", HEADER + "c,nan,2\n"), DataError, "'nan' in column a"),
    "infinite in a table": (lambda d: write_text(d / "x.csv", HEADER + "c,inf,2\n"), DataError, "'inf' in column a"),
    "cell without id": (lambda d: write_text(d / "x.csv", HEADER + ",1,2\n"), DataError, "line 2: the line has no id"),
    "gene twice in a table": (
        lambda d: write_text(d / "x.csv", "cell,a,a\nc,1,2\n"),
        DataError,
        "duplicate gene names 'a'",
    ),
    "cell twice in a table": (lambda d: write_text(d / "x.csv", HEADER + "c,1,2\nc,1,2\n"), DataError, "names 'c'"),
    "negative in an h5ad": (lambda d: write_h5ad(d / "x.h5ad", with_value(-3)), DataError, "cell cell 7, gene gene 3"),
    "NaN in an h5ad": (lambda d: write_h5ad(d / "x.h5ad", with_value(np.nan)), DataError, "cell cell 7, gene gene 3"),
    "negative in a loom": (lambda d: write_loom(d / "x.loom", with_value(-1)), DataError, "cell cell 7, gene gene 3"),
    "gene twice in an h5ad": (lambda d: write_h5ad(d / "x.h5ad", with_twice("var")), DataError, "gene names 'gene 1'"),
    "cell twice in an h5ad": (lambda d: write_h5ad(d / "x.h5ad", with_twice("obs")), DataError, "cell names 'cell 1'"),
    "Latin-1": (lambda d: written(d / "x.csv", "id,gène\nc,1\n".encode("latin-1")), FormatError, "not text in UTF-8"),
    "numbers as header": (lambda d: write_text(d / "x.csv", "1,0,3\n4,5,6\n"), FormatError, "numbers where gene names"),
    "blank id": (lambda d: write_text(d / "x.csv", HEADER + "  ,1,2\n"), DataError, "line 2: the line has no id"),
    "value too large": (lambda d: write_text(d / "x.csv", HEADER + "c,1e300,2\n"), DataError, "cell c, gene a"),
    "complex numbers": (lambda d: complex_h5ad(d / "x.h5ad"), FormatError, "not as numbers"),
    "no X": (lambda d: h5ad_without(d / "x.h5ad", "X"), DataError, "there are no counts in X"),
    "no indptr": (lambda d: h5ad_without(d / "x.h5ad", "X/indptr"), FormatError, "it is damaged"),
    "no var": (lambda d: h5ad_without(d / "x.h5ad", "var"), FormatError, "an h5ad with no var"),
    "loom with too few ids": (lambda d: loom_short_of_ids(d / "x.loom"), FormatError, "CellID names 2 cells"),
    "gene twice in a loom": (lambda d: write_loom(d / "x.loom", with_twice("var")), DataError, "gene names 'gene 1'"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
def test_a_fault_is_named_with_place_and_way_out_and_leaves_nothing_behind(fault: str, tmp_path: Path):
    make, error, words = FAULTS[fault]
    path = make(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(error) as caught:
        convert([path], tmp_path / "cells.zarr")
    assert words in caught.value.message
    assert path.name in caught.value.message
    assert caught.value.way_out
    assert "\n" not in caught.value.message
    assert set(tmp_path.iterdir()) == before


def test_a_finished_store_is_not_overwritten_unless_asked(tmp_path: Path):
    path, target = write_h5ad(tmp_path / "cells.h5ad"), tmp_path / "cells.zarr"
    convert([path], target)
    before = {file: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    with pytest.raises(OutputExistsError, match="exists already"):
        convert([path], target)
    assert {file: file.read_bytes() for file in target.rglob("*") if file.is_file()} == before
    convert([write_h5ad(tmp_path / "other.h5ad", telling_adata(5))], target, ConvertSettings(overwrite=True))
    assert Store(target).n_cells == 5


def test_a_fault_while_overwriting_leaves_the_old_store_as_it_was(tmp_path: Path):
    target = convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    with pytest.raises(DataError):
        convert([write_h5ad(tmp_path / "bad.h5ad", with_value(-1))], target, ConvertSettings(overwrite=True))
    np.testing.assert_array_equal(counts_in(Store(target)), telling_counts())


def test_the_targets_name_and_the_inputs_are_checked_first(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"write .*cells\.out\.zarr"):
        convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.out")
    with pytest.raises(ScnymError, match="no input"):
        convert([], tmp_path / "cells.zarr")


def test_cells_without_counts_are_kept(tmp_path: Path):
    adata = telling_adata()
    counts = telling_counts()
    counts[[0, 5]] = 0
    adata.X = sparse.csr_matrix(counts)
    store = Store(convert([write_h5ad(tmp_path / "cells.h5ad", adata)], tmp_path / "cells.zarr"))
    assert list(store.obs["n_counts"].iloc[[0, 5]]) == [0, 0]
    np.testing.assert_array_equal(counts_in(store), counts)


def test_an_array_of_counts_is_read_with_its_list_of_genes(tmp_path: Path):
    counts, genes = telling_counts(), write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(12)))
    for dtype in (np.uint16, np.float64, ">i4"):
        np.save(tmp_path / "counts.npy", counts.astype(dtype))
        target = tmp_path / f"{np.dtype(dtype).name}.zarr"
        store = Store(convert([tmp_path / "counts.npy"], target, ConvertSettings(input_genes=str(genes))))
        np.testing.assert_array_equal(counts_in(store), counts)
        assert not store.sources[0].has_cell_ids


def test_arrays_that_cannot_be_read_are_refused_and_nothing_in_them_is_executed(tmp_path: Path):
    genes, path = write_text(tmp_path / "genes.txt", "a\nb\nc\n"), tmp_path / "counts.npy"

    def refused(match: str, error: type[Exception], **settings: Any) -> None:
        with pytest.raises(error, match=match):
            convert([path], tmp_path / "a.zarr", ConvertSettings(**settings))

    np.save(path, np.ones((4, 2)))
    refused(r"counts\.npy.*no gene names.*--input_genes", SettingsError)
    refused(r"shape \(4, 2\), where 3 genes are listed", DataError, input_genes=str(genes))
    np.save(path, np.array([[Exploding()] * 3], dtype=object), allow_pickle=True)
    refused("nothing in it was executed", FormatError, input_genes=str(genes))
    path.write_bytes(b"no array")
    refused("nothing in it was executed", FormatError, input_genes=str(genes))


class Exploding:
    """Reports if it is ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


BARCODES = [f"{''.join('ACGT'[(k >> 2 * j) & 3] for j in range(8))}ACGTACGT-1" for k in range(9)]
SYMBOLS = ["CD3E", "CD4", "MS4A1", "LYZ", "NKG7", "GNLY", "ACTB", "B2M"]


def as_called(cells: list[str], genes: list[str]) -> anndata.AnnData:
    adata = telling_adata(len(cells), len(genes))
    adata.obs_names, adata.var_names = cells, genes
    return adata


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("genes", [SYMBOLS, [f"ENSMUSG{k:011d}.2" for k in range(8)]], ids=["symbols", "ids"])
@pytest.mark.parametrize("kind", ["h5ad", "loom", "zarr", "in memory"])
def test_a_matrix_that_lies_the_wrong_way_round_is_refused(kind: str, genes: list[str], tmp_path: Path):
    turned, path = as_called(genes, BARCODES), tmp_path / f"x.{kind}"
    if kind == "zarr":
        turned.write_zarr(path)
    elif kind != "in memory":
        {"h5ad": write_h5ad, "loom": write_loom}[kind](path, turned)

    def opened() -> object:
        in_memory = kind == "in memory"
        return with_named_genes(InMemorySource(turned, "x")) if in_memory else convert([path], tmp_path / "new.zarr")

    with pytest.raises(DataError, match="lies the wrong way round: its cells have the names of genes, such") as caught:
        opened()
    assert "adata.T" in caught.value.way_out


@pytest.mark.parametrize(
    ("cells", "genes"),
    [
        (BARCODES, SYMBOLS),
        ([str(k) for k in range(9)], BARCODES[:8]),
        ([f"patient {k}" for k in range(9)], BARCODES[:8]),
        (SYMBOLS, [str(k) for k in range(9)]),
        (SYMBOLS, [f"probe{k}" for k in range(9)]),
        ([f"unc-{k}" for k in range(9)], SYMBOLS),
        (["CD3E", "CD4", "c3", "c4", "c5", "c6"], ["c1", "c2", "c3", "c4"]),
    ],
)
def test_names_that_merely_look_odd_are_no_reason_to_refuse(cells: list[str], genes: list[str], tmp_path: Path):
    store = Store(convert([write_h5ad(tmp_path / "x.h5ad", as_called(cells, genes))], tmp_path / "x.zarr"))
    assert sorted(store.cell_ids) == sorted(cells)
