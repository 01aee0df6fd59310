"""Files that hold the same cells: raw and filtered output of a sample, a folder and its .h5, an aggregate.

The words by which pipelines name their output are taken out of a path; what is left is the sample. Whether files of one
sample hold the same cells is decided by their ids. Two large samples of 10x share one barcode in seven by chance.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scnym.base.errors import DataError, ScnymError, examples
from scnym.base.settings import ConvertSettings
from scnym.disk.cell_ids import LEAST_SHARE, cores
from scnym.disk.formats.detect import open_source
from scnym.disk.formats.matrix_market_files import is_matrix
from scnym.disk.formats.source import Scattered

FIRST_ELEMENTS = 2**20
"""Of a table that is read cell by cell, so many values are looked at: the ids of the first cells are enough."""


def share_ids(one: pd.Index | None, other: pd.Index | None) -> bool | None:
    """Return whether most cells of the smaller file are in the larger one, by their ids; None if one is not known."""
    if one is None or other is None:
        return None
    fewer, more = sorted((one, other), key=len)
    return _are_most_in(fewer, more) or _are_most_in(pd.Index(cores(fewer)), pd.Index(cores(more)))


def ids_in(path: Path) -> pd.Index | None:
    """Return the ids of a file's cells, of a long text table those of the first; None if it cannot be read."""
    try:
        source = open_source(path, ConvertSettings())
        obs = source.obs
        if obs is not None or isinstance(source, Scattered):
            return None if obs is None else pd.Index(obs.index)
        return next(iter(source.blocks(FIRST_ELEMENTS))).cells
    except (ScnymError, OSError, StopIteration):
        return None


def _are_most_in(fewer: pd.Index, more: pd.Index) -> bool:
    fewer = fewer.unique()
    return bool(len(fewer) and fewer.isin(more).mean() >= LEAST_SHARE)


FILTERED, RAW = frozenset({"filtered", "filter"}), frozenset({"raw", "unfiltered"})
PARTS = frozenset({"spliced", "unspliced", "ambiguous", "nascent", "tcc"})
"""Words for counts of a part of the molecules, or of something else than genes, in the names of Matrix Market files."""
PART_FOLDERS = frozenset({"velocyto", "sj"})
"""Where STARsolo writes such counts, below a folder whose name ends with `STARSOLO`."""
STARSOLO = "solo.out"
SUMS = frozenset({"total", "nucleus", "cell", "mature"})
"""What kallisto-bustools calls sums of them, behind `cells_x_genes`; elsewhere these words name samples."""
NOT_COUNTS = frozenset({"normalised", "normalized", "tpm", "fpkm", "cpm"})
CORRECTED = frozenset({"cellbender", "denoised", "soupx"})
MULTIMAPPED = frozenset({"uniqueandmult", "em", "uniform", "propunique", "rescue"})
INTRONS = frozenset({"genefull", "ex50pas", "exonoverintron"})
BINS = re.compile(r"(?<![^\W_])square_\d{3}um(?![^\W_])")
"""Sizes of the squares into which Space Ranger cuts a slide; 8 micrometres are its default."""
DEFAULT_BINS = "square_008um"
SEGMENTED = "segmented_outputs"
"""Where Space Ranger writes the same slide cut into cells."""
OUTPUT = """
feature features gene genes cell cells bc barcode barcodes x matrix matrices mex mtx h5 h5ad count counts umi sparse
dge mat quant quants aggregated decorated adata anndata data out outs output outputs background removed multi solo
star starsolo alevin af kb cellranger spaceranger binned square segmented fpr
"""
WORDS = frozenset(OUTPUT.split())
"""What pipelines call files and folders of counts."""
NEUTRAL = FILTERED | RAW | NOT_COUNTS | CORRECTED | INTRONS | WORDS
KALLISTO = ["cells", "x", "genes"]
CELLS = frozenset({"cell", "cells"})
"""What a folder may be called beside one of nuclei."""
SAMPLE = "sample"
GENOME_FOLDER = frozenset({"gene", "bc", "matrices"})
"""Words of the folder in which Cell Ranger 2 has a folder for each genome."""
SUFFIX = re.compile(r"(\.(h5|h5ad|loom|zarr|mtx|csv|tsv|txt))?(\.gz)?$")
FORMS = (".h5", "", ".mtx", ".mtx.gz", ".h5ad", ".zarr", ".loom")
"""Which form is read, where there are several of the same cells: the one that is read fastest first."""
ALL_SAMPLES = frozenset({"all-sample", "all-well", "all_sample", "all_well"})
"""Folders in which split-pipe repeats the cells of all samples."""
MULTI, PER_SAMPLE = "multi", "per_sample_outs"
"""Where Cell Ranger multi has the cells of a library, and those of each of its samples."""
SHOWN = 3


