"""The model's output for every cell, collected: narrow columns in memory, wide matrices on disk.

B cells that come together, C cells in all, H hidden units, K classes, N columns of a matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

UNKNOWN = "Unknown"
"""Label of a cell that is given none."""
NO_CLASS = -1
BLOCK_BYTES = 2**24


class RowMatrix:
    """A matrix of 32-bit floats in a file, written and read by rows; what was not written is zero.

    Parameters
    ----------
    path
        The file; it is made.
    n_rows, n_columns
        Its shape.
    """

    def __init__(self, path: Path, n_rows: int, n_columns: int) -> None:
        self.path, self.shape = path, (n_rows, n_columns)
        self._row_bytes = n_columns * np.dtype(np.float32).itemsize
        with path.open("wb") as file:
            file.truncate(n_rows * self._row_bytes)

    def write(self, rows_B: np.ndarray, values_BN: np.ndarray) -> None:
        """Write some rows, ascending, each once."""
        values_BN = np.ascontiguousarray(values_BN, np.float32)
        starts = np.flatnonzero(np.diff(rows_B, prepend=-2) != 1)
        stops = np.append(starts[1:], len(rows_B))
        with self.path.open("r+b") as file:  # which writes all or raises; os.pwrite stops where the disk is full
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                file.seek(int(rows_B[start]) * self._row_bytes)
                file.write(values_BN[start:stop].data)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows from `start` to `stop`, all by default."""
        n_rows = (self.shape[0] if stop is None else stop) - start
        count = n_rows * self.shape[1]
        values = np.fromfile(self.path, np.float32, count=count, offset=start * self._row_bytes)
        return values.reshape(n_rows, self.shape[1])

    def blocks(self, max_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all rows in order, a few at a time, each time with the number of the first."""
        n_rows = max(1, max_bytes // max(1, self._row_bytes))
        for start in range(0, self.shape[0], n_rows):
            yield start, self.read(start, min(start + n_rows, self.shape[0]))


@dataclass(frozen=True, slots=True)
class Ranked:
    """The most probable class of some cells, and the next one."""

    best_B: np.ndarray
    """Code of the class, -1 for a cell that no model knows; signed integers."""
    second_B: np.ndarray
    """Code of the runner-up; signed integers."""
    confidence_B: np.ndarray
    """Probability of the best class."""
    second_confidence_B: np.ndarray
    """Probability of the runner-up."""

    @classmethod
    def of_nobody(cls, n_cells: int) -> "Ranked":
        """Return the columns of cells of which nothing is known yet."""
        codes = np.full((2, n_cells), NO_CLASS, np.int32)
        return cls(codes[0], codes[1], *np.zeros((2, n_cells), np.float32))

    def part(self, some: slice | np.ndarray) -> "Ranked":
        """Return the columns of some cells."""
        return Ranked(*(getattr(self, name)[some] for name in self.__slots__))

    def put(self, rows_B: np.ndarray, others: "Ranked") -> None:
        """Write what is known of some cells."""
        for name in self.__slots__:
            getattr(self, name)[rows_B] = getattr(others, name)


def ranked(probabilities_BK: np.ndarray, best_B: np.ndarray | None = None) -> Ranked:
    """Find the two most probable classes; ties go to the class that comes first.

    Parameters
    ----------
    probabilities_BK
        Of two classes at least.
    best_B
        Take these as the best; the runner-up is then the most probable of the others.
    """
    cells = np.arange(len(probabilities_BK))
    first_B: np.ndarray = probabilities_BK.argmax(axis=1) if best_B is None else best_B
    others_BK = probabilities_BK.copy()
    others_BK[cells, first_B] = -1.0
    second_B = others_BK.argmax(axis=1)
    codes = first_B.astype(np.int32), second_B.astype(np.int32)
    return Ranked(*codes, probabilities_BK[cells, first_B], others_BK[cells, second_B])


@dataclass(frozen=True)
class Answers:
    """What is known of all cells. Classes of several models stand in one list."""

    classes: tuple[str, ...]
    own: Ranked
    """What each cell's own counts say."""
    probabilities: RowMatrix | None
    """Of shape (C, K); None if nobody needs them."""
    embedding: RowMatrix | None
    """Last hidden layer, shape (C, H); None if nobody needs it."""

    @classmethod
    def begun(
        cls, folder: Path, n_cells: int, classes: Sequence[str], *, probabilities: bool, width: int | None
    ) -> "Answers":
        """Make room for `n_cells` cells, on disk in `folder`; `width` is that of the embedding, None for none."""
        return cls(
            classes=tuple(classes),
            own=Ranked.of_nobody(n_cells),
            probabilities=RowMatrix(folder / "probabilities", n_cells, len(classes)) if probabilities else None,
            embedding=None if width is None else RowMatrix(folder / "embedding", n_cells, width),
        )

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.own.best_B)

    def put(
        self, rows_B: np.ndarray, codes_K: np.ndarray, probabilities_BK: np.ndarray, embedding_BH: np.ndarray
    ) -> None:
        """Take in what a model says of some cells.

        Parameters
        ----------
        rows_B
            Their rows, ascending.
        codes_K
            Position of each of the model's classes among all.
        probabilities_BK
            Of the model's classes.
        embedding_BH
            Its last hidden layer.
        """
        found = ranked(probabilities_BK)
        found = Ranked(codes_K[found.best_B], codes_K[found.second_B], found.confidence_B, found.second_confidence_B)
        self.own.put(rows_B, found)
        if self.probabilities is not None:
            everything_BK = np.zeros((len(rows_B), len(self.classes)), np.float32)
            everything_BK[:, codes_K] = probabilities_BK
            self.probabilities.write(rows_B, everything_BK)
        if self.embedding is not None:
            self.embedding.write(rows_B, embedding_BH)


@dataclass(frozen=True, slots=True)
class Judged:
    """All that figures of merit need; 18 bytes a cell: codes take one each (above 128 classes two), floats four."""

    best_C: np.ndarray
    """Code of the most probable class."""
    second_C: np.ndarray
    """Code of the runner-up."""
    confidence_C: np.ndarray
    """Probability of the best class."""
    second_confidence_C: np.ndarray
    """Probability of the runner-up."""
    likelihood_C: np.ndarray
    """Probability of the true class."""
    uncalibrated_C: np.ndarray
    """Probability of the best class before temperature scaling."""

    @classmethod
    def of(cls, truth_B: np.ndarray, probabilities_BK: np.ndarray, uncalibrated_BK: np.ndarray) -> "Judged":
        """Sum up some cells.

        Parameters
        ----------
        truth_B
            Codes of their classes.
        probabilities_BK, uncalibrated_BK
            After temperature scaling and before, which has the same class on top; of two classes at least.
        """
        top, cells = ranked(probabilities_BK), np.arange(len(truth_B))
        likelihood_B, uncalibrated_B = probabilities_BK[cells, truth_B], uncalibrated_BK[cells, top.best_B]
        kinds = top.confidence_B, top.second_confidence_B, likelihood_B, uncalibrated_B
        code = np.min_scalar_type(-probabilities_BK.shape[1])
        codes = top.best_B.astype(code), top.second_B.astype(code)
        return cls(*codes, *(kind.astype(np.float32) for kind in kinds))

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Put cells one after the other."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    @property
    def ranked(self) -> Ranked:
        """The two most probable classes."""
        return Ranked(self.best_C, self.second_C, self.confidence_C, self.second_confidence_C)
