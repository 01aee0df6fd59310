"""Damaged files are refused in scnym's own words, or read; nothing else comes out. `make fuzz` does it at length."""

import json
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import anndata
import h5py
import pytest
import torch
import zarr
from fuzz.mutations import damaged
from fuzz.readings import read_model, read_source, read_store
from fuzz.seeds import FEW, write_10x_folder, write_10x_h5, write_model
from fuzz.targets import TARGETS, attempt
from helpers import write_h5ad, write_loom, write_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scnym import convert, open_store
from scnym.base.errors import DataError, FormatError
from scnym.base.settings import ConvertSettings
from scnym.model.snapshot import read_weights
from scnym.runs.checkpoints import UNFINISHED, Checkpoints

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_of_a_damaged_file_nothing_but_our_own_errors_come_out(name: str, tmp_path: Path):
    execute = TARGETS[name].prepare(tmp_path)

    @settings(
        max_examples=80,
        derandomize=True,
        database=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(st.randoms(use_true_random=False))
    def check(random: Random) -> None:
        attempt(execute, random)

    check()


def test_a_cells_line_that_is_no_utf8_is_named(tmp_path: Path):
    path = tmp_path / "cells.csv"
    path.write_bytes(b"cell,a,b\nx,1,2\ny,\xff,3\n")
    with pytest.raises(FormatError, match=r"cells.csv, line 3: .*decode byte 0xff"):
        convert([path], tmp_path / "cells.zarr")


def test_a_seed_is_read_before_it_is_damaged(tmp_path: Path):
    read_source(write_h5ad(tmp_path / "cells.h5ad", FEW))
    read_source(write_loom(tmp_path / "cells.loom", FEW))
    read_source(write_10x_h5(tmp_path / "cells.h5"))
    read_source(write_10x_folder(tmp_path / "sample"))
    read_store(convert([tmp_path / "cells.h5ad"], tmp_path / "cells.zarr"))
    read_model(write_model(tmp_path / "run/model.safetensors"))


def test_the_same_number_damages_in_the_same_way():
    assert damaged(Random(7), b"cell,a\nx,1\n" * 9) == damaged(Random(7), b"cell,a\nx,1\n" * 9)
    assert len({damaged(Random(number), b"cell,a\nx,1\n" * 9) for number in range(50)}) > 40


def test_a_count_of_two_to_the_32_in_single_precision_is_named(tmp_path: Path):
    adata = FEW.copy()
    counts: Any = adata.X
    counts.data[0] = 2**32
    with pytest.raises(DataError, match=r"value 4.29497e\+09 is above 4,294,967,295"):
        convert([write_h5ad(tmp_path / "cells.h5ad", adata)], tmp_path / "cells.zarr")


def test_features_without_a_line_are_refused(tmp_path: Path):
    folder = write_10x_folder(tmp_path / "sample")
    write_text(folder / "features.tsv", "\n")
    with pytest.raises(DataError, match=r"features.tsv: it names no gene"):
        convert([folder], tmp_path / "cells.zarr")


@pytest.mark.parametrize("header", [b"{'shape': (3, 2", b"{'shape' (3, 2)}"])
def test_an_array_header_without_end_is_refused(header: bytes, tmp_path: Path):
    path, genes = tmp_path / "cells.npy", write_text(tmp_path / "genes.txt", "a\nb\n")
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(FormatError, match="not an array of numbers, or a damaged one"):
        convert([path], tmp_path / "cells.zarr", ConvertSettings(input_genes=str(genes)))


def test_a_heap_of_texts_that_hdf5_would_read_for_ever_is_refused(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", FEW)
    content = bytearray(path.read_bytes())
    first_object = content.index(b"GCOL") + 16
    content[first_object : first_object + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="a heap of texts is damaged"):
        convert([path], tmp_path / "cells.zarr")


def test_a_heap_of_texts_that_hdf5_would_take_gigabytes_for_is_refused(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", FEW)
    content = bytearray(path.read_bytes())
    length = content.index(b"GCOL") + 8
    content[length : length + 8] = (2 * 10**9).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(FormatError, match="a heap of texts is damaged"):
        convert([path], tmp_path / "cells.zarr")


@pytest.mark.parametrize("chunks", [None, (3,)])
def test_a_text_that_is_said_to_be_longer_than_its_file_is_refused(chunks: tuple[int, ...] | None, tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", FEW)
    with h5py.File(path, "r+") as file:
        old: Any = file["var/_index"]
        names, attributes = old[()], dict(old.attrs)
        del file["var/_index"]
        new = file.create_dataset("var/_index", data=names, chunks=chunks)
        new.attrs.update(attributes)
        place: Any = new.id
        begin = place.get_offset() if chunks is None else place.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + 4] = (7 * 10**8).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a text of var/_index is said to hold 700,000,000 bytes"):
        convert([path], tmp_path / "cells.zarr")


def test_names_of_a_version_that_anndata_does_not_know_are_read_as_the_text_they_are(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad", FEW)
    with h5py.File(path, "r+") as file:
        file["obs/_index"].attrs["encoding-version"] = "9.9"
    store = open_store(convert([path], tmp_path / "cells.zarr"))
    assert list(store.cell_ids) == list(FEW.obs_names)


@pytest.mark.parametrize("wrong", [7, {"dataset_0": 3}, {"dataset_0/X/data": {"node_type": "array"}}])
def test_a_store_whose_metadata_is_of_another_kind_is_refused(wrong: object, tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "cells.h5ad", FEW)], tmp_path / "cells.zarr")
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["consolidated_metadata"]["metadata"] = wrong
    (store / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(FormatError, match=r"not a Zarr store|description is damaged"):
        open_store(store)


@pytest.mark.parametrize("array", ["data", "indices"])
def test_a_chunk_length_of_zero_is_refused(array: str, tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "cells.h5ad", FEW)], tmp_path / "cells.zarr")
    metadata = json.loads((store / "zarr.json").read_text())
    one = metadata["consolidated_metadata"]["metadata"][f"dataset_0/X/{array}"]
    one["chunk_grid"]["configuration"]["chunk_shape"] = [0]
    (store / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(FormatError, match=r"not a Zarr store|description is damaged|pieces"):
        open_store(store)


def test_row_pointers_that_do_not_ascend_are_refused(tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "cells.h5ad", FEW)], tmp_path / "cells.zarr")
    indptr: Any = zarr.open_array(store, path="dataset_0/X/indptr", mode="r+")
    indptr[2] = indptr[-1] + 1
    with pytest.raises(FormatError, match="indptr does not match 6 rows"):
        _ = open_store(store).datasets[0].n_cells


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_type_that_hdf5_would_crash_on_is_refused(number: int, tmp_path: Path):
    path = with_unknown_type(tmp_path, number)
    with pytest.raises(FormatError, match="values of no known type"):
        convert([path], tmp_path / "cells.zarr")