@dataclass(frozen=True)
class SameCells:
    """Files that hold the same cells."""

    read: tuple[Path, ...]
    """The one to be read; several where each holds one genome."""
    left_out: tuple[Path, ...]
    by_name: tuple[Path, ...] = ()
    """Those left out as well for their names alone: bins of the same slide, parts of counts, and what is damaged."""


def one_of_each(paths: Sequence[Path], root: Path, *, is_10x: Mapping[Path, bool]) -> list[SameCells]:
    """Choose from the files that hold the same cells the one to be read.

    Parameters
    ----------
    paths
        Inputs found in a folder.
    root
        That folder.
    is_10x
        Which of them are 10x output or Matrix Market files. Others hold the cells of these or of none: two files that
        are neither may well be two samples.

    Raises
    ------
    DataError
        If files hold only parts of the counts of the same cells.
    """
    groups = defaultdict[tuple[str, ...], list[Path]](list)
    for path in paths:
        groups[sample_of(path, root)].append(path)
    _join_corrected(groups, root)
    found: list[SameCells] = []
    for group in groups.values():
        if any(is_10x[path] for path in group):
            found += _told_apart(group, root)
        else:
            found += [SameCells((path,), ()) for path in group]
    return _without_sums(found, root)


def _told_apart(group: Sequence[Path], root: Path) -> Iterator[SameCells]:
    """Yield the files of one name by the cells in them: the one to be read, and those that hold its cells.

    Raises
    ------
    DataError
        If there are but parts of the counts.
    """
    left = list(group)
    while left:
        best = min(_rank(path, root) for path in left)
        read = tuple(path for path in left if _rank(path, root) == best)
        if best[0]:
            raise DataError(
                f"its files hold parts of the counts of the same cells: {examples(path.name for path in read)}",
                where=read[0].parent,
                way_out="name the one to read, or add them up first",
            )
        others = [path for path in left if path not in read]
        ids = [ids_in(path) for path in read] if others else []
        alike = {path: _are_alike(path, read, ids, root) for path in others}
        left_out = tuple(path for path in others if alike[path])
        by_name = tuple(path for path in others if alike[path] is None)
        yield SameCells(read, left_out, by_name)
        left = [path for path in others if alike[path] is False]


def _are_alike(path: Path, read: Sequence[Path], ids: Sequence[pd.Index | None], root: Path) -> bool | None:
    """Whether a file holds cells of those that are read, by their ids; None where only its name tells."""
    if _is_part(path, root) or any(_are_cut_otherwise(path, one, root) for one in read):
        return None
    own = ids_in(path)
    found = [share_ids(one, own) for one in ids]
    return True if True in found else None if None in found else False


def _are_cut_otherwise(one: Path, other: Path, root: Path) -> bool:
    """Whether two files are of one slide of Space Ranger, cut into other pieces, which have other ids."""
    cuts = [_cut_of(path, root) for path in (one, other)]
    return all(cuts) and cuts[0] != cuts[1]


