"""Inputs that vanish or change while they are read are named, and nothing is made of the part that was read."""

import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import WRITERS, clustered_adata, write_h5ad

from scnym import NetworkSettings, RunSettings, SplitSettings, StreamSettings, TrainSettings, convert, train, verify
from scnym.base.errors import UserError
from scnym.base.progress import SilentProgress
from scnym.disk.parts import Parts


def cut_after_a_line(path: Path) -> None:
    """Cut a file in its middle; text after a line, so that nothing of what is left looks wrong."""
    content = path.read_bytes()
    half = content.find(b"\n", len(content) // 2) + 1 if path.suffix == ".csv" else len(content) // 2
    os.truncate(path, half)


@pytest.mark.parametrize("spoil", [cut_after_a_line, Path.unlink], ids=["cut", "gone"])
@pytest.mark.parametrize("form", WRITERS)
def test_a_file_that_changes_while_it_is_read_is_refused_and_read_anew(
    form: str, spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scnym.disk.dataset.MAX_BLOCK_ELEMENTS", 600)
    path, target = tmp_path / f"cells.{form}", tmp_path / "cells.zarr"
    WRITERS[form](path, clustered_adata(400))
    content, original = path.read_bytes(), Parts.add

    def spoiling(self: Parts, *given: Any) -> None:
        original(self, *given)
        if len(self) == 1:
            spoil(path)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "add", spoiling)
        with pytest.raises((UserError, OSError), match=rf"cells\.{form}"):
            convert([path], target)
    assert not target.exists()
    path.write_bytes(content)
    assert verify(convert([path], target)).n_cells == 400
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, target.name]


class Spoiling(SilentProgress):
    """Takes the counts away when the first batch is learnt."""

    def __init__(self, store: Path) -> None:
        self.shards = list((store / "dataset_0/X/data/c").iterdir())

    @contextmanager
    def task(self, name, *, total, unit):
        del name, total, unit
        yield self

    def advance(self, amount: int, note: str = "") -> None:
        del amount, note
        for shard in self.shards:
            shard.unlink(missing_ok=True)


def test_a_store_whose_counts_vanish_while_it_trains_is_named_and_no_zeros_are_learnt(tmp_path: Path):
    store = convert([write_h5ad(tmp_path / "cells.h5ad", clustered_adata(300))], tmp_path / "cells.zarr")
    settings = RunSettings(
        label_column="cell_type",
        split=SplitSettings(n_folds=0),
        stream=StreamSettings(batch_size=32),
        network=NetworkSettings(n_hidden=4),
        training=TrainSettings(n_epochs=5),
    )
    with pytest.raises(UserError, match=r"cells\.zarr"):
        train(store, tmp_path / "out", settings, progress=Spoiling(store))
    assert not (tmp_path / "out" / "tissue_independent").exists()
