"""Text tables beside counts that hold none themselves: clusters, metadata, metrics, lists of names."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from scnym.base.errors import FormatError
from scnym.disk.annotations import separator_of
from scnym.disk.formats.byte_lines import opened

HEAD_BYTES, HEAD_LINES = 2**16, 6
MANY_COLUMNS = 50
"""No table of measures has so many columns of numbers; one of counts has."""
NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?")
NEGATIVE = re.compile(r"-\d.*")
TOOL_FOLDERS = frozenset({"analysis", "secondary_analysis", "spatial", "vdj_t", "vdj_b", "vdj", "qc", "logs", "report"})
"""Folders in which pipelines put what is no counts."""
SIDE_WORDS = frozenset(
    (
        *(
            "metadata",
            "meta",
            "annotation",
            "annotations",
            "cluster",
            "clusters",
            "clustering",
            "celltype",
            "celltypes",
        ),
        *("label", "labels", "barcodes", "barcode", "features", "genes", "whitelist", "positions", "projection"),
        *(
            "tsne",
            "umap",
            "pca",
            "components",
            "dispersion",
            "variance",
            "differential",
            "expression",
            "metrics",
            "summary",
        ),
        *(
            "stats",
            "qc",
            "cells",
            "transcripts",
            "boundaries",
            "markers",
            "doublets",
            "scrublet",
            "samples",
            "samplesheet",
        ),
        *("design", "sdrf", "idf", "manifest", "aggregation", "config", "contig", "annotations", "clonotypes", "tags"),
        *(
            "assignment",
            "confidence",
            "reference",
            "guides",
            "fragments",
            "peaks",
            "t2g",
            "readme",
            "log",
            "md5",
            "info",
        ),
        *("pheno", "phenotype", "coldata", "obs", "var", "selected", "cellreads", "umipercellsorted", "contamination"),
    )
)
"""Words in the names of tables beside counts."""
COUNT_WORDS = frozenset({"count", "counts", "matrix", "dge", "umi", "umis", "expr", "exprmatrix"})


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of a table hold behind the ids."""

    n_columns: int
    share_numbers: float
    has_negative: bool


def is_side_table(path: Path, *, beside_matrices: bool) -> bool:
    """Whether a text table holds no counts.

    Beside a pipeline's matrices it is one by its name, place and size; beside other tables only by what is in it, so
    that no table of counts is left out.
    """
    head = _head(path)
    if head is None:
        return False  # whoever reads it says what is wrong
    if head.n_columns < 1 or head.share_numbers < 0.5:
        return True
    if not beside_matrices:
        return False
    words = {word for word in re.split(r"[\W_]+", path.name.lower()) if word}
    is_named = bool(words & SIDE_WORDS) and not words & COUNT_WORDS
    in_tool = any(part.lower() in TOOL_FOLDERS for part in path.parts[:-1])
    return head.has_negative or in_tool or head.n_columns < 2 or (is_named and head.n_columns < MANY_COLUMNS)


def _head(path: Path) -> Head | None:
    """Look at the first lines below the first; None if they are no whole lines of text."""
    try:
        with opened(path) as file:
            text = file.read(HEAD_BYTES)
        lines = text.decode(errors="ignore").splitlines()
    except FormatError:
        return None
    whole = lines if len(text) < HEAD_BYTES else lines[:-1]
    if len(whole) < 2:
        return None
    rows = [fields for fields in csv.reader(whole[1:HEAD_LINES], delimiter=_separator(whole, path)) if fields]
    fields = [field.strip() for row in rows for field in row[1:]]
    numbers = [field for field in fields if NUMBER.fullmatch(field) or NEGATIVE.fullmatch(field)]
    return Head(
        n_columns=min((len(row) - 1 for row in rows), default=0),
        share_numbers=len(numbers) / max(1, len(fields)),
        has_negative=any(NEGATIVE.fullmatch(field) for field in fields),
    )


def _separator(lines: list[str], path: Path) -> str:
    usual = separator_of(path)
    return usual if usual in lines[1] else next((one for one in ("\t", ",", ";", " ") if one in lines[1]), usual)
