"""On which device the network computes."""

import torch

from scnym.base.errors import SettingsError

AUTO = "auto"


def device_of(name: str) -> torch.device:
    """Give a device by its name.

    Parameters
    ----------
    name
        ``cpu``, ``cuda`` (``cuda:1`` for the second one), ``mps``; or ``auto`` for the fastest that is there.

    Raises
    ------
    SettingsError
        If there is no such device; says what there is.
    """
    there = _available()
    if name == AUTO:
        return torch.device(there[-1])
    kind, _, number = name.partition(":")
    if kind in there and (not number or (number.isdecimal() and int(number) < _how_many(kind))):
        return torch.device(name)
    raise SettingsError(
        f"there is no device {name!r} here", where="--device", way_out=f"give {AUTO} or one of {', '.join(there)}"
    )


def _available() -> list[str]:
    """Give the kinds of device that are there, the fastest last."""
    found = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return ["cpu", *(kind for kind, is_there in found.items() if is_there)]


def _how_many(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1
