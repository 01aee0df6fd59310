"""Where to compute."""

from contextlib import AbstractContextManager, nullcontext

import torch

from scnym.base.errors import SettingsError
from scnym.base.settings import Device
from scnym.disk.store import Store
from scnym.feed.batches import Layout, layout_for


def choose_device(wanted: Device) -> torch.device:
    """Return the device of a name; `auto` is the fastest that is there.

    Raises
    ------
    SettingsError
        If it is not there, with those that are.
    """
    found = devices_there()
    if wanted == "auto":
        return torch.device(found[-1])
    if wanted not in found:
        raise SettingsError(
            f"{wanted!r} is not there on this machine",
            where="--device",
            way_out=f"give {' or '.join(['auto', *found])}",
            mend={"--device": "auto"},
        )
    return torch.device(wanted)


def devices_there() -> list[str]:
    """Name the devices of this machine, the fastest last."""
    there = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return [name for name, is_there in there.items() if is_there]


def layout_on(device: torch.device, store: Store) -> Layout:
    """Return the layout of batches in which a step on these counts is faster; Apple's GPUs take dense ones only."""
    return "dense" if device.type == "mps" else layout_for(store)


def moved(x_BG: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Bring a batch to a device. A CSR batch travels as it is, and is made dense there: the way is the bottleneck."""
    if device.type == "cpu":
        return x_BG
    if x_BG.layout != torch.sparse_csr:
        return _sent(x_BG, device)
    parts = (_sent(part, device) for part in (x_BG.crow_indices(), x_BG.col_indices(), x_BG.values()))
    return torch.sparse_csr_tensor(*parts, size=x_BG.shape, check_invariants=False).to_dense()


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send a tensor; to CUDA from pinned memory, beside what is computed there meanwhile."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Let products be computed in bfloat16 while the block runs, on CUDA; weights and their gradients stay float32."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
