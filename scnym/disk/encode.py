"""Arrays written to Zarr shard by shard, through the Rust codec pipeline, in bounded memory.

Every chunk carries a checksum (CRC-32C), which costs nothing that could be measured: of a damaged shard, all but the
damaged chunks are known to be intact (`scnym.disk.verify`). Where Zarr has no public name for its codecs, `zarr.core`
is used here and nowhere else; it was stable from 3.1 to 3.4, and `tests/test_versions.py` says what to do when it
moves.

Texts are decoded only if a chunk is long enough for as many of them as it claims: zarr and numcodecs make room for all
of them first, 32 GB for a damaged chunk of a few bytes.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from numcodecs.compat import ensure_contiguous_ndarray
from numcodecs.registry import register_codec as register_numcodec
from numcodecs.vlen import VLenUTF8
from zarr import codecs
from zarr.buffer import default_buffer_prototype
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.sync import sync
from zarr.errors import UnstableSpecificationWarning
from zarr.registry import get_pipeline_class, register_codec

from scnym.base.schema import chunk_elements, index_dtype, shard_elements
from scnym.base.settings import Profile
from scnym.disk.location import Location
from scnym.disk.parts import Part

__all__ = ["OWN_PIPELINE", "own_codecs", "spec_of", "sync"]

OWN_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""Name of the pipeline that Zarr takes by default, in its settings."""


def spec_of(array: zarr.Array, n_elements: int) -> ArraySpec:
    """Return what codecs are to know of a chunk, or a shard, of so many elements of an array of one dimension."""
    metadata: Any = array.metadata
    return ArraySpec(
        shape=(n_elements,),
        dtype=metadata.data_type,
        fill_value=metadata.fill_value,
        config=array.async_array.config,
        prototype=default_buffer_prototype(),
    )


def own_codecs(codecs: Any, spec: ArraySpec) -> Any:
    """Return Zarr's own pipeline of some codecs."""
    with zarr.config.set({"codec_pipeline.path": OWN_PIPELINE}):
        return get_pipeline_class().from_codecs([codec.evolve_from_array_spec(spec) for codec in codecs])


CODEC_ID = "vlen-utf8"
COUNT_BYTES = 4
"""How many texts follow, in front of a chunk; and the length of each, in front of it."""


class CheckedVLenUTF8(VLenUTF8):
    """The codec of format 2."""

    codec_id = CODEC_ID

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; ValueError if it cannot hold what it claims."""
        require_plausible(buf)
        return super().decode(buf, out)


class VLenUTF8Codec(codecs.VLenUTF8Codec):
    """The codec of format 3; Zarr wants it to have this name."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        require_plausible(chunk_bytes.as_array_like())
        return super()._decode_sync(chunk_bytes, chunk_spec)

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        require_plausible(chunk_bytes.as_array_like())
        return await super()._decode_single(chunk_bytes, chunk_spec)


def require_plausible(chunk: Any) -> None:
    """Refuse a chunk that is shorter than the lengths of its texts alone.

    Raises
    ------
    ValueError
        With both.
    """
    content = ensure_contiguous_ndarray(chunk).view(np.uint8)
    n_texts = int.from_bytes(content[:COUNT_BYTES].tobytes(), "little")
    if len(content) < COUNT_BYTES * (1 + n_texts):
        raise ValueError(f"a chunk of {len(content):,} bytes is said to hold {n_texts:,} texts")


register_numcodec(CheckedVLenUTF8)
register_codec(CODEC_ID, VLenUTF8Codec)
CHECKED_TEXT = {f"codecs.{CODEC_ID}": f"{__name__}.{VLenUTF8Codec.__name__}"}
"""What makes Zarr take it."""


