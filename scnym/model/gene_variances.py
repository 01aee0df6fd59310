"""How much each gene varies among some cells: one pass, for the input's scale and for the choice of genes.

C cells, G genes.
"""

import numpy as np

from scnym.feed.stream import StreamDataset
from scnym.model.collectives import ALONE, Processes


def gene_variances(cells: StreamDataset, processes: Processes = ALONE) -> np.ndarray:
    """Give the variance of every gene over the cells of a stream of CSR batches, each cell once; shape (G,).

    Of several processes each reads every n-th batch.
    """
    n_cells, sum_G, square_G = 0, np.zeros(cells.n_genes), np.zeros(cells.n_genes)
    for batch in cells.epoch(0, worker=processes.number, n_workers=processes.count):
        values, genes = batch.x.values().double().numpy(), batch.x.col_indices().numpy()
        n_cells += len(batch.rows)
        sum_G += np.bincount(genes, weights=values, minlength=len(sum_G))
        square_G += np.bincount(genes, weights=values * values, minlength=len(sum_G))
    n_cells, sum_G, square_G = map(sum, zip(*processes.gathered((n_cells, sum_G, square_G)), strict=True))
    return np.maximum(square_G / n_cells - np.square(sum_G / n_cells), 0)


def most_variable(variances_G: np.ndarray, n_genes: int) -> np.ndarray:
    """Give the positions of the genes that vary most, ascending; of equal ones the first."""
    return np.sort(np.argsort(-variances_G, kind="stable")[:n_genes])
