"""Bare weights (``.pkl``), as the first release kept them: plain tensors, with no word of genes or classes."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from scnym.base.errors import FormatError
from scnym.base.settings import NetworkSettings

LOADING_FAULTS = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, AssertionError),
    *(RuntimeError, EOFError, OSError, ValueError, AttributeError, LookupError, TypeError, ArithmeticError),
)
"""What torch raises on files that are damaged or made by hand."""


def save_weights(path: Path, network: nn.Module) -> None:
    """Write bare weights, plain tensors only."""
    torch.save({name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read bare weights; nothing in the file is executed.

    Raises
    ------
    FormatError
        If the file holds anything but plain tensors.
    """
    try:
        with warnings.catch_warnings():
            _require_stored(path)
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            weights = torch.load(path, map_location="cpu", weights_only=True)
        n_bytes = path.stat().st_size
        sound = all(isinstance(value, torch.Tensor) and _is_held(value, n_bytes) for value in weights.values())
    except LOADING_FAULTS:
        sound, weights = False, {}
    if not sound:
        raise FormatError(
            "not a file of plain weights; nothing in it was executed",
            where=path,
            way_out="give a model.safetensors, or a .pkl written by scnym",
        )
    return weights


def _require_stored(path: Path) -> None:
    """Refuse an archive that is compressed, which torch never writes: a few kilobytes may hold any size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("the archive is compressed")


def _is_held(tensor: torch.Tensor, n_bytes: int) -> bool:
    """Whether a tensor's values are all in a file of so many bytes; strides of zero can make any size of one value."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.is_contiguous() and tensor.nbytes <= n_bytes


def n_tissues_of(weights: Mapping[str, torch.Tensor]) -> int:
    """Read off the weights how many tissues the network reads beside the genes."""
    return weights["tissue.weight"].shape[1] if "tissue.weight" in weights else 0


def settings_of(weights: Mapping[str, torch.Tensor], path: Path) -> NetworkSettings:
    """Read the network's shape off its weights.

    Raises
    ------
    FormatError
        If they are not the weights of a network of this package.
    """
    known = {"first.weight": 2, "classify.weight": 2, "normalize_to": 0, "input_scale": 0}
    if any(name not in weights or weights[name].ndim != n_axes for name, n_axes in known.items()):
        raise FormatError(
            "weights of another kind of network", where=path, way_out="give weights written by this version of scnym"
        )
    blocks = {match[1] for name in weights if (match := re.match(r"blocks\.(\d+)\.", name))}
    return NetworkSettings(
        n_hidden=weights["first.weight"].shape[1],
        n_layers=len(blocks),
        residual=not blocks or any(".change." in name for name in weights),
        shortcut="shortcut.weight" in weights,
        normalize_to=float(weights["normalize_to"]),
    )
