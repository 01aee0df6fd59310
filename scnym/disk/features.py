"""Feature lists: text files that name genes, one a line; and how genes are named."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scnym.base.errors import DataError, FormatError, MissingInputError, examples

ENSEMBL_ID = re.compile(r"ENS(?P<species>[A-Z]{0,4})G\d{6,}(?P<version>\.\d+)?")
SPECIES_OF_PREFIX = {"": "human", "MUS": "mouse", "RNO": "rat", "DAR": "zebrafish", "SSC": "pig", "MMU": "macaque"}
COMMON_SYMBOLS = frozenset(
    {"ACTB", "ACTG1", "B2M", "CALM1", "CD44", "CD74", "EEF1A1", "FOS", "FTH1", "GAPDH", "HSPA8", "JUN", "LYZ"}
    | {"MALAT1", "MYC", "PTPRC", "RPL13", "RPLP0", "RPS27A", "TMSB4X", "TPT1", "TUBA1B", "UBC", "VIM", "YWHAZ"}
)
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

    id_type: Literal["symbol", "Ensembl id", "mixed", "none"]
    versioned: bool
    """Whether Ensembl ids end in a version, such as .4."""
    species: str | None
    """What the names look like; a guess, None where there is no telling."""


def gene_naming(genes: Sequence[str]) -> GeneNaming:
    """Find out how genes are named, from all of the list."""
    ensembl = [match for gene in genes if (match := ENSEMBL_ID.fullmatch(gene))]
    if not genes:
        return GeneNaming("none", False, None)
    if len(ensembl) > len(genes) / 2:
        prefix, _ = Counter(match["species"] for match in ensembl).most_common(1)[0]
        versioned = sum(match["version"] is not None for match in ensembl) > len(ensembl) / 2
        kind = "Ensembl id" if len(ensembl) > MIXED_SHARE * len(genes) else "mixed"
        return GeneNaming(kind, versioned, SPECIES_OF_PREFIX.get(prefix))
    kind = "mixed" if len(ensembl) > (1 - MIXED_SHARE) * len(genes) else "symbol"
    return GeneNaming(kind, False, _species_of_symbols(genes))


def _species_of_symbols(genes: Sequence[str]) -> str | None:
    """Guess by the genes that nearly every data set has, which human and mouse spell differently."""
    known = set(genes)
    human = len(known & COMMON_SYMBOLS)
    mouse = len(known & {symbol.capitalize() for symbol in COMMON_SYMBOLS})
    if max(human, mouse) < 2 or human == mouse:
        return None
    return "human" if human > mouse else "mouse or rat"
