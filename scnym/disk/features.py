"""How genes are named: lists of names in text files, kinds of names, and the spellings of one gene.

A gene may be written behind its genome's name, beside its id, or with the marks that R changes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from scnym.base.errors import DataError, FormatError, MissingInputError, examples

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
    """Return what all names begin with, up to the last mark in it."""
    first, last = min(names), max(names)
    n_shared = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return re.sub(r"[^_:|-]*$", "", first[:n_shared])


def split_name(name: str) -> tuple[str, ...]:
    """Take one name apart; nothing if it has no parts."""
    if "|" in name:
        return tuple(part.strip() for part in name.split("|"))
    match = ID_FIRST.fullmatch(name) or ID_LAST.fullmatch(name)
    return (match["first"], match["second"]) if match else ()


ENSEMBL_ID = re.compile(r"ENS(?P<species>[A-Z]{0,6})G\d{6,}(?P<version>\.\d+)?")
SPECIES_OF_PREFIX = {
    **{"": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish", "SSC": "pig", "MMU": "macaque"},
    **{"GAL": "chicken", "BTA": "cow", "OAR": "sheep", "ECA": "horse", "CAF": "dog", "FCA": "cat", "OCU": "rabbit"},
    **{"MFA": "crab-eating macaque", "PTR": "chimpanzee", "CJA": "marmoset", "XET": "frog", "CPO": "guinea pig"},
}
SPECIES_OF_GENOME = {
    **dict.fromkeys(("hg", "grch", "human", "homo_sapiens"), "human"),
    **dict.fromkeys(("mm", "grcm", "mouse", "mus_musculus"), "mouse"),
    **dict.fromkeys(("rn", "mratbn", "rnor", "rat"), "rat"),
    **dict.fromkeys(("danrer", "grcz", "zebrafish"), "zebrafish"),
    **dict.fromkeys(("dm", "bdgp"), "fly"),
    **dict.fromkeys(("ce", "wbcel"), "worm"),
}
"""Species by the name of its genome, without its number, in lower case."""
ONLY_IN = {
    "human": re.compile(r"HLA-[A-Z]{1,4}\d?|LINC\d{4,}|C(\d{1,2}|X)ORF\d+|KIR2D[LS]\d\w*|MIR\d+HG|[A-Z0-9]+-AS\d"),
    "mouse": re.compile(
        r"GM\d{3,}|[0-9A-F]\d{6}[A-Z]\d{2}RIK|H2-[A-Z]{1,3}\d{0,2}|LY6C[12]|LY6A|LYZ[12]|TRP53|ZFP\d{3}|OLFR\d+"
        r"|VMN[12]R\d+|KLRA\d+|KLRB1[ABCF]|CCL[69]|HBB-B[ST]|HBA-A[12]|IFI27L2A|CD8B1|FCGR4|FCER2A|WFDC17|SAA3"
        r"|MS4A4[BC]|FTL1|MUP\d+|IGHG2[BC]|SERPINA3[NGF]|A[AIWUVY]\d{6}|B[BC]\d{6}"
    ),
    "rat": re.compile(r"RT1-[A-Z]{1,3}\d{0,2}|RGD\d{5,}"),
    "zebrafish": re.compile(r"(SI|ZGC|WU|ZMP):[\w.-]+"),
    "fly": re.compile(r"FBGN\d{7}|CG\d{3,5}"),
    "worm": re.compile(r"WBGENE\d{8}"),
    "pig": re.compile(r"SLA-[A-Z0-9]+"),
    "macaque": re.compile(r"MAMU-\w+"),
}
"""Genes that one species alone has, of those that are read here. In capitals, as some write the genes of mouse too."""
HUMAN_SPELLING = frozenset({"LYZ", "TP53"})
"""Genes of human in its own spelling, of which mouse has another name."""
LEAST_MARGIN = 4
"""How many times more of such genes there must be of one species than of any other."""
COMMON_SYMBOLS = frozenset(
    {"ACTB", "ACTG1", "B2M", "CALM1", "CD44", "CD74", "EEF1A1", "FOS", "FTH1", "GAPDH", "HSPA8", "JUN", "LYZ"}
    | {"MALAT1", "MYC", "PTPRC", "RPL13", "RPLP0", "RPS27A", "TMSB4X", "TPT1", "TUBA1B", "UBC", "VIM", "YWHAZ"}
)
MAX_DIGITS = 16
MIXED_SHARE = 0.95
"""A list with fewer names of one kind than this is mixed."""


def read_genes(path: Path, option: str) -> tuple[str, ...]:
    """Read a list of genes; empty lines and spaces around names do not count.

    Parameters
    ----------
    path
        The text file, UTF-8.
    option
        The option that named it, for errors.

    Raises
    ------
    MissingInputError, FormatError
        If it is not there, or not text.
    DataError
        If it names no gene, or one twice.
    """
    if not path.is_file():
        raise MissingInputError("there is no such genes file", where=path, way_out=f"check {option}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise FormatError("not text in UTF-8", where=path, way_out="write one gene name a line") from fault
    genes = tuple(line.strip() for line in text.splitlines() if line.strip())
    repeated = [gene for gene, times in Counter(genes).items() if times > 1]
    if repeated:
        raise DataError(f"duplicate gene names {examples(repeated)}", where=path, way_out="name every gene once")
    if not genes:
        raise DataError("it names no gene", where=path, way_out="write one gene name a line")
    return genes


@dataclass(frozen=True, slots=True)
class GeneNaming:
    """How a list of genes is named."""

    id_type: Literal["symbol", "Ensembl id", "number", "mixed", "none"]
    versioned: bool
    """Whether Ensembl ids end in a version, such as .4."""
    species: str | None
    """What the names look like; a guess, None where there is no telling."""


def gene_naming(genes: Sequence[str]) -> GeneNaming:
    """Find out how genes are named, from all of the list."""
    if not genes:
        return GeneNaming("none", False, None)
    if all(map(_is_number, genes)):
        return GeneNaming("number", False, None)
    prefix = next(iter(prefixes_of(genes)), "")
    names = [part for gene in genes for part in split_name(gene.removeprefix(prefix)) or (gene.removeprefix(prefix),)]
    ensembl = [match for name in names if (match := ENSEMBL_ID.fullmatch(name))]
    if len(ensembl) > len(genes) / 2:
        of_ids, _ = Counter(match["species"] for match in ensembl).most_common(1)[0]
        versioned = sum(match["version"] is not None for match in ensembl) > len(ensembl) / 2
        kind = "Ensembl id" if len(ensembl) > MIXED_SHARE * len(names) else "mixed"
        return GeneNaming(kind, versioned, SPECIES_OF_PREFIX.get(of_ids))
    kind = "mixed" if len(ensembl) > (1 - MIXED_SHARE) * len(genes) else "symbol"
    genome = GENOME.match(prefix)
    species = SPECIES_OF_GENOME.get((genome["genome"] or genome["species"]).lower()) if genome else None
    return GeneNaming(kind, False, species or _species_of_symbols(names))


def are_numbered(genes: Sequence[str]) -> bool:
    """Whether genes have no names, but numbers from 0 or 1 on. The numbers of NCBI are names: they go up by leaps."""
    if not len(genes) or not all(map(_is_number, genes)):
        return False
    numbers = sorted(map(int, genes))
    return numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_number(gene: str) -> bool:
    return gene.isascii() and gene.isdecimal() and len(gene) < MAX_DIGITS


def _species_of_symbols(genes: Sequence[str]) -> str | None:
    """Guess by genes that one species alone has, whatever their case; else by the spelling of genes that all have."""
    names = {gene.upper() for gene in genes}
    evidence = {species: sum(map(bool, map(only.fullmatch, names))) for species, only in ONLY_IN.items()}
    evidence["human"] += len(HUMAN_SPELLING.intersection(genes))
    first, second = sorted(evidence, key=evidence.__getitem__, reverse=True)[:2]
    if evidence[first]:
        return first if evidence[first] >= LEAST_MARGIN * evidence[second] else None
    known = set(genes)
    in_mouse_spelling = len(known & {symbol.capitalize() for symbol in COMMON_SYMBOLS} - COMMON_SYMBOLS)
    return "mouse or rat" if in_mouse_spelling > max(1, len(known & COMMON_SYMBOLS)) else None
