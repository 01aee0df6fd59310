"""The network, and its product of a CSR batch with the first layer's weights.

A cell has values in some 2,000 genes, and each needs its own row of weights: 2 MB per cell, of 20 MB in all. Cell by
cell, they come from main memory each time. So all cells of a batch use one range of genes before the next range is
begun: 39 microseconds of one core per cell, where torch takes 70 to 90, with 256 units and 1,900 values per cell.

B cells of a batch, E stored values, G genes, H hidden units, K classes, N columns of the weights, T tissues.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from scipy import sparse
from torch import nn

from scnym.base.settings import NetworkSettings
from scnym.feed.batches import csr_tensor

STRETCH_BYTES = 2**19
"""Weights that are used together; half of a core's own cache."""


def csr_product(x_BG: torch.Tensor, weight_GN: torch.Tensor) -> torch.Tensor:
    """Multiply; each row of the result depends on its own cell alone, however many threads there are.

    Parameters
    ----------
    x_BG
        Float32, CSR; fastest where the genes of every row ascend.
    weight_GN
        Float32, dense.
    """
    n_cells, (n_genes, n_columns) = len(x_BG), weight_GN.shape
    weights_GN = weight_GN.detach().contiguous().numpy()
    matrix = x_BG.crow_indices().numpy(), x_BG.col_indices().numpy(), x_BG.values().numpy()
    out_BN = np.zeros((n_cells, n_columns), np.float32)
    stretch = max(1, STRETCH_BYTES // (4 * max(1, n_columns)))
    bounds = np.linspace(0, n_cells, torch.get_num_threads() + 1).astype(np.int64)

    def multiply(part: int) -> None:
        _add_product(out_BN, *matrix, weights_GN, bounds[part], bounds[part + 1], min(stretch, max(1, n_genes)))

    list(_threads(len(bounds) - 1).map(multiply, range(len(bounds) - 1)))
    return torch.from_numpy(out_BN)


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="csr_product")


@numba.njit(nogil=True, cache=True, fastmath=True)
def _add_product(
    out_BN: np.ndarray,
    indptr: np.ndarray,
    genes_E: np.ndarray,
    values_E: np.ndarray,
    weights_GN: np.ndarray,
    first: int,
    stop: int,
    stretch: int,
) -> None:
    """Add the products of rows `first` to `stop`. Genes out of order wait for a later stretch, and miss none."""
    at = indptr[first:stop].copy()
    for begin in range(0, len(weights_GN), stretch):
        end = begin + stretch
        for row in range(first, stop):
            out_N = out_BN[row]
            k = at[row - first]
            while k < indptr[row + 1] and genes_E[k] < end:
                value, weights_N = values_E[k], weights_GN[genes_E[k]]
                for column in range(len(out_N)):
                    out_N[column] += value * weights_N[column]
                k += 1
            at[row - first] = k


TISSUE_SCALE = 10.0
"""What stands for one in the one-hot of a tissue: about what a strong marker gene is in the scaled input, whose
variances add up to 1,000. A plain one goes unheard among the genes (`docs/decisions.md`)."""
Reading = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]
"""What training asks of a network, and one that is shared gives too: `CellTypeNetwork.path_logits`."""


class HiddenBlock(nn.Module):
    """Linear, BN, dropout, ReLU."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(dropout), nn.ReLU())

    def forward(self, hidden_BH: torch.Tensor) -> torch.Tensor:
        """Map (B, H) to (B, H)."""
        return self.layers(hidden_BH)


class ResidualBlock(nn.Module):
    """Linear, BN, ReLU, Linear, BN, plus the input; then ReLU, BN, dropout, ReLU."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        )
        self.finish = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(dropout), nn.ReLU())

    def forward(self, hidden_BH: torch.Tensor) -> torch.Tensor:
        """Map (B, H) to (B, H)."""
        return self.finish(hidden_BH + self.change(hidden_BH))


class _CsrProduct(torch.autograd.Function):
    """CSR x dense; the gradient goes to the dense side only, by a product with the transposed CSR."""

    @staticmethod
    def forward(ctx: Any, x_BG: torch.Tensor, weight_GH: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x_BG)
        return _product(x_BG, weight_GH)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (x_BG,), (gradient_BH,) = ctx.saved_tensors, gradients
        return None, _product(transposed(x_BG), gradient_BH.contiguous())


