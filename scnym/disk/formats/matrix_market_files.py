"""Which lists of features and of cells belong to a Matrix Market file; the names of the three tell.

Every tool names them in its own way, and GEO puts a sample before the name. What is left of a name without the words
for a matrix, for features and for cells is the sample; files of one sample, in one folder, belong together.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scnym.base.errors import DataError, MissingInputError, examples

MATRIX, BARCODES = ("matrix.mtx", "matrix.mtx.gz"), ("barcodes.tsv", "barcodes.tsv.gz")
FEATURES = ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz")
MATRIX_SUFFIXES = (".mtx", ".mtx.gz")
LIST_SUFFIX = re.compile(r"\.(tsv|txt|csv|tab|mtx_rows|mtx_cols)(\.gz)?$")
CELLS = ("barcodes", "barcode", "cellbarcodes", "cells", "cell", "cellids", "cellid", "cellnames", "cols", "colnames")
GENES = ("features", "feature", "genes", "gene", "geneids", "geneid", "genenames", "rows", "rownames")
ROWS, COLUMNS = frozenset({"rows", "rownames"}), frozenset({"cols", "colnames"})
SYMBOLS, TABLES = frozenset({"names", "name", "symbols"}), frozenset({"metadata", "meta", "annotation", "annotations"})
COUNTS = frozenset({"matrix", "mtx", "count", "counts", "expression", "umi", "umis", "dge", "mat"})
OTHERS = frozenset({"x", "by", "all", "quants", "decorated", "id", "ids", "info", "list", "data", "table"})
NEUTRAL = frozenset({*CELLS, *GENES}) | SYMBOLS | TABLES | COUNTS | OTHERS
"""Words in a file's name that say what it is, and not which sample it is of."""
AROUND = re.compile(rf"^(({'|'.join(NEUTRAL)})([\W_]+|$))+|(([\W_]+|^)({'|'.join(NEUTRAL)}))+$", re.IGNORECASE)
PEAKS = "peaks.bed"
TOGETHER = (
    "put the three files of each sample into one folder of their own, as matrix.mtx.gz, features.tsv.gz and "
    "barcodes.tsv.gz"
)


@dataclass(frozen=True, slots=True)
class MatrixFiles:
    """A Matrix Market file, and the lists beside it."""

    matrix: Path
    features: Path
    cells: Path
    symbols: Path | None
    """List of the genes' symbols, where they have one of their own."""
    cells_first: bool | None
    """Whether the tool that uses such names writes cells x features; None if the names are no tool's."""
    by_axis: bool
    """Whether the lists are named after the rows and columns, not after what these are."""

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files beside the matrix."""
        return tuple(one for one in (self.features, self.cells, self.symbols) if one is not None)


def is_matrix(path: Path) -> bool:
    """Whether a file is a Matrix Market file, by its name."""
    return path.name.lower().endswith(MATRIX_SUFFIXES)


def is_10x_folder(path: Path) -> bool:
    """Whether a path is a folder with a matrix as Cell Ranger writes it."""
    return any((path / name).is_file() for name in MATRIX)


def sample_in_name(matrix: Path) -> str:
    """Return what stands before or behind the words of a matrix's name, ``GSM1_donor`` of ``GSM1_donor_matrix.mtx``."""
    return AROUND.sub("", LIST_SUFFIX.sub("", _without_suffix(matrix.name)))


def matrix_files(path: Path) -> MatrixFiles:
    """Find what belongs together.

    Parameters
    ----------
    path
        A Matrix Market file, or a folder as Cell Ranger writes it.

    Raises
    ------
    MissingInputError
        If a list is not there.
    DataError
        If several could be meant, or there are peaks in place of genes.
    """
    matrix = next(path / name for name in MATRIX if (path / name).is_file()) if path.is_dir() else path
    return _Folder(matrix.parent).files_of(_Named(matrix), path)


def lists_beside(path: Path) -> tuple[Path, ...]:
    """Return the lists that belong to a Matrix Market file; none where they do not make a whole."""
    try:
        return matrix_files(path).lists
    except (MissingInputError, DataError, OSError):
        return ()


def lists_in(folder: Path) -> dict[Path, Path]:
    """Return the lists in a folder that belong to Matrix Market files there, each with its matrix."""
    found: dict[Path, Path] = {}
    if not any(is_matrix(one) for one in folder.iterdir()):
        return found
    named = _Folder(folder)
    for own in named.matrices:
        with suppress(MissingInputError, DataError):
            for one in named.files_of(own, own.path).lists:
                found.setdefault(one, own.path)
    return found


