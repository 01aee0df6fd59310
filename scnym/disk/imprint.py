"""The end of a conversion: what the store holds and the hashes of its files, written into it."""

import warnings
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from scnym.base.schema import STORE_ENCODING, format_version
from scnym.base.settings import ConvertSettings
from scnym.disk.encode import rust_codecs
from scnym.disk.hashes import write_hashes


def seal(
    root: zarr.Group,
    folder: Path,
    entries: list[dict[str, Any]],
    cell_hashes: list[np.ndarray],
    settings: ConvertSettings,
) -> None:
    """Say what the store is and what its files are; after this it is whole.

    Parameters
    ----------
    root
        The store.
    folder
        Where it is.
    entries
        A line of the manifest for each dataset; datasets that are in none are of an earlier run, and go.
    cell_hashes
        Of the cells' ids, shape (C,) for each dataset.
    settings
        How it was converted.
    """
    wanted = {entry["dataset"] for entry in entries}
    for leftover in set(root.group_keys()) - wanted:
        del root[leftover]  # of an earlier run with more inputs
    hashes = np.concatenate(cell_hashes)
    shared = len(np.unique(hashes)) < len(hashes)
    root.attrs.put(
        {
            "encoding-type": STORE_ENCODING,
            "format_version": format_version(entry["scale"] for entry in entries),
            "converter": f"scnym {version('scnym')}",
            "settings": asdict(replace(settings, overwrite=False)),
            "cell_names": "sample:id" if shared else "id",
            "sources": entries,
        }
    )
    with rust_codecs(), warnings.catch_warnings():
        # Zarr 3 warns that consolidated metadata is not in the specification yet; readers that ignore it lose nothing.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(root.store)
    for unfinished in folder.rglob("*.partial"):
        unfinished.unlink()  # of a write that a kill interrupted
    write_hashes(folder)
