"""What ``--json`` prints: one class per command, key by key, and those of files and stores.

``docs/json.md`` and ``docs/json.schema.json`` are generated from these classes by ``make json``. Keys are never
removed; new ones may be added.
"""

from typing import Any, Literal

from pydantic import BaseModel, RootModel

from . import model_results as model
from .model_results import Fault, Place, Result


class Source(Result):
    """One source of a store."""

    dataset: str
    """Its group in the store."""
    sample: str
    file: str
    sha256: str
    """Of the file's content."""
    n_cells: int
    n_genes: int
    has_cell_ids: bool
    """Whether the ids of the cells are the source's; otherwise they were made up."""
    scale: str
    """What its values are, such as `counts`."""
    cluster_by: str | None
    """Column that its cells are grouped by."""


class Converted(Result):
    """A finished store."""

    store: Place
    n_cells: int
    sources: list[Source]


class GeneNames(Result):
    """How genes are named."""

    id_type: str
    """`symbol`, `Ensembl id`, `mixed` or `none`."""
    versioned: bool
    """Whether Ensembl ids end in a version."""
    species: str | None
    """What the names look like; a guess."""


class InspectedSource(Result):
    """One source of cells."""

    sample: str
    path: Place
    n_cells: int | None
    """null where only reading the whole file would tell."""
    n_genes: int
    genes: GeneNames
    columns: dict[str, dict[str, int]]
    """By column that may hold classes: cells of each, the most frequent first."""
    values: str
    """What the values are, or why they cannot be used."""
    is_usable: bool
    values_per_cell: float | None
    """Stored values of a cell, on average over those looked at."""
    remark: str | None
    """How the file was understood, where that is not plain."""


class LearntSource(Result):
    """One source of the cells that a model learnt from."""

    sample: str
    file: str
    n_cells: int
    n_genes: int
    sha256: str


class ModelCard(Result):
    """What a model says of itself."""

    format_version: int
    scnym_version: str
    classes: list[str]
    """In the order of the network's output."""
    label_column: str
    tissues: list[str]
    """Those that it reads beside the genes; none of them for a model that reads genes alone."""
    tissue_column: str | None
    network: dict[str, Any]
    """Settings of the network; they may differ between versions."""
    training: dict[str, Any]
    """Settings of the training; they may differ between versions."""
    stream: dict[str, Any]
    """Settings of the stream; they may differ between versions."""
    temperature: float
    best_epoch: int
    data_hash: str
    metrics: dict[str, float | None]
    """On held-out cells, or on selection cells for the final model."""
    cells_per_class: list[int]
    """In the order of the classes; empty where that is not known."""
    sources: list[LearntSource]
    n_genes: int
    gene_naming: GeneNames


class Estimates(Result):
    """What to expect on 2 cores."""

    store_bytes: float | None
    convert_seconds: float | None
    epoch_seconds: float | None
    """To read all cells once."""


class Inspected(Result):
    """What a path is."""

    kind: Literal["input", "store", "model"]
    path: Place
    size_bytes: int
    n_cells: int | None
    """Of all sources together; null for a model, and where only reading would tell."""
    sources: list[InspectedSource]
    """None of them for a model."""
    model: ModelCard | None
    remarks: list[str]
    """How raw inputs were understood, and which files of a folder are left out."""
    estimates: Estimates


class DamagedFile(Result):
    """A file that is not what it was."""

    file: str
    """Below the store."""
    what: str
    """`is missing` or `has changed`."""


class LostRows(Result):
    """Consecutive rows that cannot be trusted."""

    dataset: str
    first: int
    """From 0."""
    last: int
    """The last one lost."""
    what: str
    """`counts` or `annotations`."""


class Verified(Result):
    """What a verification found."""

    store: Place
    n_files: int
    n_cells: int
    faults: list[DamagedFile]
    lost: list[LostRows]
    n_lost_cells: int
    error: Fault | None
    """null if the store is whole."""


class Exported(Result):
    """A file that was written."""

    file: Place
    bytes: int


class PublicFile(Result):
    """One file of a data set."""

    name: str
    url: str
    sha256: str | None
    """What the publisher says it is."""
    md5: str | None
    unpack: bool
    """Whether it is an archive whose content is wanted."""


class PublicData(Result):
    """What is known of a data set."""

    name: str
    title: str
    files: list[PublicFile]
    page: str
    licence: str
    citation: str


class ListedData(RootModel[dict[str, PublicData]]):
    """The data sets that there are, by name."""


class FetchedDataSet(Result):
    """A data set that is here, whole."""

    data_set: PublicData
    folder: Place
    files: dict[str, str]
    """SHA-256 of each file, by its name."""
    unpacked: list[Place]
    """Folders with what was in its archives."""


RESULTS: dict[str, type[BaseModel]] = {
    "convert": Converted,
    "inspect": Inspected,
    "verify": Verified,
    "export": Exported,
    "train_tissue_independent": model.Trained,
    "train_tissue_dependent": model.Trained,
    "train_tissue_specific": model.TrainedTissues,
    "compare": model.Compared,
    "predict_cell_types": model.Predicted,
    "predict_cell_types --by_sample": model.PredictedSamples,
    "evaluate": model.Evaluated,
    "find_cell_type_markers": model.FoundMarkers,
    "report": model.WrittenPages,
    "data list": ListedData,
    "data get": FetchedDataSet,
}
