"""Markers of every class: a model file in, and cells where there are any; optimised inputs and ranked genes out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scnym.base.errors import DataError, SettingsError, examples
from scnym.base.progress import COST_FILE, SILENT, Progress, Stopwatch
from scnym.base.settings import ConvertSettings, MarkerSettings
from scnym.base.text import safe_name
from scnym.disk.atomic import aside, require_replaceable
from scnym.disk.inputs import Given
from scnym.disk.location import require_folder
from scnym.feed.genes import map_datasets
from scnym.model.inference import SplitNetwork
from scnym.model.snapshot import Snapshot
from scnym.results.class_optima import ClassOptima, optimise_inputs
from scnym.results.coverage import gene_coverage
from scnym.results.markers import Deletion, LabelledCells, Markers, delete_genes, gather_evidence, rank_genes
from scnym.runs.inputs import annotated, labels_of, name_of, open_input, remarks_on_names
from scnym.runs.output_tree import REPORT_FILE, SUMMARY_FILE, final_model, is_run, write_csv, write_json, write_table
from scnym.runs.reports.markers import write_markers_page

FOLDER = "tissue_ind_class_optimums"
N_IN_SUMMARY = 20
"""Genes of a class that a summary names."""


@dataclass(frozen=True, kw_only=True)
class MarkerSummary:
    """What a search for markers gave."""

    folder: Path
    top_genes: dict[str, list[str]]
    """The best genes of each class, best first."""
    deletions: dict[str, Deletion]
    """Of each class that cells were given for."""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
        return asdict(self)


@dataclass(frozen=True)
class _Search:
    """What the search in every class shares."""

    network: SplitNetwork
    cells: LabelledCells | None
    settings: MarkerSettings


@dataclass(frozen=True)
class _Findings:
    """Grows with every class."""

    top_genes: dict[str, list[str]] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)


def find_markers(
    model_path: str | Path,
    out_path: str | Path,
    settings: MarkerSettings | None = None,
    *,
    input_counts: str | Path | AnnData | None = None,
    training_metadata: str | Path | None = None,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MarkerSummary:
    """Find the genes that carry each class of a model; write ``OUT/tissue_ind_class_optimums/``.

    Parameters
    ----------
    model_path
        A ``model.safetensors``, or a ``.pkl`` of bare weights.
    out_path
        Folder in which ``tissue_ind_class_optimums/`` is made.
    settings
        Penalty, restarts, steps, classes, column with the labels of the cells.
    input_counts
        Labelled cells, as a store, any raw input or an AnnData: with them, genes are ranked by what cells have too, and
        the ranking is put to a test.
    training_metadata
        Table with a row per cell, joined to the cells by their ids.
    training_gene_names
        For bare weights: text file with the network's genes, one a line.
    convert_settings
        How a raw input is read.
    overwrite
        Whether existing markers are replaced.
    progress
        Where to report steps and classes done.

    Raises
    ------
    UserError
        If something is missing, damaged or does not fit, before the search begins.
    """
    watch, settings = Stopwatch(), settings or MarkerSettings()
    out_path = require_folder(out_path)
    target = out_path / FOLDER
    require_replaceable(target, overwrite=overwrite, is_replaceable=is_run)
    snapshot = Snapshot.load(final_model(Path(model_path)), training_gene_names)
    codes = chosen_classes(settings.classes, snapshot.card.classes)
    network, cells = SplitNetwork(snapshot), None
    if input_counts is None:
        _say_what_is_not_used(training_metadata, settings, convert_settings or ConvertSettings(), progress)
    if input_counts is not None:
        metadata = None if training_metadata is None else Path(training_metadata)
        source = input_counts, out_path, convert_settings or ConvertSettings()
        cells = _labelled_cells(source, metadata, snapshot, network, settings, progress)
    with aside(target, overwrite=overwrite, is_replaceable=is_run) as folder:
        findings = _search_all(_Search(network, cells, settings), codes, folder, progress)
        summary = MarkerSummary(folder=target, top_genes=findings.top_genes, deletions=findings.deletions)
        given = {
            "model": str(model_path),
            "cells": None if input_counts is None else str(name_of(input_counts)),
            "settings": asdict(settings),
        }
        write_json(folder / SUMMARY_FILE, {**summary.to_json(), **given})
        write_json(folder / COST_FILE, watch.cost(0))
        write_markers_page(folder, folder / REPORT_FILE)
    return summary


def chosen_classes(names: str | None, known: Sequence[str]) -> list[int]:
    """Return the positions of the classes that a list names, in the model's order; all if there is none.

    A name may hold commas itself: of the names that fit, the longest is taken.

    Raises
    ------
    SettingsError
        If a name is none of the model's classes.
    """
    if names is None:
        return list(range(len(known)))
    code_of, parts, codes = {name.strip(): code for code, name in enumerate(known)}, names.split(","), []
    while parts:
        ends = [end for end in range(len(parts), 0, -1) if ",".join(parts[:end]).strip() in code_of]
        if not ends:
            raise SettingsError(
                f"the model has no class {parts[0].strip()!r}",
                where="--classes",
                way_out=f"its {len(known):,} classes are {examples(known)}",
            )
        codes.append(code_of[",".join(parts[: ends[0]]).strip()])
        parts = parts[ends[0] :]
    return sorted(set(codes))


def _say_what_is_not_used(
    training_metadata: str | Path | None, settings: MarkerSettings, convert: ConvertSettings, progress: Progress
) -> None:
    """Report which options have no effect without cells; a config that is meant for training may hold them."""
    given = {
        "training_metadata": training_metadata,
        "lower_group": settings.label_column,
        "layer": convert.layer,
        "library_size": convert.library_size_column,
        "input_genes": convert.input_genes,
    }
    said = [f"--{option} {value}" for option, value in given.items() if value is not None]
    if said:
        progress.say(f"not used, since no cells are given with --input_counts: {', '.join(said)}")


def _labelled_cells(
    source: tuple[Given, Path, ConvertSettings],
    metadata: Path | None,
    snapshot: Snapshot,
    network: SplitNetwork,
    settings: MarkerSettings,
    progress: Progress,
) -> LabelledCells:
    """Open the cells, and find out which of the model's classes each is of."""
    card, path = snapshot.card, name_of(source[0])
    store = open_input(*source, progress)
    column = settings.label_column or card.label_column
    labels = labels_of(annotated(store, metadata, progress), column, metadata or path)
    gene_maps = map_datasets(store.datasets, card.genes)
    gene_coverage(store, gene_maps, snapshot, settings.min_gene_coverage)
    position = {name: code for code, name in enumerate(card.classes)}
    codes_C = np.array([*(position.get(name, -1) for name in labels.classes), -1])[labels.codes_C]
    if not (codes_C >= 0).any():
        raise DataError(
            f"column {column!r} has none of the model's classes: it has {examples(labels.classes)}",
            where=metadata or path,
            way_out=f"name another --lower_group; the model knows {examples(card.classes)}",
        )
    for line in remarks_on_names([*labels.classes, *card.classes], f"classes of column {column!r} and of the model"):
        progress.say(line)
    unused = int((codes_C < 0).sum())
    if unused:
        progress.say(f"{unused:,} of {store.n_cells:,} cells have no label that the model knows; they are left out")
    return LabelledCells(store, codes_C, network)


