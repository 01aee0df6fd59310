"""A command whose options are the fields of a class: declared once, passed on as one thing."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def takes_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """Give a command whose options are the fields of the class that its one argument is annotated with.

    Typer reads the options off a function's signature; so the class's signature becomes the command's, with the options
    that must be given in front.
    """
    kind = next(iter(command.__annotations__.values()))

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(kind(**given))

    fields = sorted(inspect.signature(kind).parameters.values(), key=lambda field: field.default is not field.empty)
    vars(with_options)["__signature__"] = inspect.Signature(fields)
    with_options.__annotations__ = {field.name: field.annotation for field in fields}
    return with_options