def _cut_of(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix().lower()
    bins = BINS.search(name)
    return bins[0] if bins else SEGMENTED if SEGMENTED in name.split("/") else ""


def remarks_on(found: Sequence[SameCells], root: Path) -> list[str]:
    """Return what is to be said to the user about files that are left out; about a few samples, in full."""
    doubled = [one for one in found if one.left_out or one.by_name]
    said = [_remark_on(one, root) for one in doubled[:SHOWN]]
    more = len(doubled) - SHOWN
    return [*said, *([f"and likewise for {more:,} other samples"] if more > 0 else [])]


def _remark_on(one: SameCells, root: Path) -> str:
    if not one.read:
        return (
            "left out, since its cells are those of the samples beside it: "
            f"{_names((*one.left_out, *one.by_name), root)}"
        )
    said = [f"{_names(one.read, root)} is read"]
    if one.left_out:
        said.append(f"what holds cells of the same ids is left out: {_names(one.left_out, root)}")
    if one.by_name:
        said.append(
            "left out by name, as another cut of the same slide, parts of counts, or damaged: "
            f"{_names(one.by_name, root)}"
        )
    return f"{', and '.join(said)}; to read another one, name it itself"


def sample_of(path: Path, root: Path) -> tuple[str, ...]:
    """Return what is left of a path without the words of pipelines: it is the same for files of the same cells."""
    parts = [part.lower() for part in path.relative_to(root).parts]
    if len(parts) > 1 and _words(parts[-2]) >= GENOME_FOLDER and path.is_dir():
        parts.pop()  # the genome
    parts = ["" if _is_of_starsolo(folder) else part for part, folder in zip(parts, _folders(path, root), strict=False)]
    left = [_own_words(part) for part in parts[:-1]] + [_own_words(parts[-1], is_file=not path.is_dir())]
    named = [words for words in left if words]
    return tuple(words for k, words in enumerate(named) if not k or words != named[k - 1])


def _own_words(part: str, *, is_file: bool = False) -> str:
    """Return the words of a file's or folder's name that are no pipeline's."""
    words = [word for word in re.split(r"[\W_]+", BINS.sub("", SUFFIX.sub("", part))) if word]
    if words and not is_file and set(words) <= CELLS:
        return part
    neutral = NEUTRAL | (PARTS if is_file else frozenset())
    if "uniqueandmult" in words:
        neutral |= MULTIMAPPED
    if words[:3] == KALLISTO:
        neutral |= SUMS
    if part == PER_SAMPLE or (SAMPLE in words and {"bc", "matrix"} <= set(words)):
        neutral |= {"per", SAMPLE}
    return " ".join(word for word in words if word not in neutral)


def _folders(path: Path, root: Path) -> list[Path]:
    """Return the folders on the way from the root to a path, and the path itself."""
    return [one for one in (*reversed(path.parents), path) if root in one.parents]


def _is_of_starsolo(folder: Path) -> bool:
    """Whether STARsolo writes counts of a part of the molecules there; a sample may be called so, too."""
    beside = folder.parent.name.lower()
    return folder.name.lower() in PART_FOLDERS and (beside.endswith(STARSOLO) or (folder.parent / "Gene").is_dir())


def _join_corrected(groups: dict[tuple[str, ...], list[Path]], root: Path) -> None:
    """Bring what CellBender has made of the only sample in a folder to that sample, whatever it is called."""
    for sample, group in list(groups.items()):
        folders = {path.parent for path in group}
        folder = folders.pop()
        own = sample_of(folder, root) if folder != root else ()
        beside = {name for name, others in groups.items() if any(path.parent == folder for path in others)}
        is_corrected = all(_words(path.name) & CORRECTED for path in group)
        if is_corrected and not folders and beside == {own, sample} and own != sample:
            groups[own] += groups.pop(sample)


def _is_part(path: Path, root: Path) -> bool:
    """Whether there are only counts of a part of the molecules."""
    in_starsolo = any(map(_is_of_starsolo, _folders(path, root)))
    is_mature = is_matrix(path) and path.name.lower().startswith("cells_x_genes.mature")
    return is_mature or bool(is_matrix(path) and _words(path.name) & PARTS) or in_starsolo


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", name.lower()) if word}


def _rank(path: Path, root: Path) -> tuple[bool, bool, int, bool, int, str, int]:
    """Rank a file among those of the same cells, the one to be read lowest."""
    words = _words(path.relative_to(root).as_posix())
    stage = 0 if words & FILTERED else 2 if words & RAW else 1
    bins = _cut_of(path, root)
    feature_set = 2 * bool(words & INTRONS) + len(words & INTRONS) % 2 + 4 * bool(words & MULTIMAPPED) + _is_kite(path)
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    form = FORMS.index(suffix) if suffix in FORMS and not path.is_dir() else 5 if suffix == ".zarr" else 1
    form = form if path.is_dir() or suffix in FORMS else len(FORMS)
    is_corrected = not words & CORRECTED
    return _is_part(path, root), bool(words & NOT_COUNTS), stage, is_corrected, feature_set, _order(bins), form


def _is_kite(path: Path) -> bool:
    """Whether kallisto-bustools has counted tags there, not genes."""
    return is_matrix(path) and "features" in _words(path.name)


def _order(bins: str) -> str:
    return "" if bins in {"", DEFAULT_BINS} else bins


def _without_sums(found: Sequence[SameCells], root: Path) -> list[SameCells]:
    """Leave out what repeats the cells of all samples beside it."""
    folders = [[part.lower() for part in one.read[0].relative_to(root).parts] for one in found]
    kept: list[SameCells] = []
    for one, parts in zip(found, folders, strict=True):
        at = next((k for k, part in enumerate(parts) if part in ALL_SAMPLES or part == MULTI), None)
        others = [] if at is None else [other for other in folders if other[:at] == parts[:at] and len(other) > at]
        beside = {other[at] for other in others} - {parts[at]} if at is not None else set()
        is_sum = bool(beside) if at is not None and parts[at] != MULTI else PER_SAMPLE in beside
        if is_sum and PER_SAMPLE not in beside:
            samples = [other.read[0] for other, own in zip(found, folders, strict=True) if own in others]
            is_sum = _has_cells_of(one.read[0], [path for path in samples if path != one.read[0]])
        kept.append(SameCells((), (*one.read, *one.left_out), one.by_name) if is_sum else one)
    return kept


def _has_cells_of(whole: Path, samples: Sequence[Path]) -> bool:
    """Whether a file repeats the cells of others, to judge from the first few; true where they cannot be read."""
    ids = ids_in(whole)
    return not any(share_ids(ids, ids_in(path)) is False for path in samples[:SHOWN])


def _names(paths: Sequence[Path], root: Path) -> str:
    return examples(path.relative_to(root).as_posix() for path in paths)
