"""One pass over new cells: everything is checked, then each cell is labelled by its model, then the cells may vote.

C cells of the store, K classes of all models together.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scnym.base.errors import DataError, SettingsError
from scnym.base.progress import Progress
from scnym.base.settings import PredictSettings, StreamSettings
from scnym.disk.store import Store
from scnym.feed.gene_mismatch import matches_in_words
from scnym.feed.genes import map_datasets
from scnym.feed.stream import StreamDataset
from scnym.model.snapshot import Card, Snapshot
from scnym.results.answers import Answers
from scnym.results.cell_map import EmbeddingSample, sampled_rows
from scnym.results.coverage import GeneCoverage, gene_coverage, naming_warning
from scnym.results.labels import label_cells, prediction_stream
from scnym.results.predictions import Predictions
from scnym.results.votes import Votes, vote_in_groups, vote_of_neighbours
from scnym.runs.levels import column_of
from scnym.runs.models import Assignment, ModelSet, Routing, loaded, route


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
        """Give the numbers of the sources that the part's cells are of."""
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
    """Give the width of the last hidden layer, which all models must share to stand in one matrix."""
    widths = sorted({card.network.n_hidden for card in cards.values()})
    if len(widths) > 1:
        raise DataError(
            f"the models' hidden layers have {', '.join(map(str, widths))} units, which do not fit into one embedding",
            where="--model_path",
            way_out="leave out --embedding, --smooth_k and --write_h5ad, or train all with one --n_hidden",
        )
    return widths[0] if widths else 0
