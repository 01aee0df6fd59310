"""Results on the terminal: one look everywhere, or JSON."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from scnym import PredictionSummary, RunSummary, Store
    from scnym.results.metrics import Metrics

_STDOUT = Console(highlight=False)
MAX_CONFUSION_CLASSES = 12


def print_store(store: "Store", *, as_json: bool) -> None:
    """Print what a store holds."""
    if as_json:
        _print_json(
            {"store": str(store.path), "n_cells": store.n_cells, "sources": [dict(source) for source in store.sources]}
        )
        return
    table = _table("source", "cells", "genes", "values")
    for source in store.sources:
        table.add_row(Text(source.file), f"{source.n_cells:,}", f"{source.n_genes:,}", source.scale)
    _STDOUT.print(table)
    _say(f"store: {store.path}")


def print_run(summary: "RunSummary", *, as_json: bool) -> None:
    """Print what a training run gave."""
    if as_json:
        content = {"folder": str(summary.folder), "model": str(summary.model_path), **summary.to_json()}
        _print_json(content)
        return
    judged = summary.held_out or summary.final.metrics
    _STDOUT.print(_metrics_table(judged))
    if len(summary.labels.classes) <= MAX_CONFUSION_CLASSES:
        _STDOUT.print(_confusion_table(judged, summary.labels.classes))
    cells = "held-out cells" if summary.held_out else "selection cells (no cross-validation: too good)"
    _say(f"accuracy {judged.accuracy:.3f}   macro-F1 {judged.macro_f1:.3f}   on {judged.n_cells:,} {cells}")
    _say(f"report: {summary.folder / 'report.html'}")
    _say(f"model:  {summary.model_path}")


def print_predictions(summary: "PredictionSummary", *, as_json: bool) -> None:
    """Print what a prediction gave."""
    if as_json:
        _print_json(asdict(summary))
        return
    table = _table("cell type", "cells")
    for name, count in summary.cells_by_type.items():
        table.add_row(Text(name), f"{count:,}")
    _STDOUT.print(table)
    coverage = summary.coverage
    _say(
        f"genes: {coverage.n_found:,} of the model's {coverage.n_genes:,} ({coverage.share:.1%}; "
        f"{coverage.weighted_share:.1%} by weight)   mean confidence {summary.mean_confidence:.3f}"
    )
    if summary.n_empty_cells:
        _say(f"{summary.n_empty_cells:,} cells have no counts; their labels say nothing")
    _say(f"predictions: {summary.folder / 'predictions.csv'}")


def _metrics_table(metrics: "Metrics") -> Table:
    table = _table("class", "cells", "precision", "recall", "F1")
    for name, row in metrics.per_class.iterrows():
        figures = (f"{row[column]:.3f}" for column in ("precision", "recall", "f1"))
        table.add_row(Text(str(name)), f"{row['support']:,.0f}", *figures)
    return table


def _confusion_table(metrics: "Metrics", classes: tuple[str, ...]) -> Table:
    table = _table("true \\ predicted", *(str(number + 1) for number in range(len(classes))))
    for number, (name, counts) in enumerate(zip(classes, metrics.confusion_KK, strict=True)):
        table.add_row(Text(f"{number + 1:>2} {name}"), *(f"{count:,}" if count else "·" for count in counts))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _say(line: str) -> None:
    _STDOUT.print(line, markup=False, soft_wrap=True)


def _print_json(content: object) -> None:
    _STDOUT.file.write(json.dumps(content, indent=2, default=str) + "\n")