def test_a_part_that_is_not_needed_with_a_type_that_hdf5_would_crash_on_refuses_no_file(tmp_path: Path):
    store = open_store(convert([with_unknown_type(tmp_path, 2)], tmp_path / "cells.zarr"))
    assert list(store.cell_ids) == list(FEW.obs_names)


def with_unknown_type(tmp_path: Path, number: int) -> Path:
    """Write an h5ad of which one text has a type that HDF5 does not know; it ends the process that reads the text."""
    text_type = b"\x19\x01\x01\x00\x10\x00\x00\x00"  # of variable length (class 9, version 1), a text, in UTF-8
    path = write_h5ad(tmp_path / "cells.h5ad", FEW)
    before = path.read_bytes().split(text_type)
    assert len(before) > 20
    parts = [text_type.join(before[: number * 6 + 1]), text_type.join(before[number * 6 + 1 :])]
    path.write_bytes((text_type[:1] + b"\x2c" + text_type[2:]).join(parts))
    return path


@pytest.mark.parametrize("array", ["X/data", "var/_index"])
def test_a_chunk_that_claims_gigabytes_is_refused_before_memory_is_taken_for_it(array: str, tmp_path: Path):
    folder = tmp_path / "cells.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AnnData says which format it will write one day
        with anndata.settings.override(zarr_write_format=2):
            FEW.write_zarr(folder)
    chunk = folder / array / "0"
    content = bytearray(chunk.read_bytes())
    content[4:8] = (2**31 - 17).to_bytes(4, "little")
    chunk.write_bytes(content)
    with pytest.raises(FormatError, match=rf"chunk {array}/0 is damaged, or claims more than it has"):
        convert([folder], tmp_path / "store.zarr")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path):
    torch.save([1, 2], tmp_path / f"fold00{UNFINISHED}")
    with pytest.raises(FormatError, match="a damaged checkpoint; nothing in it was executed"):
        Checkpoints(tmp_path).unfinished("fold00")


@pytest.mark.parametrize("instructions", [b"\x80\x02K\x01Q.", b"\x80\x02J\x01"], ids=["no storage", "cut off"])
def test_what_torch_itself_does_not_expect_in_a_file_is_refused(instructions: bytes, tmp_path: Path):
    path = tmp_path / f"fold00{UNFINISHED}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", instructions)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    with pytest.raises((AssertionError, struct.error)):  # else this is no test
        torch.load(path, weights_only=True)
    with pytest.raises(FormatError, match="a damaged checkpoint"):
        Checkpoints(tmp_path).unfinished("fold00")
    with pytest.raises(FormatError, match="not a file of plain weights"):
        read_weights(path)
