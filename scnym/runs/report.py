"""Pages of runs that are there already, written anew: for a folder moved, or a newer version's look."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jinja2
import pandas as pd

from scnym.base.errors import FormatError, MissingInputError
from scnym.disk.aside import nothing_at, room_for
from scnym.disk.gather import SAMPLE_COLUMN
from scnym.runs.folder import METRICS_FILE, REPORT_FILE, SUMMARY_FILE, read_own_json
from scnym.runs.handouts.markers import write_markers_page
from scnym.runs.handouts.prediction import write_prediction_page
from scnym.runs.handouts.samples import TABLE_FILE, write_samples_page
from scnym.runs.handouts.tissues import write_tissues_page
from scnym.runs.handouts.training import write_training_page

Writer = Callable[[Path, Path], None]
TOLD_BY: tuple[tuple[str, str, Writer], ...] = (
    (METRICS_FILE, "final_model_on_selection_cells", write_training_page),
    (SUMMARY_FILE, "tissues", write_tissues_page),
    (SUMMARY_FILE, "top_genes", write_markers_page),
    (SUMMARY_FILE, "cells_by_type", write_prediction_page),
)
"""Which file of a run holds what, and who writes the page of such a run."""
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, jinja2.TemplateError)
"""What comes of files that are not as the run wrote them."""


def report(run: str | Path) -> list[Path]:
    """Write the page of a run anew, ``report.html`` in its folder, from the files that the run left there.

    Parameters
    ----------
    run
        Folder of a training, of a prediction, of markers; or one that holds such folders, each of which gets its page.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    UserError
        If there is no finished run in the folder, or its files are damaged.
    """
    run = Path(run)
    if not run.is_dir():
        raise MissingInputError("there is no such folder", where=run, way_out="give the folder of a run")
    found = [(folder, writer) for folder in _folders(run) if (writer := _writer_of(folder)) is not None]
    if not found:
        raise MissingInputError(
            "no finished run is in this folder",
            where=run,
            way_out="give the folder of a training, a prediction or markers, such as OUT/tissue_independent, or the "
            "--out_path of one",
        )
    return [_written(folder, writer) for folder, writer in found]


def _folders(run: Path) -> list[Path]:
    """Give a run's folder and those below it that may be runs too: of tissues, of samples, or of an output folder.

    What a link leads to elsewhere is not below it.
    """
    root = run.resolve()
    below = sorted(one for pattern in ("*", "*/*") for one in run.glob(pattern) if one.is_dir())
    return [run, *(one for one in below if one.suffix != ".zarr" and one.resolve().is_relative_to(root))]


def _writer_of(folder: Path) -> Writer | None:
    """Find out what a folder is; None if nothing that has a page."""
    if _is_of_samples(folder):
        return write_samples_page
    for file, key, writer in TOLD_BY:
        if (folder / file).is_file() and key in read_own_json(folder / file):
            return writer
    return None


def _is_of_samples(folder: Path) -> bool:
    with suppress(OSError, ValueError):  # a table of something else, or none
        return SAMPLE_COLUMN in pd.read_csv(folder / TABLE_FILE, nrows=0)
    return False


def _written(folder: Path, writer: Writer) -> Path:
    """Write a page; the one before it stands until the new one is whole."""
    page, unfinished = folder / REPORT_FILE, folder / f".{REPORT_FILE}.partial"
    try:
        with room_for(page):
            writer(folder, nothing_at(unfinished))
            unfinished.replace(page)
    except DAMAGED as fault:
        raise FormatError(
            f"the run's files are not as it wrote them ({type(fault).__name__}: {fault})",
            where=folder,
            way_out="copy the folder again, or give the run's command again",
        ) from fault
    finally:
        unfinished.unlink(missing_ok=True)
    return page
