"""One gene in many spellings: behind the name of its genome, beside its id, with other marks, as R writes them."""

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

PREFIX, PART, SUFFIX = "name without prefix", "part of the name", "name without suffix"
MARKS = "name with other marks"
_GENOME = (
    r"(?:(?P<genome>hg|mm|rn|dm|ce|danRer|galGal|susScr|bosTau|canFam|GRC[a-z]|mRatBN|Rnor|BDGP|WBcel|Sscrofa|Mmul)"
    r"[._]?\d+(?:\.\d+)*(?:\.?p\d+)?|(?P<species>human|mouse|rat|zebrafish|homo_sapiens|mus_musculus))"
)
GENOME = re.compile(rf"{_GENOME}[_:|.-]+", re.IGNORECASE)
"""The name of a genome or of a species before a gene's, as in ``GRCh38_CD3E``, ``mm10___Cd3e`` and ``HUMAN_CD3E``."""
GENOME_BEHIND = re.compile(rf"[_:|.-]+{_GENOME}$", re.IGNORECASE)
HEAD = re.compile(r"[A-Za-z][\w.]*?[_:-]+(?=[A-Za-z0-9])")
SAMPLE_SIZE = 1000
"""So many names of a list tell whether it has a prefix."""
ID = r"(?:ENS[A-Z]*G\d{6,}(?:\.\d+)?|FBgn\d{7}|WBGene\d{8}|AT[1-5MC]G\d{5})"
ID_FIRST = re.compile(rf"(?P<first>{ID})[^A-Za-z0-9]+(?!PAR_[XY]$|\d+$)(?P<second>[A-Za-z0-9].*?)[)\]]?")
ID_LAST = re.compile(rf"(?P<first>.*?[A-Za-z0-9)])[^A-Za-z0-9]+(?P<second>{ID})[)\]]?")
CHROMOSOME = re.compile(r"[_.-]{1,2}chr(?:\d{1,2}|X|Y|M|MT|Un\w*)$", re.IGNORECASE)
NUMBER_BEHIND, NEARLY_ALL = r".*[A-Za-z0-9]\.\d+", 0.9
VERSIONED = re.compile(r"^(ENS[A-Z]*G\d{6,})\.\d+$")


def unversioned(names: pd.Series) -> pd.Series:
    """Take the version from Ensembl ids, and leave all else as it is."""
    return names.str.replace(VERSIONED, r"\1", regex=True)


def has_versions(names: pd.Series) -> bool:
    """Return whether nearly all names end in a point and a number, as ``CD3E.1`` does."""
    texts = names.dropna().astype(str)
    return len(texts) > 0 and texts.str.fullmatch(NUMBER_BEHIND).mean() >= NEARLY_ALL


def without_version(names: pd.Series) -> pd.Series:
    """Return names without the point and number that they end in; missing where there is none."""
    return names.where(names.str.fullmatch(NUMBER_BEHIND, na=False)).str.replace(r"\.\d+$", "", regex=True)


def prefixes_of(names: Sequence[str]) -> list[str]:
    """Find what stands before the names of genes: the names of genomes, or what most names begin with."""
    sample = names[:: max(1, len(names) // SAMPLE_SIZE)]
    found = Counter(match[0] for name in sample if (match := GENOME.match(name)))
    heads = Counter(match[0] for name in sample if (match := HEAD.match(name)))
    for head, times in heads.most_common(1):
        if 1 < times > len(sample) / 2:
            found[_shared_by([name for name in sample if name.startswith(head)])] += times
    return [prefix for prefix, _ in found.most_common()]


def without_prefix(names: pd.Series, prefix: str) -> pd.Series:
    """Take a prefix from names; missing where there is none, or where nothing but a number is left."""
    rests = names.where(names.str.startswith(prefix, na=False)).str[len(prefix) :]
    return unversioned(rests.mask(rests.str.fullmatch(r"\d*", na=False)))


def parts_of(names: pd.Series) -> list[pd.Series]:
    """Take names such as ``ENSG00000010610|CD4`` and ``CD4_ENSG00000010610`` apart: all first parts, all second, ...

    Missing for names that have no parts, and for parts that are numbers.
    """
    found = [split_name(name) if isinstance(name, str) and not name.isalnum() else () for name in names]
    n_parts = max(map(len, found), default=0)
    parts = [[one[k] if k < len(one) and not one[k].isdecimal() else None for one in found] for k in range(n_parts)]
    return [unversioned(pd.Series(part, index=names.index, dtype=object)) for part in parts]


def without_suffix(names: pd.Series) -> pd.Series:
    """Take the chromosome from names such as ``SNORA77__chr1``, or the genome if all that have one have the same.

    Missing where there is none.
    """
    found = [name if isinstance(name, str) and not name.isalnum() else "" for name in names]
    genomes = {match[0] for name in found if (match := GENOME_BEHIND.search(name))}
    pattern = GENOME_BEHIND if len(genomes) == 1 else CHROMOSOME
    rests = [pattern.sub("", name) if pattern.search(name) else None for name in found]
    return unversioned(pd.Series(rests, index=names.index, dtype=object))


def with_plain_marks(names: pd.Series) -> pd.Series:
    """Return names with a point for every mark, and X before a digit, as ``make.names`` of R writes HLA-DRA and 7SK.

    Seurat writes ``-`` for ``_``: these become one, too.
    """
    return names.str.replace(r"[^A-Za-z0-9]", ".", regex=True).str.replace(r"^(?=\d)", "X", regex=True)


def _shared_by(names: Sequence[str]) -> str:
    """Give what all names begin with, up to the last mark in it."""
    first, last = min(names), max(names)
    n_shared = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return re.sub(r"[^_:|-]*$", "", first[:n_shared])


def split_name(name: str) -> tuple[str, ...]:
    """Take one name apart; nothing if it has no parts."""
    if "|" in name:
        return tuple(part.strip() for part in name.split("|"))
    match = ID_FIRST.fullmatch(name) or ID_LAST.fullmatch(name)
    return (match["first"], match["second"]) if match else ()
