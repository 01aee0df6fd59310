"""The output tree: what each file is called and holds. A folder gets its name only when everything in it is whole."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from scnym.base.errors import OutputExistsError, UserError

BEST_WEIGHTS = "00_best_model_weights.pkl"
MODEL_FILE = "model.safetensors"
CHECKPOINT_NAME = "model_weights_{:03d}.pkl"
CHECKPOINTS_KEPT = 2
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@contextmanager
def whole_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill; it takes the name `target` when the block ends without an error.

    Until then it stands beside the target as ``NAME.partial``; what an earlier run left there is removed.

    Raises
    ------
    OutputExistsError
        If the target exists and may not be replaced.
    """
    require_absent(target, overwrite=overwrite)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except UserError:
        shutil.rmtree(partial)
        raise
    replaced = target.with_name(f"{target.name}.replaced")
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def require_absent(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that exists.

    Raises
    ------
    OutputExistsError
        If it exists and may not be replaced.
    """
    if target.exists() and not overwrite:
        raise OutputExistsError(
            "the output exists already",
            where=target,
            way_out="choose another --out_path, or give --overwrite",
        )


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header and no row numbers."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, table)


def write_csv(file: TextIO, table: pd.DataFrame, *, header: bool = True) -> None:
    """Add a table to an open CSV."""
    table.to_csv(file, index=False, header=header, float_format="%.6g", lineterminator="\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def write_rows(path: Path, cell_ids: np.ndarray, rows: np.ndarray) -> None:
    """Write an index file: the id and the row number in the input of each cell."""
    write_table(path, pd.DataFrame({"cell_id": cell_ids[rows], "row": rows}))


def drop_old_checkpoints(folder: Path) -> None:
    """Keep only the last periodic checkpoints."""
    for old in sorted(folder.glob("model_weights_*.pkl"))[:-CHECKPOINTS_KEPT]:
        old.unlink()


def safe_names(names: Sequence[str]) -> list[str]:
    """File names for names taken from data: portable characters only, never empty, reserved or alike in any case."""
    taken: set[str] = set()
    safe = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9+_.-]+", "_", name).strip("._") or "unnamed"
        stem = f"{stem}_" if _RESERVED.fullmatch(stem) else stem[:100]
        candidate, number = stem, 2
        while candidate.casefold() in taken:
            candidate, number = f"{stem}_{number}", number + 1
        taken.add(candidate.casefold())
        safe.append(candidate)
    return safe


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Path, np.ndarray)):
        return str(value) if isinstance(value, Path) else value.tolist()
    raise TypeError(f"{type(value)} has no place in JSON")
