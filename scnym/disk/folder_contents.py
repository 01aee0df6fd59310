"""Which files of a folder are read, and which are left out: annotations, and copies of the same cells."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scnym.base.errors import FormatError
from scnym.disk.annotations import MISSING
from scnym.disk.feature_kinds import FEATURE_TABLE, plain
from scnym.disk.formats.arrays import SUFFIX as NPY_SUFFIX
from scnym.disk.formats.csv_lines import opened, separator_among
from scnym.disk.formats.csv_orientation import GENE, named_beside
from scnym.disk.formats.detect import TEXT_SUFFIXES, hdf5_kind, is_readable
from scnym.disk.formats.matrix_market_files import is_10x_folder, is_matrix, lists_in
from scnym.disk.same_cells import one_of_each, remarks_on

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


UNSURE_SUFFIX = ".h5"
"""Of HDF5 files, those that may be anything."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a folder, or what a pattern matches."""

    inputs: tuple[Path, ...]
    left_out: tuple[Path, ...]
    """Files that hold no counts."""
    remarks: tuple[str, ...]
    """What was chosen among files of the same cells, to be said to the user."""


def contents_of(paths: Sequence[Path], root: Path) -> Contents:
    """Find what is to be read.

    Parameters
    ----------
    paths
        A folder, or all that a pattern matches.
    root
        The folder in which they all are.

    Raises
    ------
    DataError
        If files hold only parts of the counts of the same cells.
    """
    readable: list[Path] = []
    left_out: list[Path] = []
    for path, is_input in _walk(paths):
        (readable if is_input else left_out).append(path)
    kinds = {path: hdf5_kind(path) if path.suffix.lower() == UNSURE_SUFFIX else "" for path in readable}
    is_10x = {path: is_10x_folder(path) or is_matrix(path) or kinds[path] == "10x" for path in readable}
    side = [path for path in readable if _is_side(path, kinds[path], root, beside_matrices=any(is_10x.values()))]
    if len(side) == len(readable):
        side = []  # whoever reads them says what is wrong
    inputs = [path for path in readable if path not in set(side)]
    chosen = one_of_each(inputs, root, is_10x=is_10x)
    read = {path for one in chosen for path in one.read}
    return Contents(
        inputs=tuple(path for path in inputs if path in read),
        left_out=tuple(sorted([*left_out, *side], key=lambda path: (len(path.parts), path))),
        remarks=tuple(remarks_on(chosen, root)),
    )


def _is_side(path: Path, kind: str, root: Path, *, beside_matrices: bool) -> bool:
    if path.name.lower().endswith(TEXT_SUFFIXES) and path.is_file():
        return is_side_table(path, root, beside_matrices=beside_matrices)
    return kind == "other"


def _walk(paths: Iterable[Path], *, is_below: bool = False) -> Iterator[tuple[Path, bool]]:
    """Yield all files, those below folders too, and whether each looks like an input; hidden ones do not count.

    The lists that belong to a matrix are a part of it, and not yielded.
    """
    lists: dict[Path, dict[Path, Path]] = {}
    for path in paths:
        if is_below and path.name.startswith("."):
            continue
        if path.parent not in lists and path.is_file():
            lists[path.parent] = lists_in(path.parent)
        if path in lists.get(path.parent, ()):
            continue
        if path.is_dir() and not is_readable(path):
            yield from _walk(sorted(path.iterdir()), is_below=True)
        else:
            is_named_array = not is_below and path.name.lower().endswith(NPY_SUFFIX)
            yield path, is_readable(path) or is_named_array
