"""Settings of the whole suite."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# As the command line does: threads that spin while they wait hold up the others (cli/main.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of the code: no example has a deadline.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="module", autouse=True)
def environment_given_back() -> Iterator[None]:
    """Undo what a module changes in the environment: Dask sets OMP_NUM_THREADS there for the workers it starts."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