def _product(x_BG: torch.Tensor, weight_GH: torch.Tensor) -> torch.Tensor:
    on_cpu = x_BG.device.type == "cpu" and x_BG.dtype == weight_GH.dtype == torch.float32
    return csr_product(x_BG, weight_GH) if on_cpu else x_BG @ weight_GH


def transposed(x_BG: torch.Tensor) -> torch.Tensor:
    """Return the transpose of a CSR batch, as CSR; scipy sorts it 20 times faster than torch."""
    parts = (x_BG.values().numpy(), x_BG.col_indices().numpy(), x_BG.crow_indices().numpy())
    n_rows, n_columns = x_BG.shape
    flipped = sparse.csr_matrix(parts, shape=(n_rows, n_columns)).T.tocsr()
    return csr_tensor(flipped.indptr, flipped.indices, flipped.data, (n_columns, n_rows))


class GeneLinear(nn.Module):
    """A linear layer that reads genes: dense batches, and CSR ones without making them dense.

    Starts like ``torch.nn.Linear``; the weight has shape (G, H), so that a gene's weights lie side by side.
    """

    def __init__(self, n_genes: int, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_genes)
        self.weight = nn.Parameter(torch.empty(n_genes, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, x_BG: torch.Tensor) -> torch.Tensor:
        """Map (B, G) to (B, H)."""
        if x_BG.layout == torch.sparse_csr:
            return _CsrProduct.apply(x_BG, self.weight) + self.bias
        return torch.addmm(self.bias, x_BG, self.weight)


def _on_values(layer: Callable[[torch.Tensor], torch.Tensor], x_BG: torch.Tensor) -> torch.Tensor:
    """Apply what keeps zeros at zero, to all values of a dense batch or to the stored ones of a CSR batch."""
    if x_BG.layout != torch.sparse_csr:
        return layer(x_BG)
    n_rows, n_columns = x_BG.shape
    places = x_BG.crow_indices().numpy(), x_BG.col_indices().numpy()
    return csr_tensor(*places, layer(x_BG.values()), (n_rows, n_columns))


def pooled(paths: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of the logits of some paths, shape (B, K)."""
    return sum(paths[1:], paths[0]) / len(paths)


class NoLogits(nn.Module):
    """What stands for the last layer of a network without hidden units: it is never asked."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, 0))


class CellTypeNetwork(nn.Module):
    """Genes to class logits on two paths, through hidden layers and by a linear shortcut; their mean is what counts.

    Each path is a classifier of its own, and learns as one (`scnym.model.losses`): the mean of logits is the
    logarithmic opinion pool of the two (Heskes 1998). The shortcut starts at zero. Without hidden units it is all there
    is: a multinomial logistic regression. `docs/decisions.md` has the measurements that led to it.

    Parameters
    ----------
    n_genes, n_classes
        Length of input and output.
    settings
        The shape between them.
    n_tissues
        Length of the one-hot of a cell's tissue, times `TISSUE_SCALE`, that is read beside the genes; 0 for none. It is
        exempt from input dropout, and all zero for a cell of no known tissue.
    """

    input_scale: torch.Tensor
    normalize_to: torch.Tensor
    """Library size of the cells it reads; kept with the weights, which mean nothing without it."""

    def __init__(self, n_genes: int, n_classes: int, settings: NetworkSettings, n_tissues: int = 0) -> None:
        super().__init__()
        width = settings.n_hidden
        self.register_buffer("input_scale", torch.ones(()))
        self.register_buffer("normalize_to", torch.tensor(settings.normalize_to, dtype=torch.float32))
        self.input_dropout = nn.Dropout(settings.init_dropout)
        self.first = GeneLinear(n_genes, width)
        finish = (nn.BatchNorm1d(width), nn.Dropout(settings.hidden_dropout), nn.ReLU()) if width else ()
        self.first_finish = nn.Sequential(*finish)
        block = ResidualBlock if settings.residual else HiddenBlock
        self.blocks = nn.Sequential(
            *(block(width, settings.hidden_dropout) for _ in range(settings.n_layers if width else 0))
        )
        self.classify = nn.Linear(width, n_classes) if width else NoLogits(n_classes)
        self.shortcut = GeneLinear(n_genes, n_classes) if settings.shortcut else None
        if self.shortcut is not None:
            nn.init.zeros_(self.shortcut.weight)
            nn.init.zeros_(self.shortcut.bias)
        # A one-hot appended to the genes is a vector per tissue added behind the layers that read genes.
        self.tissue = nn.Linear(n_tissues, width, bias=False) if n_tissues and width else None
        self.tissue_shortcut = nn.Linear(n_tissues, n_classes, bias=False) if n_tissues and settings.shortcut else None
        if self.tissue_shortcut is not None:
            nn.init.zeros_(self.tissue_shortcut.weight)

    @torch.no_grad()
    def deafen_to(self, tissues: Sequence[int]) -> None:
        """Let some tissues say nothing, as one that is not known does; without training cells they stay so."""
        for layer in (self.tissue, self.tissue_shortcut):
            if layer is not None:
                layer.weight[:, list(tissues)] = 0

    def forward(self, x_BG: torch.Tensor, tissues_B: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits, shape (B, K); see `logits_and_embedding`."""
        return self.logits_and_embedding(x_BG, tissues_B)[0]

    def logits_and_embedding(
        self, x_BG: torch.Tensor, tissues_B: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits, shape (B, K), and the last hidden layer, shape (B, H).

        Parameters
        ----------
        x_BG
            Normalised log counts, dense or CSR.
        tissues_B
            Number of each cell's tissue, -1 where it is not known; None if none is.
        """
        hidden_BH, shortcut_BK = self._paths(x_BG, tissues_B)
        return pooled(self.classified(hidden_BH, shortcut_BK)), hidden_BH

    def path_logits(self, x_BG: torch.Tensor, tissues_B: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the logits of each path by itself, each of shape (B, K); arguments as above."""
        return self.classified(*self._paths(x_BG, tissues_B))

    def classified(self, hidden_BH: torch.Tensor, shortcut_BK: torch.Tensor | None) -> list[torch.Tensor]:
        """Return the logits of each path: of the last hidden layer, and of the shortcut if there is one."""
        by_hidden = [self.classify(hidden_BH)] if hidden_BH.shape[1] else []
        return by_hidden + ([] if shortcut_BK is None else [shortcut_BK])

    @property
    def reading_layers(self) -> list[nn.Module]:
        """The linear layers that a batch meets first: those of genes and of tissues."""
        layers = (self.first, self.shortcut, self.tissue, self.tissue_shortcut)
        return [layer for layer in layers if layer is not None]

    def _paths(self, x_BG: torch.Tensor, tissues_B: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the last hidden layer, shape (B, H), and the shortcut's logits, shape (B, K)."""
        scaled_BG = _on_values(lambda values: values * self.input_scale, x_BG)
        one_hot_BT = self._one_hot(tissues_B)
        first_BH = self.first(_on_values(self.input_dropout, scaled_BG))
        if self.tissue is not None and one_hot_BT is not None:
            first_BH = first_BH + self.tissue(one_hot_BT)
        shortcut_BK = None if self.shortcut is None else self.shortcut(scaled_BG)
        if self.tissue_shortcut is not None and one_hot_BT is not None and shortcut_BK is not None:
            shortcut_BK = shortcut_BK + self.tissue_shortcut(one_hot_BT)
        return self.blocks(self.first_finish(first_BH)), shortcut_BK

    def _one_hot(self, tissues_B: torch.Tensor | None) -> torch.Tensor | None:
        reader = self.tissue or self.tissue_shortcut
        if reader is None or tissues_B is None:
            return None
        known = torch.arange(reader.in_features, device=tissues_B.device)
        return (tissues_B[:, None] == known).to(reader.weight.dtype) * TISSUE_SCALE

    @torch.no_grad()
    def gene_importance(self) -> torch.Tensor:
        """Return how much the network listens to each gene: the norm of its outgoing weights, shape (G,)."""
        squares_G = self.first.weight.square().sum(dim=1)
        if self.shortcut is not None:
            squares_G = squares_G + self.shortcut.weight.square().sum(dim=1)
        return squares_G.sqrt().cpu()
