"""What differs between the versions of libraries that users have; `make smoke` takes a user's way with the newest."""

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from helpers import telling_adata
from zarr.abc.codec import CodecPipeline
from zarr.registry import get_pipeline_class

from scnym import convert
from scnym.base.errors import DataError
from scnym.base.settings import ConvertSettings
from scnym.disk.encode import OWN_PIPELINE
from scnym.disk.obs_var import plain_text

ROOT = Path(__file__).parent.parent
OURS = {"scnym", "cli"}
PRIVATE = {
    "anndata._io.specs.registry": (
        "IORegistryError",
        "find the class that anndata.io.read_elem raises for an encoding that it does not know, and import it in "
        "scnym/disk/formats/source.py; until then such a file ends in a traceback",
    ),
    "typer._click.core": (
        "Context Parameter",
        "see cli/click_names.py; Typer may have public names now, or need Click",
    ),
    "typer._click.exceptions": (
        "BadOptionUsage BadParameter ClickException NoArgsIsHelpError",
        "see cli/click_names.py, as for typer._click.core",
    ),
    "typer._click.globals": ("get_current_context", "see cli/click_names.py, as for typer._click.core"),
    "zarr.core.array_spec": (
        "ArraySpec",
        "see how zarr.Array makes what it hands to its codec pipeline, and mend scnym/disk/encode.py",
    ),
    "zarr.core.sync": (
        "sync",
        "run a coroutine on another thread's event loop, as zarr.Array does, in scnym/disk/encode.py",
    ),
}
"""Modules that other packages call their own and that we import: the names, and what to do when these have gone."""


def private_imports(path: Path) -> Iterator[str]:
    """Yield modules that a file imports though their packages call them their own."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for parts in (name.split(".") for name in names):
            if parts[0] in OURS | sys.stdlib_module_names:
                continue
            if parts[:2] == ["zarr", "core"] or any(part.startswith("_") for part in parts):
                yield ".".join(parts)


def test_no_other_private_modules_of_packages_are_imported():
    files = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    assert {name for path in files for name in private_imports(path)} == set(PRIVATE)


@pytest.mark.parametrize("module", PRIVATE)
def test_private_names_are_where_they_were(module: str):
    names, remedy = PRIVATE[module]
    try:
        missing = [name for name in names.split() if not hasattr(import_module(module), name)]
    except ImportError:
        missing = names.split()
    assert not missing, f"{module} has no {', '.join(missing)} any more: {remedy}"


def test_zarrs_own_pipeline_has_its_name():
    with zarr.config.set({"codec_pipeline.path": OWN_PIPELINE}):
        assert issubclass(get_pipeline_class(), CodecPipeline), "see codec_pipeline.path in zarr.config.defaults"


def encodings(group: zarr.Group) -> dict[str, str]:
    """Return what every element of an AnnData in Zarr says that it is."""
    return {name: str(element.attrs.get("encoding-type")) for name, element in group.members(max_depth=None)}


@pytest.mark.parametrize("dtype", ["object", "string[python]", "str"])
def test_text_of_any_kind_is_stored_in_the_same_bytes_which_old_versions_read(dtype: str, tmp_path: Path):
    adata = telling_adata()
    table = pd.DataFrame({"name": ["a", "b"]}, dtype=dtype, index=pd.Index(["x", "y"], dtype=dtype))
    adata.uns["table"] = table
    adata.obs["note"] = pd.Series(["u", "v"] * 20, dtype=dtype, index=adata.obs.index)
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "cells.h5ad")
    convert([tmp_path / "cells.h5ad"], tmp_path / "cells.zarr")
    stored = encodings(zarr.open_group(tmp_path / "cells.zarr" / "dataset_0", mode="r"))
    assert not {kind for kind in stored.values() if kind.startswith("nullable")}
    assert stored["obs/note"] == "categorical"
    assert stored["uns/table/name"] == stored["uns/table/_index"] == stored["obs/_index"] == "string-array"


def test_only_text_without_gaps_becomes_plain():
    gaps = pd.array(["a", None], dtype="string[python]")
    frame = pd.DataFrame({"whole": pd.array(["a", "b"], dtype="string[python]"), "gaps": gaps, "number": [1, 2]})
    plain = plain_text(frame.set_index(pd.Index(["x", "y"], dtype="string[python]")))
    assert [str(dtype) for dtype in plain.dtypes] == ["object", "string", "int64"]
    assert plain.index.dtype == object


def test_counts_of_an_anndata_are_no_layer_of_it(tmp_path: Path):
    adata = telling_adata()
    adata.layers["spliced"] = np.ones(adata.shape, np.float32)
    with pytest.raises(DataError) as caught:
        convert([adata], tmp_path / "cells.zarr", ConvertSettings(layer="unspliced"))
    assert "spliced" in str(caught.value)
    assert "None" not in str(caught.value)
