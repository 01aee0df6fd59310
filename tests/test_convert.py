"""Any folder of files becomes one store, in bounded memory, whatever interrupts it; and comes back as it was."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from helpers import WRITERS, dense, telling_adata, telling_counts, write_csv, write_h5ad, write_text
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scnym import ConvertSettings, Store, convert, export
from scnym.base.errors import DataError, FormatError, MissingInputError, OutputExistsError
from scnym.base.progress import SilentProgress
from scnym.base.schema import OWN_OBS_COLUMNS, original_names, safe_names
from scnym.disk.external_sort import RowArranger
from scnym.disk.inputs import Input, gather
from scnym.disk.parts import Parts


def counts_of(store: Store, number: int = 0) -> np.ndarray:
    dataset = store.datasets[number]
    rows = dataset.read_rows(np.arange(dataset.n_cells))
    shape = (dataset.n_cells, len(dataset.genes))
    return sparse.csr_matrix((rows.values_N, rows.indices_N, rows.indptr_C1), shape=shape).toarray()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n_rows=st.integers(1, 30), n_genes=st.integers(1, 20), max_elements=st.integers(1, 40))
def test_values_in_any_order_come_back_row_by_row(tmp_path_factory, data, n_rows, n_genes, max_elements):
    values = st.tuples(st.integers(0, n_rows - 1), st.integers(0, n_genes - 1), st.integers(1, 9))
    arranger = RowArranger(tmp_path_factory.mktemp("slabs"), n_rows, n_genes)
    expected = np.zeros((n_rows, n_genes))
    for slab in data.draw(st.lists(st.lists(values, min_size=1), max_size=4)):
        rows, genes, counts = map(np.array, zip(*slab, strict=True))
        np.add.at(expected, (rows, genes), counts)
        arranger.add_values(rows, genes, counts)
    for first in (0, data.draw(st.integers(0, n_rows))):
        blocks = list(RowArranger(arranger.folder, n_rows, n_genes).blocks(max_elements, first))
        assert all(block.nnz <= max_elements or block.shape[0] == 1 for block in blocks)
        given_back = np.vstack([np.zeros((0, n_genes)), *(block.toarray() for block in blocks)])
        np.testing.assert_array_equal(given_back, expected[first:])


def as_csc(path: Path) -> Path:
    adata = telling_adata()
    adata.X = sparse.csc_matrix(telling_counts())
    return write_h5ad(path, adata)


def as_zarr(path: Path) -> Path:
    telling_adata().write_zarr(path)
    return path


def as_zarr_csc(path: Path) -> Path:
    adata = telling_adata()
    adata.X = sparse.csc_matrix(telling_counts())
    adata.write_zarr(path)
    return path


def as_store(path: Path) -> Path:
    return convert([write_h5ad(path.with_suffix(".h5ad"))], path)


CSC = ("csc.h5ad",)
OTHER_FORMS = {"csc.h5ad": as_csc, "plain.zarr": as_zarr, "csc.zarr": as_zarr_csc, "store.zarr": as_store}


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("block_elements", [5, 2**22])
@pytest.mark.filterwarnings("ignore:.*specification.*", "ignore:Writing zarr v2", "ignore:.*auto.shard.*:UserWarning")
def test_columns_zarr_and_stores_are_inputs_too(
    form: str, block_elements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = OTHER_FORMS[form](tmp_path / form)
    monkeypatch.setattr("scnym.disk.dataset.MAX_BLOCK_ELEMENTS", block_elements)
    store = Store(convert([source], tmp_path / "out.zarr"))
    np.testing.assert_array_equal(counts_of(store), telling_counts())
    assert list(store.obs["cell_type"]) == list(telling_adata().obs["cell_type"])
    assert list(store.obs.index) == list(telling_adata().obs_names)
    np.testing.assert_array_equal(store.obs["n_counts"], telling_counts().sum(axis=1))


def test_a_store_in_a_store_keeps_its_library_sizes_and_content(tmp_path: Path):
    adata = telling_adata()
    adata.obs["total"] = telling_counts().sum(axis=1) * 3
    path = write_h5ad(tmp_path / "a.h5ad", adata)
    first = Store(convert([path], tmp_path / "a.zarr", ConvertSettings(library_size_column="total")))
    second = Store(convert([tmp_path / "a.zarr"], tmp_path / "b.zarr"))
    np.testing.assert_array_equal(second.obs["n_counts"], adata.obs["total"])
    assert second.content_hash == first.content_hash
    assert [one.sample for one in second.sources] == ["a.h5ad"]


def old_h5ad(path: Path) -> Path:
    """Write an AnnData in the form of versions before 0.7."""
    import h5py

    adata, counts = telling_adata(), sparse.csr_matrix(telling_counts())
    with h5py.File(path, "w") as file:
        for name, part in (("data", counts.data), ("indices", counts.indices), ("indptr", counts.indptr)):
            file.create_dataset(f"X/{name}", data=part)
        file["X"].attrs.update({"h5sparse_format": "csr", "h5sparse_shape": counts.shape})
        codes = adata.obs["cell_type"].astype("category").cat
        obs = np.zeros(40, dtype=[("index", "S20"), ("cell_type", "i1"), ("note", "S3"), ("depth", "f8")])
        obs["index"], obs["cell_type"], obs["note"] = adata.obs_names.to_numpy(dtype="S"), codes.codes, b"hi"
        var = np.zeros(12, dtype=[("index", "S20")])
        var["index"] = adata.var_names.to_numpy(dtype="S")
        file["obs"], file["var"] = obs, var
        file["uns/cell_type_categories"] = codes.categories.to_numpy(dtype="S")
    return path


def test_h5ad_of_old_versions_is_read(tmp_path: Path):
    store = Store(convert([old_h5ad(tmp_path / "old.h5ad")], tmp_path / "old.zarr"))
    np.testing.assert_array_equal(counts_of(store), telling_counts())
    assert list(store.obs["cell_type"]) == list(telling_adata().obs["cell_type"])
    assert list(store.obs["note"].unique()) == ["hi"]
    assert list(store.datasets[0].genes) == list(telling_adata().var_names)


def annotated_adata() -> Any:
    """Cells with columns of every kind, some with missing values."""
    adata: Any = telling_adata()
    missing = np.arange(40) % 4 == 0
    adata.obs["number"] = np.arange(40) * 0.5
    adata.obs["whole"] = pd.array(np.where(missing, 0, np.arange(40)), dtype="Int32")
    adata.obs.loc[missing, "whole"] = pd.NA
    adata.obs["flag"] = pd.array(missing, dtype="boolean")
    adata.obs.loc[adata.obs_names[1], "flag"] = pd.NA
    adata.obs["gap"] = pd.Categorical([None if k % 4 == 0 else "x" for k in range(40)])
    adata.obs["n_counts"] = "mine"
    adata.var["chromosome"] = [f"chr{k % 3}" for k in range(12)]
    return adata


@pytest.mark.parametrize("cluster_by", [None, "cell_type"])
def test_an_export_gives_back_what_went_in(cluster_by: str | None, tmp_path: Path):
    adata = annotated_adata()
    adata.obs["place"] = np.arange(40)
    source = write_h5ad(tmp_path / "in.h5ad", adata)
    store = convert([source], tmp_path / "cells.zarr", ConvertSettings(cluster_by=cluster_by))
    back: Any = anndata.read_h5ad(export(store, tmp_path / "out.h5ad"))
    if cluster_by is not None:
        assert list(back.obs_names) == [f"cell {k}" for k in back.obs.pop("source_row")]
    back = back[adata.obs_names].copy()
    np.testing.assert_array_equal(dense(back), dense(adata))
    expected: Any = anndata.read_h5ad(source)
    pd.testing.assert_frame_equal(back.obs, expected.obs, check_categorical=False)
    pd.testing.assert_frame_equal(back.var, expected.var, check_categorical=False, check_dtype=False)
    again = Store(convert([tmp_path / "out.h5ad"], tmp_path / "again.zarr"))
    assert again.content_hash == Store(store).content_hash


ODD_NAMES = ["_index", "a/b", "a_b", "x" * 300, "é" * 150, "..", "zarr.json", "__categories", "b\\c", "n_counts"]


def test_columns_with_names_that_cannot_be_stored_come_back_where_an_h5ad_can_hold_them(tmp_path: Path):
    cells = [f"cell {k}" for k in range(40)]
    table = pd.DataFrame({name: [f"{name} {k}" for k in range(40)] for name in ODD_NAMES}, index=cells)
    table.to_csv(tmp_path / "meta.csv", index_label="id")
    given = ConvertSettings(training_metadata=str(tmp_path / "meta.csv"))
    store = convert([write_h5ad(tmp_path / "a.h5ad")], tmp_path / "a.zarr", given)
    renamed = anndata.read_zarr(store / "dataset_0").obs
    read = table
    names = json.loads((store / "dataset_0/zarr.json").read_text())["attributes"]["renamed_obs_columns"]
    old_names = {name: names.get(name, name) for name in renamed if name not in OWN_OBS_COLUMNS}
    assert sorted(old_names.values()) == sorted([*read.columns, "cell_type"])
    for new, old in old_names.items():
        expected = telling_adata().obs if old == "cell_type" else read
        assert list(renamed[new]) == list(expected[old]), old
    back = anndata.read_h5ad(export(store, tmp_path / "out.h5ad")).obs
    impossible = {"_index", "a/b", "..", "zarr.json", "__categories", "b\\c"}
    assert set(read.columns) - impossible <= set(back.columns)
    assert len(back.columns) == len(old_names)
    again = Store(convert([store], tmp_path / "again.zarr"))
    pd.testing.assert_frame_equal(again.obs, Store(store).obs)


names_drawn = st.lists(st.one_of(st.text(max_size=5), st.sampled_from(["_index", "a/b", "a_b", "a_b_", "é" * 150])))


@given(names=names_drawn)
def test_safe_names_are_unique_and_possible_and_leave_alone_what_is_both(names: list[str]):
    safe = safe_names(names)
    assert len(safe) == len(set(safe)) == len(names)
    assert all(name and "/" not in name and name != "_index" and len(name.encode()) <= 255 for name in safe)
    assert safe_names(safe) == safe
    for name, given_name in zip(names, safe, strict=True):
        assert name == given_name or name in safe or safe_names([name]) != [name]
    renamed = {new: old for new, old in zip(safe, names, strict=True) if new != old}
    restored = original_names(safe, renamed)
    assert len(set(restored)) == len(names)
    assert set(names) == set(restored) & set(names)


def test_ids_that_were_made_up_stay_so_when_the_store_is_converted_again(tmp_path: Path):
    genes = write_text(tmp_path / "genes.txt", "a\nb\n")
    table = write_text(tmp_path / "a.csv", "1,2\n3,4\n")
    store = convert([table], tmp_path / "a.zarr", ConvertSettings(input_genes=str(genes)))
    both = Store(convert([store, write_h5ad(tmp_path / "b.h5ad")], tmp_path / "both.zarr"))
    assert [source.has_cell_ids for source in both.sources] == [False, True]
    labels = write_text(tmp_path / "labels.csv", "kind\nx\ny\n")
    labelled = convert([store], tmp_path / "labelled.zarr", ConvertSettings(training_metadata=str(labels)))
    assert list(Store(labelled).obs["kind"]) == ["x", "y"]


def test_an_export_of_several_sources_says_which_measured_a_gene(tmp_path: Path):
    first, second = telling_adata(), telling_adata(10, 8)[:, ::-1].copy()
    second.var_names = [*second.var_names[:-1], "gene 99"]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    back: Any = anndata.read_h5ad(export(convert(paths, tmp_path / "both.zarr"), tmp_path / "out.h5ad"))
    np.testing.assert_array_equal(dense(back[:40, list(first.var_names)].copy()), dense(first))
    np.testing.assert_array_equal(dense(back[40:, list(second.var_names)].copy()), dense(second))
    assert list(back.obs_names[[0, 40]]) == ["a.h5ad:cell 0", "b.h5ad:cell 0"]
    assert not back.var.loc["gene 99", "measured_in_a.h5ad"]
    assert back.var.loc["gene 99", "measured_in_b.h5ad"]


def test_an_export_never_replaces_a_file_unless_asked(tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "in.h5ad")], tmp_path / "cells.zarr")
    target = write_text(tmp_path / "out.h5ad", "mine")
    with pytest.raises(OutputExistsError):
        export(store, target)
    assert target.read_text() == "mine"
    assert anndata.read_h5ad(export(store, target, overwrite=True)).n_obs == 40


def test_grouping_keeps_every_cell_with_its_counts_and_labels(tmp_path: Path):
    adata: Any = telling_adata()
    adata.obs["cell_type"] = [None if k % 7 == 0 else f"type {k % 3}" for k in range(40)]
    path = write_h5ad(tmp_path / "in.h5ad", adata)
    plain = Store(convert([path], tmp_path / "plain.zarr"))
    grouped = Store(convert([path], tmp_path / "grouped.zarr", ConvertSettings(cluster_by="cell_type")))
    rows = grouped.obs["source_row"].to_numpy()
    assert sorted(rows) == list(range(40))
    np.testing.assert_array_equal(counts_of(grouped), telling_counts()[rows])
    assert list(grouped.obs.index) == [f"cell {k}" for k in rows]
    labels = grouped.obs["cell_type"].astype(object).fillna("none").tolist()
    assert len([k for k in range(1, 40) if labels[k] != labels[k - 1]]) == 3
    assert labels[-1] == "none"
    assert not all(np.diff(rows[:10]) > 0)
    pd.testing.assert_series_equal(grouped.obs["n_counts"].sort_index(), plain.obs["n_counts"].sort_index())


def test_an_unknown_column_to_group_by_is_found_before_any_counts_are_read(tmp_path: Path):
    with pytest.raises(DataError, match="give --cluster_by one of 'cell_type'"):
        convert([write_h5ad(tmp_path / "a.h5ad")], tmp_path / "a.zarr", ConvertSettings(cluster_by="tissue"))
    with pytest.raises(DataError, match="--training_metadata"):
        convert([write_csv(tmp_path / "a.csv")], tmp_path / "a.zarr", ConvertSettings(cluster_by="tissue"))


def folder_of_files(folder: Path) -> Path:
    """One file of every format, with the same cell ids and other genes each, and a file that is none."""
    (folder / "below").mkdir(parents=True)
    for number, (kind, write) in enumerate(WRITERS.items()):
        adata = telling_adata(10 + number, 6 + number)
        place = folder / "below" if number % 2 else folder
        write(place / f"sample{number}.{kind}", adata)
    write_text(folder / "notes.md", "nothing to read")
    return folder


def test_a_folder_of_differently_made_files_becomes_one_store(tmp_path: Path):
    said: list[str] = []

    class Listener(SilentProgress):
        def say(self, line: str) -> None:
            said.append(line)

    folder = folder_of_files(tmp_path / "files")
    store = Store(convert([folder], tmp_path / "all.zarr", progress=Listener()))
    assert [(one.file, one.n_cells, one.n_genes) for one in store.sources] == [
        ("sample1.csv", 11, 7),
        ("sample3.loom", 13, 9),
        ("sample0.h5ad", 10, 6),
        ("sample2.csv.gz", 12, 8),
    ]
    assert "left out, no counts or not of a known format: 'notes.md'" in said[0]
    for number, source in enumerate(store.sources):
        np.testing.assert_array_equal(counts_of(store, number), telling_counts(source.n_cells, source.n_genes))
    assert store.obs.index.is_unique
    assert store.obs.index[0] == "sample1.csv:cell 0"


def test_the_store_in_its_inputs_folder_is_no_input_of_itself(tmp_path: Path):
    (tmp_path / "in").mkdir()
    write_h5ad(tmp_path / "in" / "a.h5ad")
    target = convert([tmp_path / "in"], tmp_path / "in" / "all.zarr")
    assert Store(convert([tmp_path / "in"], target, ConvertSettings(overwrite=True))).n_cells == 40


def test_a_genes_file_that_changed_meanwhile_is_read_anew(tmp_path: Path):
    text = "\n".join(",".join(map(str, row)) for row in telling_counts()) + "\n"
    good, bad = write_text(tmp_path / "a.csv", text), write_text(tmp_path / "b.csv", text + "1,2\n")
    genes = write_text(tmp_path / "genes.txt", "".join(f"old {k}\n" for k in range(12)))
    with pytest.raises(FormatError):
        convert([good, bad], tmp_path / "all.zarr", ConvertSettings(input_genes=str(genes)))
    write_text(genes, "".join(f"new gene {k}\n" for k in range(12)))
    write_text(bad, text)
    store = Store(convert([good, bad], tmp_path / "all.zarr", ConvertSettings(input_genes=str(genes))))
    assert all(dataset.genes[0] == "new gene 0" for dataset in store.datasets)


def test_a_column_of_all_sources_is_read_alone(tmp_path: Path):
    first, second = telling_adata(6, 4, 2), telling_adata(5, 4, 3)
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    store = Store(convert(paths, tmp_path / "both.zarr"))
    assert list(store.column("cell_type")) == [*first.obs["cell_type"], *second.obs["cell_type"]]
    assert list(store.column("n_counts")) == list(store.obs["n_counts"])
    with pytest.raises(FormatError, match="no column 'donor'"):
        store.column("donor")


@pytest.mark.parametrize(
    ("lines", "words"),
    [("id,x\nc0,CD4, naive\nc1,CD8\n", "line 2: 3 fields"), ("id,x\nc0,a\nc1\n", "line 3: 1 fields")],
)
def test_a_table_whose_lines_differ_in_length_is_refused(lines: str, words: str, tmp_path: Path):
    table = write_text(tmp_path / "meta.csv", lines)
    with pytest.raises(FormatError, match=words):
        convert([write_csv(tmp_path / "a.csv")], tmp_path / "a.zarr", ConvertSettings(training_metadata=str(table)))


def test_a_column_with_a_slash_groups_cells_and_sources_may_disagree_on_a_columns_type(tmp_path: Path):
    first, second = telling_adata(), telling_adata(10)
    first.obs["q"], second.obs["q"] = list(range(40)), [f"text {k}" for k in range(10)]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    back: Any = anndata.read_h5ad(export(convert(paths, tmp_path / "both.zarr"), tmp_path / "out.h5ad"))
    assert list(back.obs["q"].iloc[[0, 39, 40]]) == ["0", "39", "text 0"]
    table = write_text(tmp_path / "meta.csv", "id,a/b\n" + "".join(f"cell {k},k{k % 2}\n" for k in range(40)))
    given = ConvertSettings(training_metadata=str(table), cluster_by="a/b")
    store = Store(convert([paths[0]], tmp_path / "grouped.zarr", given))
    assert list(store.obs["a_b"]) == ["k0"] * 20 + ["k1"] * 20


def test_a_damaged_store_is_not_exported(tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "a.h5ad")], tmp_path / "a.zarr")
    shard = store / "dataset_0/X/data/c/0"
    content = shard.read_bytes()
    shard.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    with pytest.raises(FormatError, match="have changed"):
        export(store, tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()


def test_patterns_name_files_and_a_pattern_without_any_is_an_error(tmp_path: Path):
    for name in ("b", "a"):
        write_h5ad(tmp_path / f"{name}.h5ad")
    assert [one.sample for one in gather([tmp_path / "*.h5ad"]).inputs] == ["a.h5ad", "b.h5ad"]
    with pytest.raises(MissingInputError, match="nothing matches"):
        gather([str(tmp_path / "*.loom")])


def test_a_file_whose_name_is_no_text_is_refused(tmp_path: Path):
    path = write_h5ad(tmp_path / "bad.h5ad").rename(tmp_path / os.fsdecode(b"bad\xff.h5ad"))
    with pytest.raises(DataError, match=r"bad.*\.h5ad.*the name is not UTF-8; rename it"):
        convert([path], tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_h5ad(tmp_path / name / "cells.h5ad")
    samples = [one.sample for one in gather([tmp_path / "a" / "cells.h5ad", tmp_path / "b" / "cells.h5ad"]).inputs]
    assert samples == ["a/cells.h5ad", "b/cells.h5ad"]
    with pytest.raises(DataError, match="named twice"):
        gather([tmp_path / "a" / "cells.h5ad", tmp_path / "a" / ".." / "a" / "cells.h5ad"])


def test_a_manifest_names_samples_and_annotates_their_cells(tmp_path: Path):
    write_h5ad(tmp_path / "one.h5ad")
    write_csv(tmp_path / "two.csv", telling_adata(5))
    manifest = write_text(tmp_path / "samples.csv", "path,sample,donor\none.h5ad,S1,Ann\ntwo.csv,S2,\n")
    store = Store(convert([manifest], tmp_path / "all.zarr"))
    assert [one.sample for one in store.sources] == ["S1", "S2"]
    assert list(store.obs["donor"].astype(object).fillna("-").unique()) == ["Ann", "-"]
    assert list(store.obs["source"].unique()) == ["S1", "S2"]
    assert store.obs.index[40] == "S2:cell 0"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("path,sample\n", "lists no files"),
        ("path,sample\na.h5ad,S\na.h5ad,S\n", "sample 'S' stands twice"),
        ("path,sample\n,S\n", "line 2: a line names no path"),
        ("path\nb.h5ad\n", "b.h5ad: there is no such file"),
        ("path\na.h5ad\na.h5ad\n", "named twice"),
    ],
)
def test_a_faulty_manifest_is_refused(lines: str, words: str, tmp_path: Path):
    write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises((DataError, MissingInputError), match=words):
        convert([write_text(tmp_path / "m.csv", lines)], tmp_path / "all.zarr")


def metadata_of(path: Path, cells: list[str], header: str = "barcode,kind") -> Path:
    lines = [f"{cell},k{cell[-1]}" for cell in reversed(cells)]
    return write_text(path, "\n".join([header, *lines]) + "\n")


def test_labels_join_by_id_while_converting_also_from_a_table_with_a_sample_column(tmp_path: Path):
    cells = [f"cell {k}" for k in range(40)]
    table = metadata_of(tmp_path / "meta.csv", cells)
    path = write_csv(tmp_path / "a.csv")
    store = Store(convert([path], tmp_path / "a.zarr", ConvertSettings(training_metadata=str(table))))
    assert list(store.obs["kind"]) == [f"k{cell[-1]}" for cell in cells]
    lines = [f"{cell},{name},{name}{cell[-1]}\n" for name in ("a.csv", "b.csv") for cell in cells]
    both = write_text(tmp_path / "both.csv", "cell,sample,kind\n" + "".join(lines))
    paths = [path, write_csv(tmp_path / "b.csv")]
    store = Store(convert(paths, tmp_path / "b.zarr", ConvertSettings(training_metadata=str(both))))
    assert list(store.obs["kind"]) == [f"{name}{cell[-1]}" for name in ("a.csv", "b.csv") for cell in cells]


def test_labels_join_by_order_only_where_there_are_no_ids_and_the_lengths_agree(tmp_path: Path):
    table = write_text(tmp_path / "cells.csv", "\n".join(",".join(map(str, row)) for row in telling_counts()) + "\n")
    genes = write_text(tmp_path / "genes.txt", "\n".join(f"gene {k}" for k in range(12)) + "\n")
    labels = write_text(tmp_path / "labels.csv", "kind\n" + "".join(f"k{k}\n" for k in range(40)))
    given = ConvertSettings(input_genes=str(genes), training_metadata=str(labels))
    store = Store(convert([table], tmp_path / "a.zarr", given))
    assert list(store.obs["kind"]) == [f"k{k}" for k in range(40)]
    write_text(labels, "kind\nk0\n")
    with pytest.raises(DataError, match="the table has 1 rows, but there are 40 cells"):
        convert([table], tmp_path / "b.zarr", given)
    with pytest.raises(DataError, match="no column holds the ids"):
        convert([write_h5ad(tmp_path / "c.h5ad")], tmp_path / "c.zarr", ConvertSettings(training_metadata=str(labels)))


@pytest.mark.parametrize("profile", ["fast", "small", "archive"])
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in")  # when anndata opens it
def test_every_profile_holds_the_same_counts_and_anndata_opens_it(profile: Any, tmp_path: Path):
    path = write_h5ad(tmp_path / "a.h5ad")
    store = Store(convert([path], tmp_path / "a.zarr", ConvertSettings(profile=profile)))
    np.testing.assert_array_equal(counts_of(store), telling_counts())
    np.testing.assert_array_equal(dense(anndata.read_zarr(tmp_path / "a.zarr" / "dataset_0")), telling_counts())
    assert store.content_hash == Store(convert([path], tmp_path / "b.zarr")).content_hash


KILLED = """
import os, sys
import scnym.disk.{module} as module
from scnym import ConvertSettings, convert
import scnym.disk.dataset
scnym.disk.dataset.MAX_BLOCK_ELEMENTS = 40
original, calls = getattr(module.{name}, "{method}"), 0
def counting(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), 9)
    return original(*args, **kwargs)
