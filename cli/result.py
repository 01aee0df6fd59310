"""What a result for machines is made of, and what stands in its place when there is none."""

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from scnym.base.errors import ScnymError


def _place(path: object) -> str:
    """Give a path as text; bytes of its name that are no text are replaced."""
    return os.fsencode(path).decode(errors="replace") if isinstance(path, os.PathLike) else str(path)


Place = Annotated[str, BeforeValidator(_place)]


class Result(BaseModel):
    """Every key stands in every document; one that has no value is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Fault(Result):
    """What went wrong."""

    what: str
    """The fault, with the value that is wrong."""
    where: str | None
    """File, row, column or option in which it was found."""
    way_out: str
    """What to do about it; empty where there is nothing to say."""
    command: str | None
    """The command that was given, mended, to be pasted into a shell; null where it is not known what would help."""
    exit_code: int
    """That of the command: 2 for what the user can mend, 1 for a fault of scnym, 130 after Ctrl-C."""

    @classmethod
    def of(cls, fault: Exception, command: str | None = None) -> "Fault":
        """Give what an exception says."""
        if isinstance(fault, ScnymError):
            what, where, way_out, exit_code = fault.what, fault.where, fault.way_out, fault.exit_code
        else:
            what, where, way_out, exit_code = f"{type(fault).__name__}: {fault}", None, "", 1
        return cls(what=what, where=where, way_out=way_out, command=command, exit_code=exit_code)


class Failure(Result):
    """What stands in place of a result when a command ends without one."""

    error: Fault
