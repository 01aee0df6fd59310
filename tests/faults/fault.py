"""One mistake of a user: what is wrong, the command that meets it, and what must be said."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def as_it_is(folder: Path) -> None:
    """Make nothing: the mistake is in the command, or in what is not there."""
    del folder


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A mistake, as a row of the table. Paths are those in a folder of its own, where the command runs."""

    what: str
    """What is wrong, in a few words."""
    form: str
    """The kind of file, or `option`, in which it is."""
    line: str
    """The command, without `scnym`."""
    where: str
    """How the message must begin: the file with its line, cell or column, or the option."""
    says: str
    """What must be said of it; the value, if there is one."""
    way_out: str
    """How the way out must begin."""
    make: Callable[[Path], object] = as_it_is
    """Writes the input into a folder."""
    needs: tuple[str, ...] = ()
    """What is copied into the folder first; see `Bench`."""
    exit_code: int = 2
    leaves: tuple[str, ...] = ()
    """Patterns of new files that are meant to be there afterwards: finished ones, or what a next run goes on from."""
    prints: bool = False
    """Whether a result is printed beside the message, as `verify` prints what it found."""
    quotes: bool = False
    """Whether the message quotes a library in brackets, in words that differ between versions."""

    @property
    def command(self) -> str:
        """The command's name."""
        return self.line.split()[0]

    @property
    def name(self) -> str:
        """Names the row."""
        return f"{self.command}: {self.form}: {self.what}"
