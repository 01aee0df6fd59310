"""One network trained by several processes, each on its share of every batch, as one process would on the whole.

Gradients are averaged by DistributedDataParallel. Batch statistics are those of the whole batch, and so are the masks
of dropout: every process draws the mask of the whole batch, from the same random numbers, and takes its own part.
(`torch.nn.SyncBatchNorm` knows CUDA only.)

B cells of a share, H hidden units, N numbers, P processes.
"""

import warnings

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from scnym.model.collectives import Processes
from scnym.model.network import CellTypeNetwork, Reading


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the shares of all processes; takes over the weights and statistics of another.

    Parameters
    ----------
    like
        Whose place it takes.
    processes
        Who has the other shares.
    """

    def __init__(self, like: nn.BatchNorm1d, processes: Processes) -> None:
        super().__init__(like.num_features, eps=like.eps, momentum=like.momentum)
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self._processes = processes

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - so the class before has named it
        """Map (B, H) to (B, H)."""
        if not self.training:
            return super().forward(input)
        x_BH = input.to(self.weight.dtype)  # in bfloat16, on GPUs, neither moments nor numbers of cells would be exact
        n_cells, mean_H, variance_H = self._moments(x_BH)
        self._track(n_cells, mean_H.detach(), variance_H.detach())
        return (x_BH - mean_H) * (variance_H + self.eps).rsqrt() * self.weight + self.bias

    def _moments(self, x_BH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give cells, mean and variance of the whole batch from those of the shares (Chan et al. 1979)."""
        own_mean_H = x_BH.mean(dim=0)
        own = (x_BH.new_tensor([len(x_BH)]), own_mean_H, (x_BH - own_mean_H).square().sum(dim=0))
        all_PN = self._processes.whole(torch.cat(own)[None], self._processes.count)
        sizes_P1, means_PH, squares_PH = all_PN.split([len(part) for part in own], dim=1)
        n_cells = sizes_P1.sum()
        mean_H = (sizes_P1 * means_PH).sum(dim=0) / n_cells
        squares_H = (squares_PH + sizes_P1 * (means_PH - mean_H).square()).sum(dim=0)
        return n_cells, mean_H, squares_H / n_cells

    @torch.no_grad()
    def _track(self, n_cells: torch.Tensor, mean_H: torch.Tensor, variance_H: torch.Tensor) -> None:
        unbiased_H = variance_H * n_cells / (n_cells - 1).clamp(min=1)
        for running_H, now_H in ((self.running_mean, mean_H), (self.running_var, unbiased_H)):
            if running_H is not None and self.momentum is not None:
                running_H.lerp_(now_H, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class SharedDropout(nn.Dropout):
    """Dropout with this process's part of the mask that one process would draw for the whole batch.

    Parameters
    ----------
    like
        Whose place it takes.
    processes
        Who has the other parts, before and behind, along the first axis.
    """

    def __init__(self, like: nn.Dropout, processes: Processes) -> None:
        super().__init__(like.p)
        self._processes = processes

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - so the class before has named it
        """Set some numbers to zero, and make the others so much larger."""
        if not self.training or not self.p:
            return input
        lengths = self._processes.lengths(len(input))
        before = sum(lengths[: self._processes.number])
        mask = functional.dropout(input.new_ones(sum(lengths), *input.shape[1:]), self.p)
        return input * mask[before : before + len(input)]


class _Reader(nn.Module):
    """Gives what training needs of a network by `forward`, which is what DistributedDataParallel knows."""

    def __init__(self, network: CellTypeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BG: torch.Tensor, tissues_B: torch.Tensor) -> list[torch.Tensor]:
        return self.network.path_logits(x_BG, tissues_B)


def reader_of(network: CellTypeNetwork, processes: Processes) -> Reading:
    """Give what reads batches for training; its gradients are those of the whole batch, on all processes.

    Parameters
    ----------
    network
        On its device. If there are several processes, its layers are replaced in place by ones that share.
    processes
        Who trains it together.
    """
    if processes.count == 1:
        return network.path_logits
    _share_layers(network, processes)
    for weight in network.parameters():
        weight.requires_grad_(weight.numel() > 0)  # the gradient of each is waited for; empty ones have none
    with warnings.catch_warnings():
        # Torch has begun to call this option by another name, which older versions do not know.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(_Reader(network), broadcast_buffers=False, gradient_as_bucket_view=True)


def _share_layers(module: nn.Module, processes: Processes) -> None:
    shared = {nn.BatchNorm1d: SharedBatchNorm, nn.Dropout: SharedDropout}
    for name, layer in module.named_children():
        if type(layer) in shared:
            setattr(module, name, shared[type(layer)](layer, processes).train(layer.training))
        else:
            _share_layers(layer, processes)
