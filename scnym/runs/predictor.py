"""One pass over new cells, and its output: checks, labels, votes; tables of text, matrices, an annotated AnnData.

C cells of the store, H hidden units, K classes of all models together, N columns of a matrix.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import pandas as pd
import torch
import zarr
from anndata.io import write_elem

from scnym.base.errors import DataError, SettingsError
from scnym.base.progress import Progress
from scnym.base.settings import PredictSettings, StreamSettings
from scnym.disk.encode import rust_codecs
from scnym.disk.formats.source import strings
from scnym.disk.obs_var import write_empty_groups, write_names
from scnym.disk.store import Store
from scnym.feed.checks import matches_in_words
from scnym.feed.genes import map_datasets
from scnym.feed.stream import StreamDataset
from scnym.model.snapshot import Card, Snapshot
from scnym.results.cell_map import EmbeddingSample, sampled_rows
from scnym.results.coverage import GeneCoverage, gene_coverage, naming_warning
from scnym.results.labels import Predictions, Votes, label_cells, prediction_stream, vote_in_groups, vote_of_neighbours
from scnym.results.scored_cells import Answers, RowMatrix
from scnym.runs.export import export
from scnym.runs.models import Assignment, ModelSet, Routing, column_of, loaded, route
from scnym.runs.output_tree import folder_names, write_csv

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
    """Return the columns that go beside the counts, ``scnym_cell_type`` and so on."""
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
    """Return what a model knows of itself as an h5ad can hold it; its genes are counted only."""
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


def _require_embedding(snapshot: Snapshot, settings: PredictSettings) -> None:
    """Refuse what needs the last hidden layer of a network that has none."""
    wanted = {"--smooth_k": settings.smooth_k, "--embedding": settings.embedding}
    option = next((name for name, is_wanted in wanted.items() if is_wanted), None)
    if option and not snapshot.card.network.n_hidden:
        raise SettingsError(
            "a network without hidden units puts no cells side by side", where=option, way_out="leave it out"
        )


@dataclass(frozen=True)
class Checked:
    """What is known before the first cell is labelled."""

    routing: Routing
    cards: dict[str | None, Card]
    """Of every model that labels any cell, by its tissue; None for the only one."""
    coverage: dict[str | None, GeneCoverage]
    """The same models' genes in the data."""
    remarks: tuple[str, ...]
    """How genes were matched."""
    warnings: tuple[str, ...]
    """Why the labels may be wrong."""
    groups_C: np.ndarray | None
    """Number of the group in which each cell votes, -1 for none; None if groups do not vote."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of all models, each once: of one model in its order, of several sorted."""
        lists = [card.classes for card in self.cards.values()]
        return lists[0] if len(lists) == 1 else tuple(sorted({name for names in lists for name in names}))


