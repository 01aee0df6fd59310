"""What the values of settings must be."""

from numbers import Integral, Real
from typing import Any

from scnym.base.errors import SettingsError


def require(ok: bool, option: str, value: object, wanted: str) -> None:
    """Raise a SettingsError if a value is not what is wanted."""
    if not ok:
        raise SettingsError(f"{value!r} is not possible", where=f"--{option}", way_out=f"give {wanted}")


def require_whole(option: str, value: Any, least: int) -> None:
    """Raise a SettingsError if a value is no whole number, or too small."""
    require(isinstance(value, Integral) and not isinstance(value, bool), option, value, "a whole number")
    require(int(value) >= least, option, value, f"{least} or more")


def require_number(option: str, value: Any, least: float, wanted: str) -> None:
    """Raise a SettingsError if a value is no finite number, or too small."""
    require(isinstance(value, Real) and least <= float(value) < float("inf"), option, value, wanted)


def require_fraction(option: str, value: float) -> None:
    """Raise a SettingsError if a value is not from 0 up to, but not including, 1."""
    require(0 <= value < 1, option, value, "a number from 0 up to, but not including, 1")


def require_seed(value: int) -> None:
    """Raise a SettingsError if a value cannot begin NumPy's random numbers."""
    is_one = isinstance(value, Integral) and 0 <= int(value) < 2**32
    require(is_one, "seed", value, "a whole number from 0 to 4294967295")


def require_positive(option: str, value: float) -> None:
    """Raise a SettingsError if a value is not above 0."""
    require(0 < value < float("inf"), option, value, "a number above 0")
