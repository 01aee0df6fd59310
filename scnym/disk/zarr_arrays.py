"""How an array is handed to Zarr's codecs directly, where Zarr has no public name for it: all of that is here.

Zarr calls `zarr.core` its own, and moves things in it between minor versions; these stood still from 3.1 to 3.4.
What to do when they move: `tests/test_versions.py`.
"""

from typing import Any

import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.array_spec import ArraySpec
from zarr.core.sync import sync  # on Zarr's own loop, so that it works inside another (a notebook's)
from zarr.registry import get_pipeline_class

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