@dataclass(frozen=True)
class Pass:
    """New cells and what is to be done with them.

    Parameters
    ----------
    store
        The cells.
    models
        What labels them.
    settings
        How.
    device
        Where the network computes.
    progress
        Where to report cells done.
    """

    store: Store
    models: ModelSet
    settings: PredictSettings
    device: torch.device
    progress: Progress

    def check(self) -> Checked:
        """Find what is wrong before any cell is labelled.

        Raises
        ------
        DataError
            If genes, tissues or columns do not fit.
        """
        routing = route(self.models, self.store, self.settings)
        cards, coverage, remarks, warnings = {}, {}, dict[str, None](), dict[str, None]()
        for part, snapshot in loaded(self.models, routing):
            gene_maps = map_datasets(self.store.datasets, snapshot.card.genes)
            sources = self._sources_of(part)
            cards[part.tissue] = snapshot.card
            _require_embedding(snapshot, self.settings)
            coverage[part.tissue] = gene_coverage(
                self.store, gene_maps, snapshot, self.settings.min_gene_coverage, sources
            )
            self._stream(part, snapshot)  # refuses batches that do not fit into memory
            remarks[matches_in_words(gene_maps) or ""] = None
            for number in sources:
                genes, file = self.store.datasets[number].genes, self.store.sources[number].file
                warnings[naming_warning(file, genes, snapshot.card.genes, gene_maps[number]) or ""] = None
        return Checked(
            routing=routing,
            cards=cards,
            coverage=coverage,
            remarks=tuple(filter(None, remarks)),
            warnings=tuple(filter(None, warnings)),
            groups_C=None if self.settings.vote_by is None else self._groups(self.settings.vote_by),
        )

    def sample(self, checked: Checked) -> EmbeddingSample | None:
        """Draw the cells whose places in the last hidden layer are kept; None where there is none that all share."""
        width = next(iter(checked.cards.values())).network.n_hidden if len(checked.cards) == 1 else 0
        rows_S = sampled_rows(np.arange(self.store.n_cells), self.settings.seed)
        sample = EmbeddingSample(rows_S, width)
        return sample if sample.can_be_drawn else None

    def label(
        self, checked: Checked, folder: Path, *, embedding: bool, sample: EmbeddingSample | None = None
    ) -> Answers:
        """Let every model label its cells; what is large goes to files in `folder`, some cells to a sample."""
        votes = bool(self.settings.smooth_k) or checked.groups_C is not None
        answers = Answers.begun(
            folder,
            self.store.n_cells,
            checked.classes,
            probabilities=votes or self.settings.probabilities != "none",
            width=(_width(checked.cards) or None) if embedding or self.settings.smooth_k else None,
        )
        code_of = {name: code for code, name in enumerate(checked.classes)}
        with self.progress.task("predict", total=self.store.n_cells, unit="cells") as task:
            for part, snapshot in loaded(self.models, checked.routing):
                codes_K = np.array([code_of[name] for name in snapshot.card.classes], np.int32)
                for some in label_cells(self._stream(part, snapshot), snapshot, self.device):
                    answers.put(some.rows_B, codes_K, some.probabilities_BK, some.embedding_BH)
                    if sample is not None:
                        sample.put(some.rows_B, some.embedding_BH)
                    task.advance(len(some.rows_B))
        return answers

    def decide(self, checked: Checked, answers: Answers) -> Predictions:
        """Let the cells vote, where that is wanted, and give everyone a label."""
        votes = self._votes(checked, answers)
        return Predictions(
            answers=answers,
            winners=answers.own if votes is None else votes.winners,
            vote_share_C=None if votes is None else votes.share_C,
            min_confidence=self.settings.min_confidence,
            tissues_C=checked.routing.tissues_C,
        )

    def _votes(self, checked: Checked, answers: Answers) -> Votes | None:
        if answers.probabilities is None or not (self.settings.smooth_k or checked.groups_C is not None):
            return None
        with self.progress.task("vote", total=answers.n_cells, unit="cells") as task:
            if checked.groups_C is not None:
                votes = vote_in_groups(answers, answers.probabilities, checked.groups_C)
                task.advance(answers.n_cells)
                return votes
            votes = Votes.of_own(answers.own)
            for part in checked.routing.assignments:
                vote_of_neighbours(votes, answers, part.rows_C, self.settings.smooth_k, self.settings.seed)
                task.advance(len(part.rows_C))
            return votes

    def _stream(self, part: Assignment, snapshot: Snapshot) -> StreamDataset:
        settings = StreamSettings(batch_size=self.settings.batch_size)
        cells = {"rows_C": part.rows_C, "tissues_C": part.levels_C}
        return prediction_stream(self.store, snapshot, settings, device=self.device, **cells)

    def _sources_of(self, part: Assignment) -> list[int]:
        """Return the numbers of the sources that the part's cells are of."""
        ends = np.cumsum([dataset.n_cells for dataset in self.store.datasets])
        return np.unique(np.searchsorted(ends, part.rows_C, side="right")).tolist()

    def _groups(self, column: str) -> np.ndarray:
        names = column_of(self.store, column, "--vote_by")
        if names.isna().all():
            raise DataError(
                f"column {column!r} names no group", where=self.store.path, way_out="name another --vote_by"
            )
        return pd.factorize(names)[0].astype(np.int64)


def _width(cards: dict[str | None, Card]) -> int:
    """Return the width of the last hidden layer, which all models must share to stand in one matrix."""
    widths = sorted({card.network.n_hidden for card in cards.values()})
    if len(widths) > 1:
        raise DataError(
            f"the models' hidden layers have {', '.join(map(str, widths))} units, which do not fit into one embedding",
            where="--model_path",
            way_out="leave out --embedding, --smooth_k and --write_h5ad, or train all with one --n_hidden",
        )
    return widths[0] if widths else 0
