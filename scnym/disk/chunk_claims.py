"""What a packed chunk says that it will be, against what it can be: the codecs take memory for it before they look.

Where there is none, those written in Rust end the process.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec

ALLOWED_BYTES = 2**26
"""What any array may claim without having it: arrays that are not written yet, or of one value."""
MAX_RATIO = 1100
"""Deflate packs 1,032 bytes into one at most."""
HEAD_BYTES = 18
"""The longest header of the two."""
BLOSC, ZSTD = "blosc", "zstd"
PACKERS = {BloscCodec: BLOSC, ZstdCodec: ZSTD}
BLOSC_CLAIM = slice(4, 8)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_DICTIONARY_BYTES = (0, 1, 2, 4)


class ChunkClaims:
    """Looks at how chunks of an array begin.

    Parameters
    ----------
    array
        An array; for one with shards, the chunks in them.

    Raises
    ------
    ValueError
        If its chunks are packed more than once, so that there is no telling before they are unpacked.
    """

    def __init__(self, array: zarr.Array) -> None:
        self._packer = _packer_of(array)
        self._n_whole = 0 if array.dtype.hasobject else math.prod(array.chunks) * array.dtype.itemsize
        self.looks = self._packer is not None
        """Whether there is anything to look at."""

    def of(self, head: bytes) -> int:
        """Give the bytes that a chunk claims that it will be; 0 if it does not say.

        Parameters
        ----------
        head
            Its first bytes, `HEAD_BYTES` of them if it has so many.
        """
        if self._packer == BLOSC:
            return int.from_bytes(head[BLOSC_CLAIM], "little")
        return _claim_of_zstd(head) if self._packer == ZSTD else 0

    def are_possible(self, n_claimed: int, n_stored: int) -> bool:
        """Whether so many bytes can be the content of so many."""
        return n_claimed <= max(ALLOWED_BYTES, self._n_whole or MAX_RATIO * n_stored)

    def false_ones(self, folder: Path) -> Iterator[tuple[Path, int, int]]:
        """Give the files of an array without shards that claim too much: file, bytes claimed, bytes stored."""
        for file in folder.rglob("*") if self.looks else ():
            if not file.name.startswith(".") and not file.name.endswith(".json") and file.is_file():
                with file.open("rb", buffering=0) as opened:
                    n_claimed, n_stored = self.of(opened.read(HEAD_BYTES)), file.stat().st_size
                if not self.are_possible(n_claimed, n_stored):
                    yield file, n_claimed, n_stored


def _packer_of(array: Any) -> str | None:
    if array.metadata.zarr_format == 2:
        name = getattr(array.metadata.compressor, "codec_id", None)
        return name if name in {BLOSC, ZSTD} else None
    codecs = array.metadata.codecs
    shards = [codec for codec in codecs if isinstance(codec, ShardingCodec)]
    codecs = [codec for codec in (shards[0].codecs if shards else codecs) if not isinstance(codec, Crc32cCodec)]
    packers = [PACKERS[type(codec)] for codec in codecs if type(codec) in PACKERS]
    if len(packers) > 1 or (packers and type(codecs[-1]) not in PACKERS):
        raise ValueError(f"{array.path} is packed more than once")
    return packers[0] if packers else None


def _claim_of_zstd(head: bytes) -> int:
    """Read the content size of a frame of Zstandard (RFC 8878, section 3.1.1.1)."""
    if not head.startswith(ZSTD_MAGIC) or len(head) <= len(ZSTD_MAGIC):
        return 0
    description = head[len(ZSTD_MAGIC)]
    is_single_segment, width = bool(description & 0x20), 1 << (description >> 6)
    if width == 1 and not is_single_segment:
        return 0
    begin = len(ZSTD_MAGIC) + 1 + (not is_single_segment) + ZSTD_DICTIONARY_BYTES[description & 3]
    return int.from_bytes(head[begin : begin + width], "little")
