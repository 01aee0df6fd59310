"""Each compressed chunk of a file is decoded once, or refused if the memory cap has no room for it."""

import io
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from helpers import telling_counts, write_loom
from scipy import sparse

from scnym import ConvertSettings
from scnym.base.errors import SettingsError
from scnym.disk.formats.detect import open_source

N_CELLS, N_GENES = 600, 500
FORMS: dict[str, Any] = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray, "loom": np.asarray}


def in_chunks_of(n_elements: int | None, form: str, counts: np.ndarray, folder: Path) -> Path:
    """A file whose counts stand in compressed chunks, of so many values or, None, all in one."""
    path, adata = folder / ("a.loom" if form == "loom" else "a.h5ad"), anndata.AnnData(FORMS[form](counts))
    write_loom(path, adata) if form == "loom" else adata.write_h5ad(path)
    with h5py.File(path, "a") as opened:
        file: Any = opened
        for name in {"loom": ["matrix"], "dense": ["X"]}.get(form, ["X/data", "X/indices"]):
            values, attributes = file[name][()], dict(file[name].attrs)
            del file[name]
            chunks = values.shape if n_elements is None else (n_elements, *([1] * (values.ndim - 1)))
            how = {"chunks": chunks, "maxshape": (None,) * values.ndim, "compression": "gzip"}
            file.create_dataset(name, data=values, **how).attrs.update(attributes)
    return path


class CountingFile(io.FileIO):
    n_read = 0

    def readinto(self, buffer: Any) -> int:
        n = super().readinto(buffer)
        CountingFile.n_read += n or 0
        return n or 0


@pytest.mark.parametrize("form", FORMS)
def test_one_huge_chunk_is_read_once_however_small_the_blocks(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counts = np.random.default_rng(0).random((N_CELLS, N_GENES))  # which hardly compress
    path = in_chunks_of(None, form, counts, tmp_path)
    source: Any = open_source(path, ConvertSettings())
    original = h5py.File
    with CountingFile(path) as counting:
        CountingFile.n_read = 0
        monkeypatch.setattr(h5py, "File", lambda _, **how: original(counting, **how))
        pieces = list(source.slabs(20_000) if form == "csc" else source.blocks(20_000))
    assert len(pieces) >= 15
    assert CountingFile.n_read < 1.5 * path.stat().st_size


@pytest.mark.parametrize("form", FORMS)
def test_a_chunk_above_the_cap_is_refused_and_the_memory_it_needs_is_enough(form: str, tmp_path: Path):
    path = in_chunks_of(10**7, form, telling_counts(4, 3).astype(float), tmp_path)
    with pytest.raises(SettingsError, match=r"compressed chunks of \d+ MB.*--max_memory \d+MB") as caught:
        open_source(path, ConvertSettings(max_memory_bytes=10**8))
    enough = int(caught.value.way_out.partition("--max_memory ")[2].partition("MB")[0])
    source: Any = open_source(path, ConvertSettings(max_memory_bytes=enough * 10**6))
    if form != "csc":
        (block,) = source.blocks(100)
        np.testing.assert_array_equal(block.counts_CG.toarray(), telling_counts(4, 3))
