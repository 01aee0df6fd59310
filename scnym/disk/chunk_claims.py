"""What a packed chunk says that it will be, against what it can be: the codecs take memory for it before they look.

Where there is none, those written in Rust end the process.
"""

import math
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec

ALLOWED_BYTES = 2**26
"""What any array may claim without having it: arrays that are not written yet, or of one value."""
MAX_RATIO = 1100
"""Deflate packs 1,032 bytes into one at most."""
CHECKSUM_BYTES = 4
BLOSC, ZSTD = "blosc", "zstd"
PACKERS = {BloscCodec: BLOSC, ZstdCodec: ZSTD}
BLOSC_CLAIM = slice(4, 8)
ZSTD_MAGIC, ZSTD_SKIPPED = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
"""How a frame begins; how one that is skipped does, behind its first byte."""
ZSTD_DICTIONARY_BYTES = (0, 1, 2, 4)
ZSTD_BLOCK_BYTES = 2**17
"""Most bytes that a block holds once it is unpacked."""
ONE_BYTE, RESERVED = 1, 3
"""Types of a block: one byte, to be repeated; none."""


class ChunkClaims:
    """Looks at what the chunks of an array claim.

    Parameters
    ----------
    array
        An array; for one with shards, the chunks in them.
    folder
        Where its chunks lie.

    Raises
    ------
    ValueError
        If its chunks are packed more than once, so that there is no telling before they are unpacked; or are cut far
        larger than all that is stored.
    """

    def __init__(self, array: zarr.Array, folder: Path) -> None:
        codecs = _codecs_of(array)
        self._packer, self._folder = _packer_of(codecs, array.path), folder
        self._n_checksum = CHECKSUM_BYTES * sum(isinstance(codec, Crc32cCodec) for codec in codecs)
        self._n_whole = 0 if array.dtype.hasobject else math.prod(array.chunks) * array.dtype.itemsize
        self.has_any = self._packer is not None
        """Whether chunks claim anything."""
        if self._n_whole > ALLOWED_BYTES:
            n_stored = sum(file.stat().st_size for file in chunk_files(folder))
            if self._n_whole > MAX_RATIO * n_stored:
                raise ValueError(f"chunks of {array.path} are said to hold {self._n_whole:,} bytes each")

    def are_possible(self, file: BufferedReader, offset: int, length: int) -> bool:
        """Whether a chunk, of `length` bytes from `offset` on in a file, can be what it claims, if it claims."""
        file.seek(offset)
        if self._packer == BLOSC:
            n_claimed: int | None = int.from_bytes(file.read(BLOSC_CLAIM.stop)[BLOSC_CLAIM], "little")
        else:
            n_claimed = _claim_of_zstd(file.read(max(0, length - self._n_checksum)))
        return n_claimed is not None and n_claimed <= max(ALLOWED_BYTES, self._n_whole or MAX_RATIO * length)

    def false_ones(self) -> Iterator[Path]:
        """Give the files of an array without shards that claim too much."""
        for path in chunk_files(self._folder) if self.has_any else ():
            with path.open("rb") as file:
                if not self.are_possible(file, 0, path.stat().st_size):
                    yield path


def chunk_files(folder: Path) -> Iterator[Path]:
    """Give the files of an array that hold its chunks, or its shards."""
    for file in folder.rglob("*"):
        if not file.name.startswith(".") and not file.name.endswith(".json") and file.is_file():
            yield file


def _codecs_of(array: Any) -> list[Any]:
    """Give what chunks go through, those in shards too, on their way to the disk."""
    if array.metadata.zarr_format == 2:
        return [*(array.metadata.filters or ()), *filter(None, [array.metadata.compressor])]
    shards = [codec for codec in array.metadata.codecs if isinstance(codec, ShardingCodec)]
    return [*(shards[0].codecs if shards else array.metadata.codecs)]


def _packer_of(codecs: Sequence[Any], path: str) -> str | None:
    names = [_name_of(codec) for codec in codecs if not isinstance(codec, Crc32cCodec)]
    packers = [name for name in names if name in {BLOSC, ZSTD}]
    if packers and (len(packers) > 1 or names[-1] != packers[0]):
        raise ValueError(f"{path} is packed more than once")
    return packers[0] if packers else None


def _name_of(codec: Any) -> str:
    """Give a codec's name, without the family that those of numcodecs have in front."""
    name = PACKERS.get(type(codec)) or getattr(codec, "codec_id", None) or getattr(codec, "codec_name", "")
    return str(name).rpartition(".")[2]


def _claim_of_zstd(content: bytes) -> int | None:
    """Add up what frames of Zstandard hold at most (RFC 8878, section 3.1.1); None for anything else."""
    begin, n_claimed = 0, 0
    while begin < len(content):
        if content[begin + 1 : begin + 4] == ZSTD_SKIPPED and content[begin] >> 4 == 5:
            begin += 8 + int.from_bytes(content[begin + 4 : begin + 8], "little")
            continue
        frame = _zstd_frame(content, begin)
        if frame is None:
            return None
        begin, n_claimed = frame[0], n_claimed + frame[1]
    return n_claimed


def _zstd_frame(content: bytes, begin: int) -> tuple[int, int] | None:
    """Give where a frame ends, and what it holds at most; None if it is none."""
    place = begin + len(ZSTD_MAGIC)
    if content[begin:place] != ZSTD_MAGIC or place == len(content):
        return None
    description = content[place]
    is_single_segment, width = bool(description & 0x20), 1 << (description >> 6)
    width = 0 if width == 1 and not is_single_segment else width
    place += 1 + (not is_single_segment) + ZSTD_DICTIONARY_BYTES[description & 3]
    n_content = int.from_bytes(content[place : place + width], "little")
    place, n_blocks, is_last = place + width, 0, 0
    while not is_last:
        header = int.from_bytes(content[place : place + 3], "little")
        is_last, kind, n_bytes = header & 1, header >> 1 & 3, header >> 3
        place, n_blocks = place + 3 + (1 if kind == ONE_BYTE else n_bytes), n_blocks + 1
        if place > len(content) or kind == RESERVED:
            return None
    return place + (CHECKSUM_BYTES if description & 4 else 0), n_content if width else n_blocks * ZSTD_BLOCK_BYTES
