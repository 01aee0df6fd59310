"""Rows come back as they were stored, whichever are asked for, and no chunk is decoded twice."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st

import scnym.disk.rows
from scnym.disk.encode import rust_codecs
from scnym.disk.rows import RowReader

N_ROWS, CHUNK, SHARD = 120, 16, 64
LENGTHS = np.random.default_rng(0).integers(0, 9, N_ROWS) * (np.arange(N_ROWS) % 7 > 0)
INDPTR = np.concatenate([[0], np.cumsum(LENGTHS)])


@cache
def reader(folder: Path) -> RowReader:
    group = zarr.create_group(folder / "matrix.zarr", overwrite=True)
    places = np.arange(int(INDPTR[-1]))
    with rust_codecs():
        indices = group.create_array("indices", data=places.astype(np.uint16), chunks=(CHUNK,), shards=(SHARD,))
        values = group.create_array("data", data=(places + 7).astype(np.uint32), chunks=(CHUNK,), shards=(SHARD,))
    return RowReader(INDPTR, indices, values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@example(wanted={24, 29, 87, 90}, most=1, most_runs=1)
@given(
    wanted=st.sets(st.integers(0, N_ROWS - 1)),
    most=st.sampled_from([1, 40, 2**21]),
    most_runs=st.sampled_from([1, 3, 4096]),
)
def test_any_rows_come_back_as_stored_with_every_chunk_decoded_once(
    folder: Path, wanted: set[int], most: int, most_runs: int
):
    rows = np.array(sorted(wanted), np.int64)
    decoded: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scnym.disk.rows, "REQUEST_ELEMENTS", most)
        patch.setattr(scnym.disk.rows, "REQUEST_RUNS", most_runs)
        reader.cache_clear()
        matrix = reader(folder)
        original, picking = scnym.disk.rows._RunDecoder.decode, RowReader._fetch_and_pick
        has_gaps = False

        def pick(self, request, outs):
            nonlocal has_gaps
            has_gaps = True
            picking(self, request, outs)

        async def spy(self, runs, out):
            assert all(end - begin <= max(most, CHUNK) for begin, end, _ in runs)
            assert has_gaps or len(runs) <= most_runs
            decoded.extend(chunk for begin, end, _ in runs for chunk in range(begin // CHUNK, (end - 1) // CHUNK + 1))
            await original(self, runs, out)

        patch.setattr(scnym.disk.rows._RunDecoder, "decode", spy)
        patch.setattr(RowReader, "_fetch_and_pick", pick)
        found = matrix.read(rows, np.empty)
    places = np.flatnonzero(np.repeat(np.isin(np.arange(N_ROWS), rows), LENGTHS))
    np.testing.assert_array_equal(found.indices_N, places)
    np.testing.assert_array_equal(found.values_N, places + 7)
    np.testing.assert_array_equal(np.diff(found.indptr_C1), LENGTHS[rows])
    assert (np.bincount(decoded) <= 2).all()  # once for the genes, once for the values
    ends = [min((chunk + 1) * CHUNK, int(INDPTR[-1])) for chunk in set(decoded)]
    assert matrix.n_decoded(rows) == sum(ends) - CHUNK * sum(set(decoded))


def test_rows_are_decoded_into_the_memory_that_is_given(folder: Path):
    memory = {np.dtype(np.uint16): np.zeros(1000, np.uint16), np.dtype(np.uint32): np.zeros(1000, np.uint32)}
    rows = np.array([3, 4, 50, 119])
    found = reader(folder).read(rows, lambda n, dtype: memory[dtype][:n])
    assert np.shares_memory(found.indices_N, memory[np.dtype(np.uint16)])
    assert np.shares_memory(found.values_N, memory[np.dtype(np.uint32)])
    assert len(found.values_N) == LENGTHS[rows].sum()
