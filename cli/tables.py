"""Results on the terminal: one look everywhere, or JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.table import Table

from scnym.base.errors import examples

from .model_results import (
    Compared,
    Evaluated,
    Fault,
    FoundMarkers,
    Predicted,
    PredictedSamples,
    Trained,
    TrainedTissues,
    WrittenPages,
)
from .output import print_json, say, show, table_of, text
from .results import Converted, Estimates, Exported, Inspected, Verified

if TYPE_CHECKING:
    from scnym import (
        Comparison,
        Evaluation,
        Inspection,
        MarkerSummary,
        PredictionSummary,
        RunSummary,
        SamplePredictions,
        Store,
        TissueModels,
        VerifyReport,
    )
    from scnym.results.markers import Deletion
    from scnym.results.metrics import Metrics, Scores
    from scnym.runs.inspection import SourceInspection

MAX_CONFUSION_CLASSES = 12
MAX_CLASSES_SHOWN = 12
MAX_GENES_SHOWN = 8
NOT_JUDGED = ("", "", "not judged")
GAINS = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"))


def _page(folder: Path) -> Path:
    """Where the page of a run is."""
    return folder / "report.html"


def _fault_of(check: Callable[[], object]) -> Fault | None:
    """Return what a check finds wrong."""
    try:
        check()
    except Exception as fault:  # noqa: BLE001 - of a sample that failed it may be any
        return Fault.of(fault)
    return None


def print_store(store: "Store", *, as_json: bool) -> None:
    """Print what a store holds."""
    if as_json:
        sources = [dict(source) for source in store.sources]
        print_json(Converted.model_validate({"store": store.path, "n_cells": store.n_cells, "sources": sources}))
        return
    table = table_of("source", "cells", "genes", "values", words=("values",))
    for source in store.sources:
        table.add_row(text(source.sample), f"{source.n_cells:,}", f"{source.n_genes:,}", source.scale)
    show(table)
    say(f"store: {store.path}")


def print_verification(report: "VerifyReport", *, as_json: bool) -> None:
    """Print what a verification found."""
    if as_json:
        more = {"n_lost_cells": report.n_lost_cells, "error": _fault_of(report.require_whole)}
        print_json(Verified.model_validate({**asdict(report), "store": report.store, **more}))
        return
    if report.faults:
        table = table_of("file", "fault", words=("fault",))
        for fault in report.faults:
            table.add_row(text(fault.file), fault.what)
        show(table)
    if report.lost:
        table = table_of("lost in", "what", "first row", "last row", words=("what",))
        for rows in report.lost:
            table.add_row(text(rows.dataset), rows.what, f"{rows.first:,}", f"{rows.last:,}")
        show(table)
    found = "all are what they were" if not report.faults else f"{len(report.faults):,} are not what they were"
    say(f"{report.n_files:,} files of {report.n_cells:,} cells: {found}")


def print_export(target: Path, *, as_json: bool) -> None:
    """Print where an export is."""
    if as_json:
        print_json(Exported(file=str(target), bytes=target.stat().st_size))
        return
    say(f"written: {target} ({_size(target.stat().st_size)})")


def print_inspection(found: "Inspection", *, as_json: bool) -> None:
    """Print what a path is."""
    if as_json:
        estimates = {**dict.fromkeys(Estimates.model_fields), **found.estimates()}
        content = asdict(found)
        more = {"n_cells": found.n_cells if found.sources else None, "model": content["model"] or None}
        print_json(Inspected.model_validate({**content, **more, "estimates": estimates}))
        return
    say(f"{found.path}: {found.kind}, {_size(found.size_bytes)}")
    if found.model:
        _print_card(found.model)
    for source in found.sources:
        _print_source(source)
    for line in found.remarks:
        say(line)
    estimates = found.estimates()
    if "convert_seconds" in estimates:
        stored = f", store about {_size(estimates['store_bytes'])}" if "store_bytes" in estimates else ""
        say(
            f"to expect on 2 cores: convert {_time(estimates['convert_seconds'])}{stored}, "
            "memory at most 1.3 GB (less with --max_memory)"
        )
    if "epoch_seconds" in estimates:
        say(f"to expect on 2 cores: reading all cells once {_time(estimates['epoch_seconds'])}")


def _print_source(source: "SourceInspection") -> None:
    cells = "cells are known when it has been read" if source.n_cells is None else f"{source.n_cells:,} cells"
    naming = source.genes
    details = [naming.id_type, *(["with versions"] if naming.versioned else [])]
    details += [f"{naming.species}, it seems"] if naming.species else []
    say(f"\n{source.sample}: {cells} x {source.n_genes:,} genes ({', '.join(details)})")
    if source.remark:
        say(source.remark)
    density = "" if source.values_per_cell is None else f", about {source.values_per_cell:,.0f} a cell"
    say(f"values: {source.values}{density}" + ("" if source.is_usable else "  - cannot be used as they are"))
    for name, classes in source.columns.items():
        shown = ", ".join(f"{label} {count:,}" for label, count in list(classes.items())[:MAX_CLASSES_SHOWN])
        more = len(classes) - MAX_CLASSES_SHOWN
        say(f"{name}: {len(classes):,} values: {shown}" + (f" and {more:,} more" if more > 0 else ""))


def _print_card(card: dict[str, Any]) -> None:
    classes, naming = card["classes"], card["gene_naming"]
    counts = [f" {count:,}" for count in card["cells_per_class"]] or [""] * len(classes)
    named = [name + count for name, count in zip(classes, counts, strict=False)]
    shown = ", ".join(named[:MAX_CLASSES_SHOWN]) + (" ..." if len(named) > MAX_CLASSES_SHOWN else "")
    say(f"names {len(classes):,} classes of column {card['label_column']}: {shown}")
    species = f"; {naming.species}, it seems" if naming.species else ""
    say(f"reads {card['n_genes']:,} genes by {naming.id_type}{species}")
    for source in card["sources"]:
        say(f"learnt from {source['sample']}: {source['n_cells']:,} cells, sha256 {source['sha256'][:12]}")
    judged = {name: f"{value:,.0f}" if name == "n_cells" else f"{value:.3f}" for name, value in card["metrics"].items()}
    say("judged: " + ", ".join(f"{name} {value}" for name, value in judged.items()))


def _size(n_bytes: float) -> str:
    return decimal(int(n_bytes))


def _time(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def print_run(summary: "RunSummary", *, as_json: bool) -> None:
    """Print what a training run gave."""
    if as_json:
        content = summary.to_json()
        places = {"folder": summary.folder, "report": _page(summary.folder), "model": summary.model_path}
        print_json(Trained.model_validate({**content, **places, "spread": content["spread"] or None}))
        return
    judged = summary.held_out or summary.final.metrics
    show(_metrics_table(judged))
    if len(summary.labels.classes) <= MAX_CONFUSION_CLASSES:
        show(_confusion_table(judged, summary.labels.classes))
    if summary.not_judged:
        say(f"not judged, since no cell could be held out and others learnt from: {examples(summary.not_judged)}")
    cells = "held-out cells" if summary.held_out else "selection cells (no cross-validation: too good)"
    say(f"accuracy {judged.accuracy:.3f}   macro-F1 {judged.macro_f1:.3f}   on {judged.n_cells:,} {cells}")
    if judged.calibration_error_uncalibrated is not None:
        before = judged.calibration_error_uncalibrated
        say(f"calibration error {judged.calibration_error:.3f}, before temperature scaling {before:.3f}")
    if summary.baseline is not None:
        gains = summary.baseline.to_json(summary.folds)["network_adds"]
        theirs = summary.baseline.held_out
        say(f"logistic regression: accuracy {theirs.accuracy:.3f}   macro-F1 {theirs.macro_f1:.3f}   on the same cells")
        said = (f"{words} {_gain(**gains[name])}" for name, words in GAINS)
        say(f"what the network adds: {'   '.join(said)}")
    say(f"report: {_page(summary.folder)}")
    say(f"model:  {summary.model_path}")


def _gain(mean: float, sd: float | None) -> str:
    return f"{mean:+.3f}" if sd is None else f"{mean:+.3f} (sd over folds {sd:.3f})"


def print_tissues(models: "TissueModels", *, as_json: bool) -> None:
    """Print what the training of a model for each tissue gave."""
    if as_json:
        places = {"folder": models.folder, "report": _page(models.folder)}
        print_json(TrainedTissues.model_validate({**models.to_json(), **places}))
        return
    table = table_of("tissue", "cells", "classes", "accuracy", "macro-F1")
    for row in models.to_json()["tissues"]:
        figures = [_spread(row[name], row[f"{name}_sd"]) for name in ("accuracy", "macro_f1")]
        table.add_row(
            text(row["tissue"]), f"{row['n_cells']:,}", _classes(row["n_classes"], row["n_not_judged"]),
            *(["skipped"] if row["reason"] else figures),
        )  # fmt: skip
    show(table)
    say(f"report: {_page(models.folder)}")
    say(f"models: {models.folder / 'summary.csv'}")


def _classes(n_classes: int, n_not_judged: int | None) -> str:
    return f"{n_classes:,} ({n_not_judged:,.0f} not judged)" if n_not_judged else f"{n_classes:,}"


def print_comparison(comparison: "Comparison", *, as_json: bool) -> None:
    """Print which family is best for which tissue."""
    content = comparison.to_json()
    if as_json:
        print_json(Compared.model_validate(content))
        return
    table = table_of("tissue", "cells", "family", "accuracy", "macro-F1", "verdict", words=("family", "verdict"))
    last = None
    for row in content["rows"]:
        tissue = row["tissue"] or row["scope"]
        head = [text(tissue), f"{row['n_cells']:,}"] if tissue != last else ["", ""]
        verdict = "best" if row["winner"] else "within the spread" if row["within_spread"] else ""
        figures = [_spread(row[name], row[f"{name}_sd"]) for name in ("accuracy", "macro_f1")]
        table.add_row(*head, row["family"], *figures, verdict)
        last = tissue
    show(table)
    for remark in comparison.remarks:
        say(f"note: {remark}")
    say(f"written: {comparison.path}")


def _spread(mean: float | None, sd: float | None) -> str:
    return "-" if mean is None else f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def print_predictions(summary: "PredictionSummary", *, as_json: bool) -> None:
    """Print what a prediction gave."""
    if as_json:
        print_json(Predicted.model_validate({**asdict(summary), "report": _page(summary.folder)}))
        return
    table = table_of("cell type", "cells")
    for name, count in summary.cells_by_type.items():
        table.add_row(text(name), f"{count:,}")
    show(table)
    coverage = summary.coverage
    if coverage.n_genes:  # of a model that has labelled any cell
        say(
            f"genes: {coverage.n_found:,} of the model's {coverage.n_genes:,} ({coverage.share:.1%}; "
            f"{coverage.weighted_share:.1%} by weight)   mean confidence {summary.mean_confidence:.3f}"
        )
    if summary.n_empty_cells:
        say(f"{summary.n_empty_cells:,} cells have no counts; their labels say nothing")
    if summary.n_unknown:
        say(f"{summary.n_unknown:,} of {summary.n_cells:,} cells are given no label (Unknown)")
    for line in summary.warnings:
        say(line)
    say(f"report: {_page(summary.folder)}")
    say(f"predictions: {summary.folder / 'predictions.csv'}")


def print_samples(samples: "SamplePredictions", *, as_json: bool) -> None:
    """Print what the predictions of many samples gave."""
    if as_json:
        places = {"folder": samples.folder, "report": _page(samples.folder), "table": samples.table}
        outcome = {"samples": samples.rows, "error": _fault_of(samples.require_all)}
        print_json(PredictedSamples.model_validate({**places, **outcome}))
        return
    table = table_of("sample", "cells", "unknown", "confidence", "genes", "most frequent", words=("most frequent",))
    for row in samples.rows:
        if row["status"] == "labelled":
            figures = (f"{row['n_cells']:,}", f"{row['n_unknown']:,}", f"{row['mean_confidence']:.3f}")
            table.add_row(text(row["sample"]), *figures, f"{row['gene_coverage']:.1%}", text(row["most_frequent"]))
        else:
            table.add_row(text(row["sample"]), row["status"])
    show(table)
    for row in samples.rows:
        if row["reason"]:
            say(f"{row['sample']}: {row['reason']}")
    say(f"report: {_page(samples.folder)}")
    say(f"table of all samples: {samples.table}")


def print_evaluation(found: "Evaluation", *, as_json: bool) -> None:
    """Print how good labels are."""
    if as_json:
        print_json(Evaluated.model_validate(found.to_json()))
        return
    scores = found.scores
    show(_metrics_table(scores))
    if len(scores.confusion) <= MAX_CONFUSION_CLASSES:
        columns = ["?" if name not in scores.confusion.index else str(k + 1) for k, name in enumerate(scores.confusion)]
        show(_counts_table(columns, scores.confusion.index, scores.confusion.to_numpy()))
    calibration = "" if scores.calibration_error is None else f"   calibration error {scores.calibration_error:.3f}"
    say(
        f"accuracy {scores.accuracy:.3f}   balanced {scores.balanced_accuracy:.3f}   macro-F1 {scores.macro_f1:.3f}"
        f"{calibration}   on {scores.n_cells:,} cells"
    )
    if scores.accuracy_of_labelled is not None and scores.coverage < 1:
        say(f"labelled {scores.coverage:.1%} of the cells, of these right {scores.accuracy_of_labelled:.3f}")
    if found.folder is not None:
        say(f"tables: {found.folder}")


def print_pages(pages: Sequence[Path], *, as_json: bool) -> None:
    """Print where the pages of runs are."""
    if as_json:
        print_json(WrittenPages.model_validate({"pages": pages}))
        return
    for page in pages:
        say(f"report: {page}")


def print_markers(summary: "MarkerSummary", *, as_json: bool) -> None:
    """Print the best genes of every class."""
    if as_json:
        print_json(FoundMarkers.model_validate({**summary.to_json(), "report": _page(summary.folder)}))
        return
    tested = bool(summary.deletions)
    table = table_of("class", *(("accuracy", "deleted", "at random") if tested else ()))
    table.add_column("top genes", overflow="fold")
    for name, genes in summary.top_genes.items():
        figures = _accuracies(summary.deletions.get(name)) if tested else ()
        table.add_row(text(name), *figures, text(" ".join(genes[:MAX_GENES_SHOWN])))
    show(table)
    if tested:
        say(
            "accuracy: share of the class's cells that are labelled right; deleted: without its best "
            f"{max(deletion.n_genes for deletion in summary.deletions.values())} genes; at random: without as many "
            "others that it expresses"
        )
    say(f"report: {_page(summary.folder)}")
    say(f"markers: {summary.folder / 'markers.csv'}")


def _accuracies(deletion: "Deletion | None") -> tuple[str, ...]:
    if deletion is None:
        return ("", "", "")
    found = (deletion.accuracy, deletion.accuracy_without_markers, deletion.accuracy_without_random)
    return tuple(f"{accuracy:.3f}" for accuracy in found)


def _metrics_table(metrics: "Metrics | Scores") -> Table:
    table = table_of("class", "cells", "precision", "recall", "F1")
    for name, row in metrics.per_class.iterrows():
        is_judged = row["f1"] == row["f1"]  # a figure that is missing is not itself
        figures = [f"{row[column]:.3f}" for column in ("precision", "recall", "f1")] if is_judged else NOT_JUDGED
        table.add_row(text(str(name)), f"{row['support']:,.0f}", *figures)
    return table


def _confusion_table(metrics: "Metrics", classes: tuple[str, ...]) -> Table:
    is_judged = metrics.per_class["f1"].notna()
    names = [name if judged else f"{name} (not judged)" for name, judged in zip(classes, is_judged, strict=True)]
    return _counts_table([str(number + 1) for number in range(len(classes))], names, metrics.confusion_KK)


def _counts_table(columns: Sequence[str], names: Iterable[str], counts_KN: Iterable[Iterable[int]]) -> Table:
    table = table_of("true \\ predicted", *columns)
    for number, (name, counts) in enumerate(zip(names, counts_KN, strict=True)):
        table.add_row(text(f"{number + 1:>2} {name}"), *(f"{count:,}" if count else "·" for count in counts))
    return table
