"""Loom files are read by whole chunks."""

from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pytest
from helpers import telling_counts, write_loom

from scnym.disk.formats.loom import LoomSource


class CountingDataset:
    """Notes which columns are read."""

    def __init__(self, dataset: h5py.Dataset, reads: list[range]) -> None:
        self._dataset = dataset
        self._reads = reads

    def __getattr__(self, name: str) -> object:
        return getattr(self._dataset, name)

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        self._reads.append(range(*key[1].indices(self._dataset.shape[1])))
        return self._dataset[key]


def chunked_loom(path: Path, chunks: tuple[int, int] | None) -> Path:
    write_loom(path)
    with h5py.File(path, "a") as file:
        del file["matrix"]
        file.create_dataset("matrix", data=telling_counts().T, chunks=chunks)
    return path


@pytest.mark.parametrize("chunks", [(4, 8), (12, 40), (5, 7), (1, 40), None])
@pytest.mark.parametrize("max_elements", [1, 50, 100, 200, 10**6])
def test_blocks_hold_every_cell_once_and_reading_goes_on_at_any_cell(
    chunks: tuple[int, int] | None, max_elements: int, tmp_path: Path
):
    source = LoomSource(chunked_loom(tmp_path / "x.loom", chunks))
    whole = list(source.blocks(max_elements))
    np.testing.assert_array_equal(np.vstack([block.counts_CG.toarray() for block in whole]), telling_counts())
    first_cell = 0
    for number, block in enumerate(whole):
        assert block.counts_CG.shape[0] * 12 <= max(12, max_elements)
        rest = list(source.blocks(max_elements, first_cell))
        assert [list(b.cells) for b in rest] == [list(b.cells) for b in whole[number:]]
        first_cell += len(block.cells)
    assert [cell for b in source.blocks(max_elements, 7) for cell in b.cells] == [f"cell {k}" for k in range(7, 40)]


@pytest.mark.parametrize("max_elements", [60, 100, 200, 10**6])
def test_every_chunk_is_decoded_once(max_elements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = LoomSource(chunked_loom(tmp_path / "x.loom", (4, 8)))
    reads: list[range] = []
    get = h5py.File.__getitem__
    monkeypatch.setattr(
        h5py.File,
        "__getitem__",
        lambda file, name: (
            CountingDataset(cast("h5py.Dataset", get(file, name)), reads) if name == "matrix" else get(file, name)
        ),
    )
    list(source.blocks(max_elements))
    chunks = [column // 8 for columns in reads for column in columns[::8]]
    assert [columns.start % 8 for columns in reads] == [0] * len(reads)
    assert chunks == sorted(set(chunks)) == list(range(5))
