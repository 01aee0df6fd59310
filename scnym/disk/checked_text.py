"""Texts of Zarr arrays, decoded only if a chunk is long enough for as many of them as it claims.

Without this a damaged count in a chunk of a few bytes takes 32 GB: zarr and numcodecs make room for all texts at once.
"""

from typing import Any

import numpy as np
from numcodecs.compat import ensure_contiguous_ndarray
from numcodecs.registry import register_codec as register_numcodec
from numcodecs.vlen import VLenUTF8
from zarr import codecs
from zarr.registry import register_codec

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
CONFIG = {f"codecs.{CODEC_ID}": f"{__name__}.{VLenUTF8Codec.__name__}"}
"""What makes Zarr take it."""
