"""Files of unknown origin: nothing in them is executed, and nothing is written outside of what the user named."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_text

import scnym
from scnym.base.errors import FormatError
from scnym.base.settings import ConvertSettings
from scnym.model.snapshot import Snapshot


class Trap:
    """Runs a shell command in whoever unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a trap makes when it goes off."""
    return tmp_path / "went_off"


def test_the_trap_goes_off_where_it_is_unpickled(mark: Path):
    pickle.loads(pickle.dumps(Trap(mark)))  # noqa: S301 - this is what must not happen elsewhere
    assert mark.exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.safetensors"])
def test_a_pickle_given_as_a_model_is_not_executed(name: str, mark: Path, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(FormatError, match=r"nothing in it was executed|not a model file"):
        Snapshot.load(path, write_text(tmp_path / "genes.txt", "a\nb\n"))
    assert not mark.exists()


def test_objects_in_an_array_are_not_unpickled(mark: Path, tmp_path: Path):
    path, genes = tmp_path / "cells.npy", write_text(tmp_path / "genes.txt", "a\n")
    np.save(path, np.array([[Trap(mark)]], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="nothing in it was executed"):
        scnym.convert([path], tmp_path / "cells.zarr", ConvertSettings(input_genes=str(genes)))
    assert not mark.exists()