def _search_all(search: _Search, codes: Sequence[int], folder: Path, progress: Progress) -> _Findings:
    """Search class by class, and write what is found as it comes."""
    settings, findings = search.settings, _Findings()
    files = _file_names(codes, search.network.classes)
    write_table(folder / "classes.csv", files)
    n_steps = len(codes) * settings.n_restarts * settings.n_steps
    with (
        (folder / "markers.csv").open("w", encoding="utf-8", newline="") as table,
        progress.task("optimise inputs", total=n_steps, unit="steps") as steps,
        progress.task("rank genes", total=len(codes), unit="classes") as classes,
    ):
        optima = optimise_inputs(search.network, codes, settings, steps)
        for row, found in zip(files.to_dict("records"), optima, strict=True):
            _write_optima(folder, row, found, search.network.genes)
            write_csv(table, _judge(search, found, findings, progress).table, header=found.code == codes[0])
            classes.advance(1)
    if findings.deletions:
        rows = [{"class": name, **asdict(deletion)} for name, deletion in findings.deletions.items()]
        write_table(folder / "deletion.csv", pd.DataFrame(rows))
    return findings


def _judge(search: _Search, found: ClassOptima, findings: _Findings, progress: Progress) -> Markers:
    """Rank the genes of one class, and test the ranking where there are cells."""
    network, cells, seed = search.network, search.cells, search.settings.seed
    name = network.classes[found.code]
    evidence = None if cells is None else gather_evidence(network, cells, found.code, seed)
    markers = rank_genes(found, evidence, network.genes, name)
    findings.top_genes[name] = markers.top(N_IN_SUMMARY)
    if cells is not None and evidence is None:
        progress.say(f"no cells of {name!r}, or of others: its genes are ranked by optimised inputs alone")
    elif cells is not None and evidence is not None:
        findings.deletions[name] = delete_genes(network, cells, found.code, evidence, markers.top_positions, seed)
    return markers


def _file_names(codes: Sequence[int], classes: Sequence[str]) -> pd.DataFrame:
    """Name the files of every class: its number makes them unique."""
    stems = [safe_name(f"{code}_{classes[code]}") for code in codes]
    return pd.DataFrame(
        {
            "index": codes,
            "class": [classes[code] for code in codes],
            "losses_file": [f"{stem}_losses.csv" for stem in stems],
            "optima_file": [f"{stem}_optima.csv" for stem in stems],
        }
    )


def _write_optima(folder: Path, files: Mapping[Any, Any], found: ClassOptima, genes: Sequence[str]) -> None:
    """Write the losses of every restart, and the best input of each."""
    width = len(str(len(found.optima_RG) - 1))
    restarts = [f"restart_{number:0{width}d}" for number in range(len(found.optima_RG))]
    losses = pd.DataFrame(found.losses_SR, columns=restarts)
    losses.insert(0, "step", found.steps_S)
    write_table(folder / files["losses_file"], losses)
    optima = pd.DataFrame(found.optima_RG.T, columns=restarts)
    optima.insert(0, "gene", np.asarray(genes, dtype=object))
    write_table(folder / files["optima_file"], optima)
