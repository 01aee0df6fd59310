"""Parts of a file that must not be read, or cannot be: a file that needs them is refused, else they are left out."""

from collections.abc import Mapping

from scnym.base.errors import FormatError, ScnymError


class Unsound:
    """Names of parts, such as ``uns/colours``, each with what is wrong with it.

    Parameters
    ----------
    faults
        What is wrong, by name; ``""`` is the whole file.
    """

    def __init__(self, faults: Mapping[str, FormatError] | None = None) -> None:
        self._faults = dict(faults or {})

    def at(self, key: str) -> FormatError | None:
        """Return what is wrong with a part itself, or with one that it lies in."""
        parts = key.split("/")
        names = ("", *("/".join(parts[:stop]) for stop in range(1, len(parts) + 1)))
        return next((self._faults[name] for name in names if name in self._faults), None)

    def within(self, key: str) -> FormatError | None:
        """Return what is wrong with a part, with one that it lies in, or with anything that lies in it."""
        below = (fault for name, fault in self._faults.items() if name.startswith(f"{key}/"))
        return self.at(key) or next(below, None)

    def require(self, key: str) -> None:
        """Refuse a part that is needed, where anything of it is not sound.

        Raises
        ------
        FormatError
            The first fault.
        """
        fault = self.within(key)
        if fault is not None:
            raise fault

    def require_whole(self) -> None:
        """Refuse a file that is not sound itself.

        Raises
        ------
        FormatError
            With the fault.
        """
        if "" in self._faults:
            raise self._faults[""]

    def require_any(self) -> None:
        """Refuse a file of which any part is not sound.

        Raises
        ------
        FormatError
            The first fault.
        """
        for fault in self._faults.values():
            raise fault


def reason_of(fault: BaseException, key: str) -> str:
    """Return what is wrong with a part in words that follow its name."""
    what = fault.what if isinstance(fault, ScnymError) else f"it cannot be read: {fault}"
    return what.removeprefix(f"{key} ")
