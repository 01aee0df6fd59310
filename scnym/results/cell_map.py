"""Where cells lie in a network's last hidden layer, on two principal components, of a sample where cells are many.

C cells, B cells that come together, S cells of the sample, H hidden units.
"""

import numpy as np

MAX_CELLS = 20_000
"""Cells on a map."""
NEIGHBOURS = 64
"""Cells that are drawn together where they are read from disk, where neighbours come at the price of one."""


def sampled_rows(rows_C: np.ndarray, seed: int, *, together: int = 1, max_cells: int = MAX_CELLS) -> np.ndarray:
    """Draw some of the rows, in order: all of them if they are few.

    Parameters
    ----------
    rows_C
        Rows to draw from, ascending.
    seed
        Decides which.
    together
        Rows beside each other that are drawn as one.
    max_cells
        As many at most.
    """
    if len(rows_C) <= max_cells:
        return rows_C
    n_groups = -(-len(rows_C) // together)
    drawn = np.random.default_rng(seed).choice(n_groups, max_cells // together, replace=False)
    return rows_C[np.isin(np.arange(len(rows_C)) // together, drawn)]


class EmbeddingSample:
    """Collects the last hidden layer of some cells while all of them pass.

    Parameters
    ----------
    rows_S
        Rows of the cells, ascending.
    width
        Hidden units.
    """

    def __init__(self, rows_S: np.ndarray, width: int) -> None:
        self.rows_S = rows_S
        self._embedding_SH = np.zeros((len(rows_S), width), np.float32)

    def put(self, rows_B: np.ndarray, embedding_BH: np.ndarray) -> None:
        """Take what is wanted of some cells."""
        places_B = np.minimum(np.searchsorted(self.rows_S, rows_B), len(self.rows_S) - 1)
        is_wanted_B = self.rows_S[places_B] == rows_B
        self._embedding_SH[places_B[is_wanted_B]] = embedding_BH[is_wanted_B]

    @property
    def can_be_drawn(self) -> bool:
        """Whether there are two dimensions to look at."""
        return min(self._embedding_SH.shape) >= 2

    def components(self) -> np.ndarray:
        """Return the cells' first two principal components, shape (S, 2)."""
        from sklearn.decomposition import PCA

        pca = PCA(n_components=2, svd_solver="covariance_eigh")
        with np.errstate(divide="ignore", invalid="ignore"):  # of cells that are all alike
            return pca.fit_transform(self._embedding_SH.astype(np.float64))
