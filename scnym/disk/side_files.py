"""Text tables beside counts that hold none themselves: clusters, metadata, metrics, lists of names."""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scnym.base.errors import FormatError
from scnym.disk.annotation_names import FEATURE_TABLE, plain
from scnym.disk.annotations import MISSING
from scnym.disk.formats.annotation_columns import named_beside
from scnym.disk.formats.axes import GENE
from scnym.disk.formats.byte_lines import opened
from scnym.disk.formats.separators import separator_among

HEAD_BYTES, HEAD_LINES = 2**16, 30
MANY_COLUMNS = 50
"""No table of measures has so many columns of numbers; one of counts has."""
LEAST_NUMBERS = 0.5
NUMBER, NEGATIVE = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?"), re.compile(r"-\d.*")
TOOL_FOLDERS = frozenset({"analysis", "secondary_analysis", "spatial", "vdj_t", "vdj_b", "vdj", "qc", "logs", "report"})
"""Folders in which pipelines put what is no counts."""
SIDE = """
metadata meta annotation annotations cluster clusters clustering celltype celltypes label labels barcodes barcode
features genes whitelist positions projection tsne umap pca components dispersion variance differential
metrics summary stats qc cells transcripts boundaries markers doublets scrublet samples samplesheet design sdrf idf
manifest aggregation config contig clonotypes tags assignment confidence reference guides fragments peaks t2g readme
log md5 info pheno phenotype coldata obs var selected cellreads umipercellsorted contamination
"""
SIDE_WORDS = frozenset(SIDE.split())
"""Words in the names of tables beside counts."""
COUNT_WORDS = frozenset({"count", "counts", "matrix", "dge", "umi", "umis", "expr", "exprmatrix"})


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of a table hold behind the ids."""

    n_columns: int
    share_numbers: float
    has_negative: bool
    names_genes: bool
    is_annotations: bool
    """Whether its columns have the names of annotations."""

    @property
    def may_be_counts(self) -> bool:
        """Whether most of it is numbers, and not those of annotations."""
        return self.n_columns > 0 and self.share_numbers >= LEAST_NUMBERS and not self.is_annotations


def is_side_table(path: Path, root: Path, *, beside_matrices: bool) -> bool:
    """Whether a text table holds no counts.

    Parameters
    ----------
    path
        The table.
    root
        The folder that was given, in which it lies.
    beside_matrices
        Whether a pipeline's matrices are in that folder, too. Then its name, place and size tell as well; else only
        what is in it, so that no table of counts is left out.
    """
    head = _head(path)
    if head is None:
        return False  # whoever reads it says what is wrong
    if not beside_matrices or not head.may_be_counts:
        return not head.may_be_counts
    words = {word for word in re.split(r"[\W_]+", path.name.lower()) if word}
    signs = (bool(words & COUNT_WORDS), head.names_genes, not words & SIDE_WORDS)
    is_named = sum(signs) > 1  # two of three, as every one of them may mislead
    in_tool = any(part.lower() in TOOL_FOLDERS for part in path.relative_to(root).parts[:-1])
    return head.has_negative or in_tool or head.n_columns < 2 or (head.n_columns < MANY_COLUMNS and not is_named)


def _head(path: Path) -> Head | None:
    """Look at the lines below the first one, of the commonest width; None if they are as long as those of counts."""
    try:
        with opened(path) as file:
            text = file.read(HEAD_BYTES)
    except FormatError:
        return None
    is_whole = len(text) < HEAD_BYTES
    lines = text.decode(errors="ignore").splitlines()
    lines = [line for line in (lines if is_whole else lines[:-1])[:HEAD_LINES] if line.strip() and line[0] not in "#%!"]
    if not is_whole and len(lines) < 2:
        return None
    rows = _rows(lines, path)
    skipped = {k for k, name in enumerate(rows[0]) if plain(name) in FEATURE_TABLE} if rows else set()
    fields = [field for row in rows[1:] for k, field in enumerate(row) if k and k not in skipped]
    known = [field for field in fields if field not in MISSING]
    numbers = [field for field in known if NUMBER.fullmatch(field) or NEGATIVE.fullmatch(field)]
    is_beside = named_beside(rows[0][1:]) if rows else bool
    return Head(
        is_annotations=bool(rows) and len(rows[0]) > 1 and all(map(is_beside, rows[0][1:])),
        n_columns=len(rows[-1]) - 1 if len(rows) > 1 else 0,
        share_numbers=len(numbers) / max(1, len(known)),
        has_negative=any(NEGATIVE.fullmatch(field) for field in fields),
        names_genes=any(GENE.fullmatch(name) for name in [*rows[0], *(row[0] for row in rows[1:])]) if rows else False,
    )


def _rows(lines: list[str], path: Path) -> list[list[str]]:
    """Cut lines into fields: the first one, and those of the commonest width below it."""
    reader = csv.reader(lines, delimiter=separator_among(lines, path))
    rows = [[field.strip() for field in fields] for fields in reader if fields]
    widths = Counter(len(row) for row in rows[1:])
    return [*rows[:1], *(row for row in rows[1:] if len(row) == widths.most_common(1)[0][0])]
