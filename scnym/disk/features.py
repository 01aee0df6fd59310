"""Feature lists: text files that name genes, one a line; and how genes are named."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scnym.base.errors import DataError, FormatError, MissingInputError, examples
from scnym.disk.spellings import GENOME, prefixes_of, split_name

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