setattr(module.{name}, "{method}", counting)
convert(sys.argv[3:], sys.argv[2], ConvertSettings(cluster_by="cell_type", training_metadata="meta.csv"))
"""
MOMENTS = {
    "in the middle of the parts": ("parts", "Parts", "add", 7),
    "in the second source": ("parts", "Parts", "add", 14),
    "while cells are grouped": ("external_sort", "RowArranger", "add_rows", 3),
    "while values are turned": ("external_sort", "RowArranger", "add_values", 2),
    "while shards are written": ("encode", "ShardWriter", "append", 9),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_the_same_call_completes_the_same_store(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    module, name, method, call = MOMENTS[moment]
    inputs = [str(write_h5ad(tmp_path / "a.h5ad")), str(as_csc(tmp_path / "b.h5ad"))]
    write_text(tmp_path / "meta.csv", "id,extra\n" + "".join(f"cell {k},x{k}\n" for k in range(40)))
    script = write_text(tmp_path / "run.py", KILLED.format(module=module, name=name, method=method))
    run = [sys.executable, str(script)]
    done = subprocess.run([*run, str(call), "a.zarr", *inputs], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not Path("a.zarr").exists()
    subprocess.run([*run, "-1", "a.zarr", *inputs], check=True)
    subprocess.run([*run, "-1", "b.zarr", *inputs], check=True)
    assert files_of(Path("a.zarr")) == files_of(Path("b.zarr"))
    assert not list(tmp_path.glob(".*"))


def test_what_was_finished_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scnym.disk.dataset.MAX_BLOCK_ELEMENTS", 40)
    good, bad = write_h5ad(tmp_path / "good.h5ad"), tmp_path / "bad.csv"
    write_text(bad, "cell,a,b\nc,1,-2\n")
    with pytest.raises(DataError, match="negative"):
        convert([good, bad], tmp_path / "all.zarr")
    write_text(bad, "cell,a,b\nc,1,2\n")
    read: list[Path] = []
    original = Input.open

    def watched(one: Input, *rest: Any) -> Any:
        source: Any = original(one, *rest)
        blocks = source.blocks
        monkeypatch.setattr(source, "blocks", lambda *args: (read.append(one.path), blocks(*args))[1])
        return source

    monkeypatch.setattr(Input, "open", watched)
    store = Store(convert([good, bad], tmp_path / "all.zarr"))
    assert read == [bad]
    assert store.n_cells == 41


def test_at_most_one_part_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scnym.disk.dataset.MAX_BLOCK_ELEMENTS", 40)
    path, added = write_h5ad(tmp_path / "a.h5ad"), []
    original = Parts.add

    def interrupted(self: Parts, *args: Any) -> None:
        if len(added) == 5:
            raise KeyboardInterrupt
        original(self, *args)
        added.append(args)

    monkeypatch.setattr(Parts, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert([path], tmp_path / "a.zarr")
    before = [list(cells) for _, cells, _ in added]
    monkeypatch.setattr(Parts, "add", lambda self, *args: (added.append(args), original(self, *args))[1])
    convert([path], tmp_path / "a.zarr")
    after = [list(cells) for _, cells, _ in added[5:]]
    assert [cell for part in before + after for cell in part] == [f"cell {k}" for k in range(40)]


@settings(max_examples=12, deadline=None)
@given(data=st.data(), n_cells=st.integers(1, 12), n_genes=st.integers(1, 9), kind=st.sampled_from([*WRITERS, *CSC]))
def test_any_counts_come_back_from_any_format(tmp_path_factory, data, n_cells, n_genes, kind):
    values = st.lists(st.sampled_from([0, 0, 0, 1, 2, 255, 256, 70_000]), min_size=n_cells, max_size=n_cells)
    counts = np.array(data.draw(st.lists(values, min_size=n_genes, max_size=n_genes))).T
    adata, folder = telling_adata(n_cells, n_genes), tmp_path_factory.mktemp("any")
    adata.X = (sparse.csc_matrix if kind in CSC else sparse.csr_matrix)(counts.astype(np.float32))
    write = write_h5ad if kind in CSC else WRITERS[kind]
    store = Store(convert([write(folder / f"a.{kind}", adata)], folder / "a.zarr"))
    np.testing.assert_array_equal(counts_of(store), counts)
    assert list(store.obs.index) == list(adata.obs_names)
    if "cell_type" in store.obs:
        assert list(store.obs["cell_type"]) == list(adata.obs["cell_type"])


def test_an_input_that_changed_meanwhile_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_h5ad(tmp_path / "a.h5ad")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scnym.disk.dataset.write_csr", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert([path], tmp_path / "a.zarr")
    assert (tmp_path / ".a.zarr.partial").exists()
    write_h5ad(path, telling_adata(7))
    assert Store(convert([path], tmp_path / "a.zarr")).n_cells == 7
    assert not (tmp_path / ".a.zarr.partial").exists()


def test_two_converters_on_one_target_do_not_spoil_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, target = write_h5ad(tmp_path / "a.h5ad"), tmp_path / "a.zarr"
    writing, go_on = threading.Event(), threading.Event()
    from scnym.disk import dataset

    original = dataset.write_csr

    def slow(*args: Any, **kwargs: Any) -> str:
        writing.set()
        go_on.wait(30)
        return original(*args, **kwargs)

    monkeypatch.setattr(dataset, "write_csr", slow)
    first = threading.Thread(target=convert, args=([path], target))
    first.start()
    assert writing.wait(30)
    with pytest.raises(OutputExistsError, match="another process is writing it"):
        convert([path], target)
    go_on.set()
    first.join()
    np.testing.assert_array_equal(counts_of(Store(target)), telling_counts())


@pytest.mark.slow
def test_killed_at_random_moments_it_still_ends_in_the_same_store(tmp_path: Path):
    path = write_h5ad(tmp_path / "a.h5ad", telling_adata(3000, 300))
    code = (
        "import sys, scnym.disk.dataset as i; i.MAX_BLOCK_ELEMENTS = 20_000; from scnym import convert;"
        "print('begin', flush=True); convert([sys.argv[1]], sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run([*command, str(tmp_path / "whole.zarr")], check=True, stdout=subprocess.DEVNULL)
    random = np.random.default_rng(0)
    for _ in range(6):
        with subprocess.Popen([*command, str(tmp_path / "a.zarr")], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(random.uniform(0.05, 1.5)))
            os.kill(process.pid, signal.SIGKILL)
        if (tmp_path / "a.zarr").exists():
            break
    else:
        subprocess.run([*command, str(tmp_path / "a.zarr")], check=True, stdout=subprocess.DEVNULL)
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "whole.zarr")
