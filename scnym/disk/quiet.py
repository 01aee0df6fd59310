"""Libraries that are called without what they have to say to their own users."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Let no warning of a library through: of unusual files, which are read, or left out and said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