CODEC_PIPELINE = "zarrs.ZarrsCodecPipeline"
SHARDS_IN_MEMORY = 16
"""Share of the memory that one shard may take: values, indices, their encoded forms, and the blocks beside them."""
INDPTR_CHUNK = 2**20
Kind = Literal["values", "indices"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an array is compressed."""

    codecs: dict[str, Any]
    """Keywords of `zarr.create_array`."""
    min_itemsize: int = 1
    """Smallest values that the codec takes, in bytes."""


def encoding_of(profile: Profile, kind: Kind) -> Encoding:
    """Return the codecs of a profile; ``benchmarks/results/convert.md`` has their sizes and speeds."""
    if profile == "fast":
        level, shuffle = (5, "bitshuffle") if kind == "values" else (3, "shuffle")
        return Encoding(_checked(BloscCodec(cname="lz4", clevel=level, shuffle=shuffle)))  # type: ignore[arg-type]
    if profile == "small":
        zstd = ZstdCodec(level=3) if kind == "values" else BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")
        return Encoding(_checked(zstd))
    from zarr.codecs.numcodecs import PCodec

    with rust_codecs():
        return Encoding({"serializer": PCodec(level=8), **_checked()}, min_itemsize=2)


def _checked(*compressors: Any) -> dict[str, Any]:
    return {"compressors": [*compressors, Crc32cCodec()]}


@contextmanager
def rust_codecs(*, in_order: bool = False) -> Iterator[None]:
    """Arrays opened or made inside keep the Rust codec pipeline (5-9 times faster) for good.

    With `in_order` chunks are encoded by one thread, so that they stand in a shard in their order: several threads
    append each as it is done, and no two conversions would give the same bytes.
    """
    import zarrs  # noqa: F401 - registers the pipeline

    threads = {"threading.max_workers": 1} if in_order else {}
    with zarr.config.set({"codec_pipeline.path": CODEC_PIPELINE, **threads}), _without_remarks():
        yield


@contextmanager
def codecs_for(place: Location) -> Iterator[None]:
    """Arrays opened inside are decoded by what suits the place; why not by Rust always, `scnym.disk.rows` says."""
    with rust_codecs() if isinstance(place, Path) else _without_remarks(), zarr.config.set(CHECKED_TEXT):
        yield


@contextmanager
def _without_remarks() -> Iterator[None]:
    with warnings.catch_warnings():
        # Zarr warns that PCodec is not in its specification; the Rust pipeline and zarr-python both read it.
        warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3")
        # AnnData stores texts and structured arrays in forms that have no final specification; those that the Rust
        # pipeline does not know are read by zarr-python.
        warnings.filterwarnings("ignore", category=UnstableSpecificationWarning)
        warnings.filterwarnings("ignore", message="Array is unsupported by ZarrsCodecPipeline")
        yield


class ShardWriter:
    """Appends to a one-dimensional array; whole shards go to disk, the rest waits in memory.

    Parameters
    ----------
    group, name
        Where the array is made.
    n_elements
        Its final length.
    elements_per_row
        Mean number of stored values per cell, which decides the chunk length.
    dtype, encoding
        What is stored, and how it is compressed.
    never_stored
        A value that no element has. A chunk of nothing but this value would not be written, so every chunk is, and
        one that is not there is known to be lost.
    max_shard_bytes
        Most memory that a shard may take before compression, in bytes.
    n_written
        Elements that an earlier, interrupted run has written: whole shards. They are appended all the same, and left
        as they are.
    """

    def __init__(
        self,
        group: zarr.Group,
        name: str,
        *,
        n_elements: int,
        elements_per_row: float,
        dtype: np.dtype,
        encoding: Encoding,
        never_stored: int,
        max_shard_bytes: int,
        n_written: int = 0,
    ) -> None:
        chunk = chunk_elements(elements_per_row)
        shard = shard_elements(n_elements, chunk, max_shard_bytes, dtype.itemsize)
        self.n_written = n_written
        with rust_codecs(in_order=True):
            self._array: Any = (
                group[name]
                if n_written
                else group.create_array(
                    name,
                    shape=(n_elements,),
                    dtype=dtype,
                    chunks=(chunk,),
                    shards=(shard,),
                    fill_value=never_stored,
                    overwrite=True,
                    **encoding.codecs,
                )
            )
        self._buffer = np.empty(shard, dtype)
        self._in_buffer = 0
        self._to_skip = n_written

    def append(self, elements: np.ndarray) -> None:
        """Add elements; they are cast to the array's dtype."""
        start = min(self._to_skip, len(elements))
        self._to_skip -= start
        while start < len(elements):
            room = len(self._buffer) - self._in_buffer
            piece = elements[start : start + room]
            self._buffer[self._in_buffer : self._in_buffer + len(piece)] = piece
            self._in_buffer += len(piece)
            start += len(piece)
            if self._in_buffer == len(self._buffer):
                self._flush()

    def close(self) -> None:
        """Write what waits, and let its memory go, which the closing of another may need."""
        if self._in_buffer:
            self._flush()
        self._buffer = self._buffer[:0].copy()

    def _flush(self) -> None:
        stop = self.n_written + self._in_buffer
        self._array[self.n_written : stop] = self._buffer[: self._in_buffer]
        self.n_written, self._in_buffer = stop, 0


def write_csr(
    group: zarr.Group,
    parts: Iterable[Part],
    row_lengths_C: np.ndarray,
    *,
    n_genes: int,
    values_dtype: np.dtype,
    profile: Profile,
    max_memory_bytes: int,
    journal: Path,
) -> str:
    """Write the counts of a dataset as CSR.

    Parameters
    ----------
    group
        The dataset; X is made in it.
    parts
        All cells, in order.
    row_lengths_C
        Stored values of every cell, in the same order.
    n_genes
        Number of genes.
    values_dtype
        Smallest dtype that holds every value exactly.
    profile
        How the counts are compressed.
    max_memory_bytes
        Most memory that shards and blocks may take together, in bytes.
    journal
        File that says how far the writing is; an interrupted run goes on after the last whole shard.

    Returns
    -------
    str
        SHA-256 of values, indices and indptr, which depends on the counts alone.
    """
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(row_lengths_C, dtype=np.int64)])
    written: dict[str, int] = json.loads(journal.read_text()) if journal.exists() else {}
    if not written:
        shape = [len(row_lengths_C), n_genes]
        attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape}
        group.create_group("X", attributes=attributes, overwrite=True)
    matrix = cast("zarr.Group", group["X"])
    shared: dict[str, Any] = {
        "n_elements": int(indptr[-1]),
        "elements_per_row": int(indptr[-1]) / len(row_lengths_C),
        "max_shard_bytes": max_memory_bytes // SHARDS_IN_MEMORY,
    }
    encodings = {kind: encoding_of(profile, kind) for kind in ("values", "indices")}
    stored_dtype = _at_least(values_dtype, encodings["values"].min_itemsize)
    genes_dtype = index_dtype(n_genes)
    writers = {
        "data": ShardWriter(
            matrix,
            "data",
            dtype=stored_dtype,
            encoding=encodings["values"],
            never_stored=0,
            n_written=written.get("data", 0),
            **shared,
        ),
        "indices": ShardWriter(
            matrix,
            "indices",
            dtype=genes_dtype,
            encoding=encodings["indices"],
            never_stored=int(np.iinfo(genes_dtype).max),
            n_written=written.get("indices", 0),
            **shared,
        ),
    }
    content_hash = _append_all(writers, parts, (values_dtype, genes_dtype), journal)
    _close(writers)
    matrix.create_array("indptr", data=indptr, chunks=(min(len(indptr), INDPTR_CHUNK),), fill_value=-1, overwrite=True)
    return hashlib.sha256(content_hash + hashlib.sha256(indptr.data).digest()).hexdigest()


def _append_all(
    writers: dict[str, ShardWriter], parts: Iterable[Part], dtypes: tuple[np.dtype, np.dtype], journal: Path
) -> bytes:
    """Write all parts and note after each how far the shards are; give the hashes of values and of indices."""
    hashes = hashlib.sha256(), hashlib.sha256()

    def append(writer: ShardWriter, elements: np.ndarray, content: Any, dtype: np.dtype) -> None:
        writer.append(elements)
        content.update(elements.astype(dtype, copy=False).data)

    for part in parts:
        with ThreadPoolExecutor(len(writers)) as threads:  # values and genes side by side
            arrays = (part.values_N, part.indices_N)
            list(threads.map(append, writers.values(), arrays, hashes, dtypes))
        unfinished = journal.with_name(f".{journal.name}")
        unfinished.write_text(json.dumps({name: writer.n_written for name, writer in writers.items()}))
        unfinished.rename(journal)
    return b"".join(content.digest() for content in hashes)


def _close(writers: dict[str, ShardWriter]) -> None:
    for writer in writers.values():
        writer.close()


def _at_least(dtype: np.dtype, itemsize: int) -> np.dtype:
    return dtype if dtype.itemsize >= itemsize else np.dtype(f"<{dtype.kind}{itemsize}")
