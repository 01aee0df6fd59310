"""Where predictions go: tables of text, matrices as AnnData, columns beside counts. Each is written in bounded memory.

C cells, K classes, H hidden units, N columns of a matrix.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem

from scnym.base.progress import Progress
from scnym.disk.encode import rust_codecs
from scnym.disk.formats.block import strings
from scnym.disk.frames import write_empty_groups, write_names
from scnym.disk.store import Store
from scnym.model.snapshot import Card
from scnym.results.answers import RowMatrix
from scnym.results.predictions import Predictions
from scnym.runs.export import export
from scnym.runs.families import folder_names
from scnym.runs.folder import write_csv

if TYPE_CHECKING:
    from anndata import AnnData

PREDICTIONS_FILE = "predictions.csv"
PROBABILITIES = "probabilities"
EMBEDDING = "embedding"
H5AD_FILE = "predictions.h5ad"
OBS_PREFIX = "scnym_"
OBSM_KEY, UNS_KEY = "X_scnym", "scnym"
OBS_COLUMNS = ("cell_type", "confidence", "best_guess", "own_cell_type", "vote_share")
"""Columns that go beside the counts, of those that there are."""
CHUNK_BYTES = 2**22


def write_predictions(path: Path, predictions: Predictions, cell_ids: np.ndarray) -> None:
    """Write the table of all cells."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for some, table in predictions.tables():
            table.insert(0, "cell_id", cell_ids[some].astype(object))
            write_csv(file, table, header=some.start == 0)


def write_matrix_csv(path: Path, matrix: RowMatrix, cell_ids: np.ndarray, names: Sequence[str]) -> None:
    """Write a matrix as text, a line per cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for start, values_BN in matrix.blocks():
            table = pd.DataFrame(values_BN, columns=list(names))
            table.insert(0, "cell_id", cell_ids[start : start + len(table)].astype(object), allow_duplicates=True)
            write_csv(file, table, header=start == 0)


def write_matrix_zarr(path: Path, matrix: RowMatrix, cell_ids: np.ndarray, names: Sequence[str]) -> None:
    """Write a matrix as an AnnData of cells x names, in Zarr."""
    n_cells, n_names = matrix.shape
    chunk_cells = max(1, min(n_cells, CHUNK_BYTES // (4 * max(1, n_names))))
    with rust_codecs(in_order=True):
        root = zarr.open_group(path, mode="w", zarr_format=3)
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        array = root.create_array(
            "X",
            shape=matrix.shape,
            dtype="f4",
            chunks=(chunk_cells, max(1, n_names)),
            attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
        )
        for start, values_BN in matrix.blocks(chunk_cells * 4 * n_names):
            array[start : start + len(values_BN)] = values_BN
        write_names(root, "obs", cell_ids)
        write_names(root, "var", strings(names))
        write_empty_groups(root)
        with warnings.catch_warnings():
            # Zarr 3 warns that consolidated metadata is not in the specification yet.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(root.store)


def unit_names(n_units: int) -> list[str]:
    """Name the units of the last hidden layer."""
    return [f"unit_{unit}" for unit in range(n_units)]


def write_h5ad(
    path: Path, store: Store, predictions: Predictions, cards: Mapping[str | None, Card], progress: Progress
) -> None:
    """Write the cells of a store with their labels: columns of obs, the embedding in obsm, the models in uns."""
    export(store.path, path, progress=progress)
    with h5py.File(path, "r+") as file:
        obs: Any = file["obs"]
        columns = obs_columns(predictions)
        for name in map(str, columns):
            _write_anew(obs, name, columns[name].values)
        order = [name for name in obs.attrs["column-order"] if name not in columns]
        obs.attrs["column-order"] = np.array([*order, *columns.columns], dtype=h5py.string_dtype())
        uns = cast("h5py.Group", file["uns"]).require_group(UNS_KEY)
        uns.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        for name, content in uns_content(cards).items():
            _write_anew(uns, name, content)
        if predictions.answers.embedding is not None:
            _write_obsm(cast("h5py.Group", file["obsm"]), predictions.answers.embedding)


def _write_anew(group: Any, name: str, content: Any) -> None:
    if name in group:
        del group[name]
    write_elem(group, name, content)


def _write_obsm(group: h5py.Group, matrix: RowMatrix) -> None:
    if OBSM_KEY in group:
        del group[OBSM_KEY]
    array = group.create_dataset(OBSM_KEY, shape=matrix.shape, dtype="<f4")
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, values_BH in matrix.blocks():
        array[start : start + len(values_BH)] = values_BH


def annotate(adata: "AnnData", predictions: Predictions, cards: Mapping[str | None, Card]) -> None:
    """Add to an AnnData in memory what `write_h5ad` adds to a file."""
    columns = obs_columns(predictions)
    for name in columns:
        adata.obs[name] = columns[name].values
    adata.uns[UNS_KEY] = {**adata.uns.get(UNS_KEY, {}), **uns_content(cards)}
    if predictions.answers.embedding is not None:
        adata.obsm[OBSM_KEY] = predictions.answers.embedding.read()


def obs_columns(predictions: Predictions) -> pd.DataFrame:
    """Give the columns that go beside the counts, ``scnym_cell_type`` and so on."""
    columns = predictions.columns()
    wanted = [name for name in OBS_COLUMNS if name in columns]
    named = columns[wanted].add_prefix(OBS_PREFIX)
    for name in named.select_dtypes("category"):
        named[name] = named[name].cat.remove_unused_categories()
    return named


def uns_content(cards: Mapping[str | None, Card]) -> dict[str, Any]:
    """Describe the models in plain values: one as `model`, those of tissues under `models`."""
    if None in cards:
        return {"model": plain_card(cards[None])}
    names = folder_names([str(tissue) for tissue in cards])  # a slash would make a group of its own
    return {"models": {name: plain_card(card) for name, card in zip(names, cards.values(), strict=True)}}


def plain_card(card: Card) -> dict[str, Any]:
    """Give what a model knows of itself as an h5ad can hold it; its genes are counted only."""
    content = card.model_dump(mode="json", exclude={"genes"})
    return {"n_genes": len(card.genes), **_plain(content)}


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None or empty, which older readers cannot read; make arrays of lists and of tables' columns."""
    plain: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            plain[name] = _plain(value)
        elif isinstance(value, list):
            if value and isinstance(value[0], dict):  # a table, by columns
                plain[name] = _plain({column: [row[column] for row in value] for column in value[0]})
            elif value:
                plain[name] = np.array(value, dtype=object if isinstance(value[0], str) else None)
        elif value is not None:
            plain[name] = value
    return plain