@dataclass(frozen=True)
class _Named:
    """A file, and what its name tells."""

    path: Path

    @cached_property
    def words(self) -> list[str]:
        name = self.path.name.lower()
        return [word for word in re.split(r"[\W_]+", _without_suffix(name)) if word]

    @cached_property
    def sample(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if word not in NEUTRAL)

    @cached_property
    def role(self) -> str | None:
        """What it lists, by the last word for it: ``genes`` or ``cells``; None if it is no list."""
        at = next((k for k in range(len(self.words))[::-1] if self.words[k] in {*CELLS, *GENES}), None)
        if at is None or not LIST_SUFFIX.search(self.path.name.lower()) or COUNTS & set(self.words[at + 1 :]):
            return None
        return "cells" if (self.words[at] in CELLS) != (self.is_alevin and self.is_by_axis) else "genes"

    @property
    def is_alevin(self) -> bool:
        """Whether it is of alevin or alevin-fry, whose rows are cells."""
        return "quants" in self.words

    @property
    def is_by_axis(self) -> bool:
        return bool((ROWS | COLUMNS) & set(self.words))

    def rank(self, own: "_Named") -> tuple[bool, bool, bool, int, int]:
        """Rank it among lists of the same things: those of symbols, and tables of more than names, come last.

        Of two that are alike, the one that shares more words with the matrix's name is nearer to it.
        """
        words = set(self.words)
        order = min((k % len(GENES) for k, word in enumerate((*GENES, *CELLS)) if word in words), default=0)
        is_symbols, n_shared = bool(words & SYMBOLS), len(words & set(own.words))
        return is_symbols, bool(words & TABLES), "decorated" not in words, order - 9 * ("all" in words), -n_shared


def _without_suffix(name: str) -> str:
    return re.sub(r"(\.(mtx|tsv|txt|csv|tab))?(\.gz)?$", "", name, flags=re.IGNORECASE)


class _Folder:
    """The files of a folder by what they list, and of which sample."""

    def __init__(self, path: Path) -> None:
        files = [_Named(one) for one in sorted(path.iterdir()) if one.is_file()]
        self.matrices = [one for one in files if is_matrix(one.path)]
        self._lists = defaultdict[tuple[str, tuple[str, ...]], list[_Named]](list)
        for one in files:
            if one.role is not None:
                self._lists[one.role, one.sample].append(one)

    def files_of(self, own: "_Named", path: Path) -> MatrixFiles:
        """Find what belongs to one of its matrices; see `matrix_files`."""
        genes, barcodes = self._nearest(own, "genes"), self._nearest(own, "cells")
        _require_both(path, own.path, {"genes": genes, "cells": barcodes})
        features, symbols = _with_symbols(genes, own)
        cells = _best(barcodes, own)
        return MatrixFiles(
            matrix=own.path,
            features=features.path,
            cells=cells.path,
            symbols=symbols,
            cells_first=_cells_first(own, features, cells),
            by_axis=features.is_by_axis and not own.is_alevin,
        )

    def _nearest(self, own: "_Named", role: str) -> list["_Named"]:
        """Return the lists of the matrix's sample; else those of a name that its own begins with; else the only one."""
        for length in range(len(own.sample), -1, -1):
            if (role, own.sample[:length]) in self._lists:
                return self._lists[role, own.sample[:length]]
        samples = {one.sample for one in self.matrices}
        shared = [sample for kind, sample in self._lists if kind == role and sample not in samples]
        is_shared = len(shared) == 1 and (role == "genes" or len(self.matrices) == 1)
        return self._lists[role, shared[0]] if is_shared else []


def _best(lists: Sequence[_Named], own: _Named) -> _Named:
    """Return the first by rank, a plain file before a gzipped one.

    Raises
    ------
    DataError
        If two of the same rank have different names.
    """
    ranked = sorted(lists, key=lambda one: (one.rank(own), one.path.name.lower().endswith(".gz")))
    rivals = [one for one in ranked if one.rank(own) == ranked[0].rank(own) and one.words != ranked[0].words]
    if rivals:
        raise DataError(
            f"{examples(one.path.name for one in (ranked[0], *rivals))} could each name its {ranked[0].role}",
            where=own.path,
            way_out=TOGETHER,
        )
    return ranked[0]


def _with_symbols(lists: Sequence[_Named], own: _Named) -> tuple[_Named, Path | None]:
    """Return the list of features, and the one of their symbols where it is another, as kallisto-bustools writes it."""
    names = [one for one in lists if one.rank(own)[0]]
    others = [one for one in lists if not one.rank(own)[0]]
    if not others or not names:
        return _best(lists, own), None
    return _best(others, own), _best(names, own).path


def _cells_first(own: _Named, features: _Named, cells: _Named) -> bool | None:
    if own.is_alevin or own.words[:2] == ["cells", "x"]:
        return True  # alevin-fry, kallisto-bustools
    if features.path.name.lower().endswith((".csv", ".csv.gz")) and {"cell", "metadata"} <= set(cells.words):
        return True  # Parse Biosciences
    known = {"features", "genes", *ROWS} & set(features.words) and {"barcodes", *COLUMNS} & set(cells.words)
    return False if known else None


def _require_both(path: Path, matrix: Path, found: dict[str, list[_Named]]) -> None:
    missing = [role for role, lists in found.items() if not lists]
    if not missing:
        return
    if "genes" in missing and (matrix.parent / PEAKS).exists():
        raise DataError(
            f"its features are the peaks of {PEAKS}, not genes",
            where=path,
            way_out="give the output of a gene expression library",
        )
    if path.is_dir():
        names = FEATURES if "genes" in missing else BARCODES
        raise MissingInputError(f"there is no {' or '.join(names)} in it", where=path, way_out="put it there")
    raise MissingInputError(
        f"a Matrix Market file without a list of its {' and its '.join(missing)} beside it",
        where=path,
        way_out=TOGETHER,
    )


def names_of(paths: Iterable[Path]) -> str:
    """Return the names of some files, for a message."""
    return ", ".join(path.name for path in paths)
