"""What of a folder is read: the inputs in it, one of those that hold the same cells; and what is left out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scnym.disk.formats.companions import is_10x_folder, is_matrix, lists_in
from scnym.disk.formats.npy import SUFFIX as NPY_SUFFIX
from scnym.disk.formats.sniff import TEXT_SUFFIXES, hdf5_kind, is_readable
from scnym.disk.same_cells import one_of_each, remarks_on
from scnym.disk.side_files import is_side_table

UNSURE_SUFFIX = ".h5"
"""Of HDF5 files, those that may be anything."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a folder, or what a pattern matches."""

    inputs: tuple[Path, ...]
    left_out: tuple[Path, ...]
    """Files that hold no counts."""
    remarks: tuple[str, ...]
    """What was chosen among files of the same cells, to be said to the user."""


def contents_of(paths: Sequence[Path], root: Path) -> Contents:
    """Find what is to be read.

    Parameters
    ----------
    paths
        A folder, or all that a pattern matches.
    root
        The folder in which they all are.

    Raises
    ------
    DataError
        If files hold only parts of the counts of the same cells.
    """
    readable: list[Path] = []
    left_out: list[Path] = []
    for path, is_input in _walk(paths):
        (readable if is_input else left_out).append(path)
    kinds = {path: hdf5_kind(path) if path.suffix.lower() == UNSURE_SUFFIX else "" for path in readable}
    is_10x = {path: is_10x_folder(path) or is_matrix(path) or kinds[path] == "10x" for path in readable}
    side = [path for path in readable if _is_side(path, kinds[path], root, beside_matrices=any(is_10x.values()))]
    if len(side) == len(readable):
        side = []  # whoever reads them says what is wrong
    inputs = [path for path in readable if path not in set(side)]
    chosen = one_of_each(inputs, root, is_10x=is_10x)
    read = {path for one in chosen for path in one.read}
    return Contents(
        inputs=tuple(path for path in inputs if path in read),
        left_out=tuple(sorted([*left_out, *side], key=lambda path: (len(path.parts), path))),
        remarks=tuple(remarks_on(chosen, root)),
    )


def _is_side(path: Path, kind: str, root: Path, *, beside_matrices: bool) -> bool:
    if path.name.lower().endswith(TEXT_SUFFIXES) and path.is_file():
        return is_side_table(path, root, beside_matrices=beside_matrices)
    return kind == "other"


def _walk(paths: Iterable[Path], *, is_below: bool = False) -> Iterator[tuple[Path, bool]]:
    """Yield all files, those below folders too, and whether each looks like an input; hidden ones do not count.

    The lists that belong to a matrix are a part of it, and not yielded.
    """
    lists: dict[Path, dict[Path, Path]] = {}
    for path in paths:
        if is_below and path.name.startswith("."):
            continue
        if path.parent not in lists and path.is_file():
            lists[path.parent] = lists_in(path.parent)
        if path in lists.get(path.parent, ()):
            continue
        if path.is_dir() and not is_readable(path):
            yield from _walk(sorted(path.iterdir()), is_below=True)
        else:
            is_named_array = not is_below and path.name.lower().endswith(NPY_SUFFIX)
            yield path, is_readable(path) or is_named_array
