"""A store that is not what it was is found out, and the cells that are lost are named."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers import clustered_adata, write_h5ad

import scnym.base.schema
from scnym import Store, convert, verify
from scnym.base.errors import FormatError, MissingInputError
from scnym.base.schema import HASHES_FILE
from scnym.disk.manifest import SMALL_BYTES, file_hashes


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose counts lie in several shards of several chunks."""
    monkeypatch.setattr(scnym.base.schema, "MIN_CHUNK_ELEMENTS", 1024)
    monkeypatch.setattr(scnym.base.schema, "CHUNK_ROWS", 16)
    monkeypatch.setattr(scnym.base.schema, "MAX_SHARD_BYTES", 8192)
    return convert([write_h5ad(tmp_path / "a.h5ad", clustered_adata(2000, 60))], tmp_path / "a.zarr")


def data_files(store: Path) -> list[Path]:
    return sorted((store / "dataset_0/X/data/c").iterdir(), key=lambda path: int(path.name))


def test_a_store_that_was_not_touched_is_whole(store: Path):
    report = verify(store)
    assert report.n_cells == 2000
    assert report.n_files == len([path for path in store.rglob("*") if path.is_file()]) - 1
    assert not report.faults
    report.require_whole()


def test_files_of_any_size_are_hashed_in_the_order_of_their_names(tmp_path: Path):
    contents = {str(k): bytes([k]) * (2 * SMALL_BYTES if k % 2 else 9) for k in range(7)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert list(file_hashes(tmp_path, list(contents)).items()) == list(expected.items())


def test_the_description_of_a_store_is_read_once_however_many_sources_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = convert([write_h5ad(tmp_path / f"{k}.h5ad") for k in range(3)], tmp_path / "cells.zarr")
    opened, open_group = [], zarr.open_group
    monkeypatch.setattr(zarr, "open_group", lambda *given, **named: opened.append(given) or open_group(*given, **named))
    store = Store(path)
    assert (store.n_cells, len(store.obs), len(opened)) == (120, 120, 1)
    assert pickle.loads(pickle.dumps(store.datasets[2])).n_cells == 40  # noqa: S301 - as workers are handed it


@pytest.mark.slow
def test_any_of_1000_flipped_bytes_of_any_file_is_found(tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "small.h5ad")], tmp_path / "small.zarr")
    random = np.random.default_rng(0)
    files = [path for path in store.rglob("*") if path.is_file()]
    for _ in range(1000):
        path = files[random.integers(len(files))]
        content = path.read_bytes()
        at = int(random.integers(len(content)))
        flipped = bytes([content[at] ^ (1 << int(random.integers(8)))])
        path.write_bytes(content[:at] + flipped + content[at + 1 :])
        try:
            faults = [fault.file for fault in verify(store).faults]
        except FormatError as fault:
            faults = [Path(fault.where or "").relative_to(store).as_posix()]
        assert faults == [path.relative_to(store).as_posix()]
        path.write_bytes(content)


def test_a_flipped_byte_loses_the_cells_of_one_chunk(store: Path):
    dataset: Any = Store(store).datasets[0]
    shard, chunk = dataset._array("data").shards[0], dataset._array("data").chunks[0]
    assert shard > 2 * chunk
    path = data_files(store)[1]
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    (lost,) = verify(store).lost
    indptr = dataset.indptr_C1
    assert indptr[lost.first] <= shard < indptr[lost.first + 1]
    assert indptr[lost.last] < shard + chunk <= indptr[lost.last + 1]


@pytest.mark.parametrize("cut", ["missing", "truncated"])
def test_a_lost_shard_loses_all_cells_in_it(store: Path, cut: str):
    files = data_files(store)
    dataset: Any = Store(store).datasets[0]
    shard, indptr = dataset._array("data").shards[0], dataset.indptr_C1
    files[1].unlink() if cut == "missing" else files[1].write_bytes(files[1].read_bytes()[:-100])
    report = verify(store)
    assert report.faults[0].what == ("is missing" if cut == "missing" else "has changed")
    (lost,) = report.lost
    assert (lost.first, lost.last) == (
        np.searchsorted(indptr, shard, side="right") - 1,
        np.searchsorted(indptr, 2 * shard, side="left") - 1,
    )
    with pytest.raises(FormatError, match=f"{report.n_lost_cells} of 2,000 cells are lost"):
        report.require_whole()


def test_damage_to_what_belongs_to_all_cells_loses_them_all(store: Path):
    path = next((store / "dataset_0/obs/cell_type").rglob("0"))
    path.write_bytes(b"x")
    (lost,) = verify(store).lost
    assert (lost.first, lost.last, lost.what) == (0, 1999, "annotations")


@pytest.mark.parametrize("lost", ["indptr", "dataset"])
def test_lost_row_pointers_or_a_whole_dataset_lose_all_cells(lost: str, store: Path):
    if lost == "indptr":
        next((store / "dataset_0/X/indptr").rglob("0")).write_bytes(b"x")
    else:
        shutil.rmtree(store / "dataset_0")
    report = verify(store)
    assert report.n_cells == report.n_lost_cells == 2000


def test_damage_to_several_chunks_is_told_once_per_stretch(store: Path):
    for path in data_files(store)[1:3]:
        path.unlink()
    assert len(verify(store).lost) == 1


def test_what_cannot_be_verified_is_refused(store: Path, tmp_path: Path):
    with pytest.raises(MissingInputError):
        verify(tmp_path / "none.zarr")
    with pytest.raises(FormatError, match="not a Zarr store"):
        verify(tmp_path)
    listed = json.loads((store / HASHES_FILE).read_text())
    listed["files"].popitem()
    (store / HASHES_FILE).write_text(json.dumps(listed))
    with pytest.raises(FormatError, match="list of hashes is damaged"):
        verify(store)
