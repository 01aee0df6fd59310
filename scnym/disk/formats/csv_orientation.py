"""Which way round a text table lies: cells x genes, or genes x cells.

The first field of the header, the annotations, and the names along both sides decide. Where they tell nothing, the
counts may: genes differ far more in their totals than cells do. Only names that can hardly be anything else count; the
schemes of gene names are those of Ensembl, NCBI, the model organism databases and others that https://identifiers.org
lists.

R lines, K columns of counts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scnym.base.errors import examples
from scnym.disk.feature_kinds import (
    COORDINATES,
    LONE_TOTALS,
    OF_CELLS,
    OF_CELLS_AMONG_GENES,
    OF_GENES,
    OF_GENES_AMONG_CELLS,
    UNNAMED,
    is_measure,
    plain,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GENE = re.compile(
    r"""
    # whatever the scheme: with the genome before it, or another name of the same gene behind it
    (hg|mm|rn|dm|danRer|galGal|susScr|GRC[a-z]|mRatBN|HUMAN|MOUSE|RAT)[\d.]*_+\S.*
    | (?P<twin>[^|]+)\|(?P=twin) | (ENS[A-Z]*G\d{6,}|[A-Z][A-Z0-9-]+)(\.\d+)?[|;:_]+ENS[A-Z]*G\d{6,}.* | .+__chr[\dXYM]+
    | ERCC-\d{5} | __(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)
    | N_(unmapped|multimapping|noFeature|ambiguous)
    | (?i:(gene|feature|transcript|probe|orf|mstrg|xloc|tcons|isoform)s?[\ _.:-]?\d+.*) | g\d+(\.t?\d+)?
    | TRINITY_\w+
    # vertebrates
    | ENS[A-Z]{0,12}(_[A-Za-z]+_)?[GT]\d{6,}(\.\d+)?(_PAR_Y)?([_|.-].+)?   # Ensembl; version; symbol behind it
    | MGP_\w+_[GT]\d+ | (HGNC|MGI|RGD|ZDB-GENE|Xenbase|XB-GENE|NCBIGene)[:-]\d[\d-]* | [NX][MR]_\d{6,}(\.\d+)?
    | LOC\d{6,} | (AABR|BX|CABZ|CU|CR|AL|FP|CT)\d{6,}\.\d+ | XELAEV_\w+ | Xelaev\d+m | AMEX60DDU?\d+
    | (si|zgc|wu|im|zmp|id):.+ | \w+\.(L|S)
    | (MT|mt|Mt)-[A-Za-z]{2,5}\d{0,2}[A-Za-z]?              # mitochondrial: MT-CO1, mt-Nd4l
    | (M?RP[LS]|M?rp[ls]|M?Rp[ls]|mt:.+|Rp[LS])\d{1,2}[AXYLaxyl]?\d?       # ribosomal: RPL13A, Mrps18, RpL32
    | (CCL|CXCL|CCR|CXCR|XCL|CX3CR|WNT|SOX|KRT|FGF|BMP|PAX|GATA|STAT|SMAD|TLR|IRF|IFIT|CASP|CYP|MMP|KCN[A-Z]|GPR|ITG[AB]
        |TNFSF|TNFRSF|HOX[A-D]|NKX|LHX|FOX[A-Z]|ZNF|CDK|CCN[A-Z]|DUSP|RAB|MYH|SERPIN[A-Z]|S100A|VMN[12]R|TAS[12]R|KLR[A-K])
        \d+[A-Z]{0,2}\d{0,2}(-\d)?
    | (Ccl|Cxcl|Ccr|Cxcr|Xcl|Cx3cr|Cx3cl|Wnt|Sox|Krt|Fgf|Bmp|Pax|Gata|Stat|Smad|Tlr|Irf|Ifit|Casp|Cyp|Mmp|Kcn[a-z]|Gpr
        |Itg[ab]|Tnfsf|Tnfrsf|Hox[a-d]|Nkx|Lhx|Fox[a-z]|Cdk|Ccn[a-z]|Dusp|Rab|Myh|Serpin[a-z]|S100a|Vmn[12]r|Tas[12]r
        |Klr[a-k])\d+[a-z]{0,2}\d{0,2}(-\d)?
    | (MIR|LINC|Mir)\d{2,}(-?\d|[A-Z]|HG|-2HG)? | [A-Z0-9]+-AS\d
    | [a-z]{3}-(mir|miR|let|lin)-.+
    | A[CLPF]\d{6}\.\d+ | (RP|CT)[A-Z]?\d{1,4}-\d+[A-Z]\d+\.\d+            # clones
    | Gm\d{3,} | [0-9A-F]\d{6}[A-Z]\d{2}Rik                 # mouse models
    | (ZNF|FAM|TMEM|SLC|KIF|ADAM|PCDH|OR)\d+[A-Z]?\d*P?\d*
    | (Zfp|Znf|Fam|Tmem|Slc|Kif|Adam|Pcdh|Olfr)\d+[a-z]?\d* | (znf|fam|tmem|slc|kif|adam|pcdh)\d+[a-z]?\d*[a-z]{0,2}
    | HLA-[A-Z]{1,3}\d? | H2-[A-Z][a-z0-9]{1,2} | IG[HKL][VC]\d*.* | TR[ABDG][VC]\d*.*
    | ABC[A-G]\d{1,2} | Abc[a-g]\d{1,2} | COL\d+A\d+ | (Col|col)\d+a\d+[ab]? | ATP\d+[A-Z]\d? | (Atp|atp)\d+[a-z]\d?
    | ACTB | GAPDH | B2M | MALAT1 | NEAT1 | XIST | EEF1A1 | TMSB4X | TMSB10 | FTL | FTH1 | VIM | PTPRC | UBC | TPT1
    | A1BG | A1CF | A2M | AAAS | NOC2L | KLHL17 | PLEKHN1 | ISG15 | SAMD11 | AGRN | TP53 | CD3E | CD8A | MS4A1 | NKG7
    | LYZ | Actb | Gapdh | B2m | Malat1 | Neat1 | Xist | Eef1a1 | Tmsb4x | Tmsb10 | Ftl1 | Fth1 | Vim | Ptprc | Ubc
    | Tpt1 | Xkr4 | Sox17 | Lypla1 | Tcea1 | Trp53 | Cd3e | Cd8a | Ms4a1 | Nkg7 | Lyz2 | Aaas | A1bg
    | actb[12]? | gapdh | eef1a1\w* | ptprc | sox17
    # other animals
    | FB(gn|tr)\d{7} | C[GR]\d{4,5} | \S+\{\}\d+ | (t|sno|sn|as|lnc|mt)RNA:\S+                # fly
    | WBGene\d{8} | [A-Z]{1,4}\d+[A-Z]{1,2}\d*\.\d+[a-z]? | [a-z]{3,4}-\d+(\.\d+)? | 21ur-\d+   # worm
    | (AGAP|AAEL|CPIJ|ISCW|GB|XP_|NV2g|KH\.[CLS]|SPU_|SMESG|dd_Smed|HVAEP|Smp_)\d+\S*
    # fungi, plants, protists, bacteria
    | Y[A-P][LR]\d{3}[CW](-[A-Z])? | SP[ABC][A-Z]*\d+[A-Z]?\d*\.\d+c? | C[1-7R]_\d{5}[CW]_[AB] | orf19\.\d+
    | (CNAG|NCU|AN|FGSG|MGG|UMAG)_?\d{4,5} | S00\d{7}
    | ([A-Z]+_)?[A-Z][A-Za-z]{0,8}[._]?\d{0,3}[CM]?[gG]\d{5,}(\.\d+)*(\.v[\d.]+)?    # AT1G01010, LOC_Os01g01010, Solyc
    | Os\d{2}t\d{7}\S* | GRMZM\w+ | Zm\d{5}[a-z]{1,2}\d{6}\S* | TraesCS\w+ | HORVU\S+ | VIT_\w+ | Bra\d{6} | BnaA?\w+D
    | Pp3c\d+_\d+\S* | Mapoly\d+s\d+\S* | Cre\d{2}\.g\d{6}\S*
    | [A-Z][A-Za-z0-9]{2,9}_\d{6,8}([.-]\S+)? | Tb(927|\d{2})\.\S+ | L[a-z]{2,4}\.?\d+\.\d{4} | DDB_G\d{7}
    | b\d{4} | (JW|ECK|PA|STM|VC|HP)\d{4} | (BSU|BSU_|SAOUHSC_|SA|SP_|SPD_|MSMEG_)\d{4,5}
    | Rv\d{4}[cA]? | \w{2,12}_RS\d{5}
    """,
    re.VERBOSE,
)
CELL = re.compile(
    r"""
    (.*[^A-Za-z])?[ACGTN]{8,}x?([^A-Za-z].*)?               # a barcode, a sample before it or behind it: AAACCTGAGAAG-1
    | (.*[^A-Za-z])?([ACGTN]{4,}[-_.+]){1,3}[ACGTN]{4,}([^A-Za-z].*)?      # one in parts: inDrop, split pools
    | \d{1,3}(_\d{1,3}){2,3}(__s\d+)?                       # numbers of wells: Parse
    | (.*[^A-Za-z0-9])?(GSM|[SED]RR|[SED]RX|[SED]RS|SAM(N|EA|D))\d{4,}([^0-9].*)?     # accessions of GEO and SRA
    | (.*[^A-Za-z0-9])?[A-P](0[1-9]|1\d|2[0-4])([^A-Za-z0-9].*)?           # wells: P1_A01, X1000010011.A01
    | (.*[^A-Za-z0-9])?([Pp](late)?)\d+[_.-]?[A-P]\d{1,2}([^A-Za-z0-9].*)?
    | (?i:(.*[^A-Za-z])?(cell|metacell|barcode|droplet|bead|well|spot|nucleus|sample|plate|donor|patient)s?
      [\ _.:\#-]?\d+.*)
    | (?i:bc[_-]?\d{1,4}) | [csS]\d+ | [A-H]([1-9]|1[0-2]) | .*\.(bam|sam|cram|fastq|fq)(\.gz)?
    """,
    re.VERBOSE,
)
GENE_ID = re.compile(
    r"ENS[A-Z]{0,12}(_[A-Za-z]+_)?[GT]\d{6,}(\.\d+)?(_PAR_Y)?|FB(gn|tr)\d{7}|WBGene\d{8}|AT[1-5MC]G\d{5}"
)
"""Ids of databases, among which another name stands out."""
SYMBOL = re.compile(r"[A-Z][A-Z0-9]*[A-Z0-9-]*[A-Z0-9]|[A-Z][a-z]+\d+[a-z]?\d*")
"""What a symbol of human or mouse may look like, but for words."""
TRANSGENE = re.compile(
    r"[\w.-]*([GRYCB]FP|tomato|cherry|venus|luciferase|lacz|wpre|rtta|\btta|cas9|neo|puro)[\w.-]*|cre(er\w*)?|i?cre",
    re.IGNORECASE,
)
"""Reporters and the like, which are counted as genes are."""
NO_STEMS = re.compile(
    r"(.*[^a-z])?(cd|hla|il|mir|loc|ens[a-z]*|orf|mstrg|xloc|tcons|contig|scaffold|comp|peak|bin|region|prot|protein|tag|v"
    r"|var|col|column|row)[^a-z]*",
    re.IGNORECASE,
)
"""What stands before the number of names that are not those of numbered cells."""
NAMES_GENES = re.compile(
    r"gene(?!ra)|symbol|feature|ensembl|^ensg|entrez|transcript|probe|hgnc|locus|refseq|isoform|trackingid|targetid|idref"
)
NAMES_CELLS = re.compile(r"cell|barcode|^wells?$|^wellid|^spot|droplet|^nucle|^cb$|^sample")
NAMES_IDS = _words(
    """
    id ids index name names x v1 unnamed0 row rows rowname rownames
    """
)
LONE_MEASURES = _words(
    """
    count counts umi umis umicount numreads reads expression value estcounts expectedcount tpm fpkm rpkm length
    efflength effectivelength isopct coverage cpm rawcount rawcounts fragments
    """
)
"""What columns are called in a list of one sample's genes, or with a line per gene and cell."""


LEAST_SHARE = 0.02
"""Symbols of the known families are about a tenth of all human and mouse genes, and fewer in some stretches."""
LEAST_NAMES = 3
MOST = 0.5
MARGIN = 4
"""How much more there must be for the one way than for the other, where both sides are named alike."""
LEAST_NUMBERED, MAX_SPREAD = 8, 10
"""Fewest cells in a row of numbers, and how far these go at most, as a multiple of the cells."""
LONGEST_SYMBOL = 5
PARTED = re.compile(r"[_ .:#]0*\d+$")
"""A number behind a mark, which families of genes do not have: ``Tumor_12``, not ``Wnt12`` or ``unc-12``."""
PLAINLY = 0.9
LEAST_SIDE, LEAST_EXCESS, EXCESS_MARGIN, MARGIN_OF_TOTALS = 20, 0.3, 2.0, 1.5
"""What the totals of counts must be like for them to decide: how many, how far apart beyond chance (variance of their
logarithms), and how many times as far as those of the other side, beyond chance and as they are.

Of 1,232 cuts of 11 public sets, either way round, of 25 to 1,000 cells and genes, 990 are told right, none wrong.
"""
Kind = Literal["cells", "genes"]
OTHER: dict[Kind, Kind] = {"cells": "genes", "genes": "cells"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that tells what the lines of a table are."""

    lines: Kind
    words: str
    """Why; goes on behind ``since``."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the names along one side of a table are."""

    kind: Kind
    share: float
    """Share of them that are known."""
    example: str


def evidence_of_names(
    corner: str, beside: Sequence[str], header: Sequence[str], first_column: Sequence[str]
) -> list[Evidence]:
    """Return all that the names of a table say about its lines.

    Parameters
    ----------
    corner
        First field of the header.
    beside
        Columns of annotations.
    header, first_column
        Names of the columns of counts, and of the lines; a sample is enough.
    """
    found = []
    columns, lines = _kinds_of_sides(header, first_column)
    if columns and lines and columns.kind == lines.kind:  # of one kind is only the side that is much more so
        shares = columns.share, lines.share
        columns = columns if shares[0] >= MARGIN * shares[1] else None
        lines = lines if shares[1] >= MARGIN * shares[0] else None
    if lines:
        found.append(Evidence(lines.kind, f"its first column names {lines.kind}, such as {lines.example}"))
    if columns:
        found.append(Evidence(OTHER[columns.kind], f"its header names {columns.kind}, such as {columns.example}"))
    kind = kind_of_word(corner)
    if kind:
        found.append(Evidence(kind, f"its header begins with {corner!r}"))
    of_genes, of_cells = ([name for name in beside if kind_of_column(name) == kind] for kind in ("genes", "cells"))
    if bool(of_genes) != bool(of_cells):
        found.append(Evidence("genes" if of_genes else "cells", f"it has a column {(of_genes or of_cells)[0]!r}"))
    return found


def _kinds_of_sides(header: Sequence[str], first_column: Sequence[str]) -> tuple[Names | None, Names | None]:
    """Return what the names along both sides are; ``ctl-1`` to ``ctl-96`` beside genes are cells, not worms' genes."""
    columns, lines = kind_of_names(header), kind_of_names(first_column)
    if columns and lines and columns.kind == lines.kind == "genes":
        are_numbered = _are_numbered(header), _are_numbered(first_column)
        if are_numbered == (True, False):
            columns = Names("cells", 1.0, header[0])
        if are_numbered == (False, True):
            lines = Names("cells", 1.0, first_column[0])
    return columns, lines


def evidence_of_totals(counts_RK: np.ndarray) -> Evidence | None:
    """Return what the totals of lines and columns say about the lines, if anything; values in a table without order.

    They must differ more both as they are and beyond what the same values, thrown about, would differ by chance.
    """
    if min(counts_RK.shape) < LEAST_SIDE:
        return None
    thrown_RK = np.random.default_rng(0).permutation(counts_RK.ravel()).reshape(counts_RK.shape)
    spread, by_chance = (np.array([_spread(counts, axis) for axis in (1, 0)]) for counts in (counts_RK, thrown_RK))
    more = int(np.argmax(spread))
    excess = spread - by_chance
    least_excess, least_spread = max(LEAST_EXCESS, EXCESS_MARGIN * excess[1 - more]), MARGIN_OF_TOTALS * min(spread)
    if excess[more] < least_excess or spread[more] < least_spread:
        return None
    words = "the totals of its {} differ far more than those of its {}, as those of genes do"
    if more == 0:
        return Evidence("genes", words.format("lines", "columns"))
    return Evidence("cells", words.format("columns", "lines"))


def kind_of_names(names: Sequence[str]) -> Names | None:
    """Return what names are; None if they do not tell."""
    known = [name for name in names if CELL.fullmatch(name)]
    if known and len(known) >= MOST * len(names):
        return Names("cells", len(known) / len(names), known[0])
    known = [name for name in names if GENE.fullmatch(name)]
    if len(known) >= MOST * len(names) and known:
        return Names("genes", len(known) / len(names), known[0])
    if _are_numbered(names) and all(PARTED.search(name) for name in names):
        return Names("cells", 1.0, names[0])
    if len(known) >= max(min(LEAST_NAMES, len(names)), LEAST_SHARE * len(names), 1):
        return Names("genes", len(known) / len(names), known[0])
    return None


def are_cells(names: Sequence[str]) -> bool:
    """Return whether names are plainly those of cells."""
    return len(names) >= LEAST_NAMES and _share(CELL, names) >= PLAINLY


def are_genes(names: Sequence[str]) -> bool:
    """Return whether names are plainly those of genes."""
    found = kind_of_names(names)
    is_known = len(names) >= LEAST_NAMES and found is not None and found.kind == "genes"
    return is_known and _share(CELL, names) <= 1 - PLAINLY


def _share(scheme: re.Pattern[str], names: Sequence[str]) -> float:
    return sum(scheme.fullmatch(name) is not None for name in names) / len(names)


def kind_of_column(name: str) -> Kind | None:
    """Return which of both a column of annotations is about; None where it does not tell."""
    word = plain(name)
    of_genes = word in OF_GENES | OF_GENES_AMONG_CELLS - LONE_TOTALS
    of_cells = word in OF_CELLS | OF_CELLS_AMONG_GENES - LONE_TOTALS
    if not of_genes and not of_cells:
        is_of_cells = is_measure(name) and not word.startswith("log")  # scanpy writes log1p of both
        return "cells" if is_of_cells else kind_of_word(name)
    return None if of_genes and of_cells else "genes" if of_genes else "cells"


def names_ids(corner: str) -> bool:
    """Return whether the first field of a header is nothing but a word for ids."""
    return not plain(corner) or plain(corner) in NAMES_IDS or kind_of_word(corner) is not None


def undecided(found: Sequence[Evidence], header: Sequence[str], first_column: Sequence[str]) -> str:
    """Return why there is no telling."""
    if found:
        for_genes, for_cells = (next(one.words for one in found if one.lines == kind) for kind in ("genes", "cells"))
        return f"its lines are genes, since {for_genes}; but cells, since {for_cells}"
    return (
        f"nothing tells whether its lines are cells or genes: lines are called {examples(first_column[:3])}, "
        f"columns {examples(header[:3])}"
    )


def kind_of_word(word: str) -> Kind | None:
    """Return which of both a word is for; None for both, or neither, and for the name of one."""
    if CELL.fullmatch(word) or GENE.fullmatch(word):
        return None
    genes, cells = (pattern.search(plain(word)) is not None for pattern in (NAMES_GENES, NAMES_CELLS))
    return None if genes == cells else "genes" if genes else "cells"


def _are_numbered(names: Sequence[str]) -> bool:
    """Return whether names are few words, each with a number that goes up from a low one, as programs call cells."""
    parts = [re.fullmatch(r"(.*\D)(0|[1-9]\d*|0\d{1,2})", name) for name in names]
    if len(names) < LEAST_NUMBERED or not all(parts):
        return False
    stems = {part[1] for part in parts if part}
    if len(stems) > max(1, len(names) // MAX_SPREAD) or any(_is_no_stem(stem) for stem in stems):
        return False
    return max(int(part[2]) for part in parts if part) <= MAX_SPREAD * len(names)


def _is_no_stem(stem: str) -> bool:
    """Return whether what stands before a number is a gene's: ``CD``, ``hg38_SLC``, or a lone letter."""
    is_symbol = stem.isupper() and stem.isalnum() and len(stem) < LONGEST_SYMBOL
    is_letter = sum(map(str.isalnum, stem)) < 2 and stem.isalnum()
    of_gene = NO_STEMS.fullmatch(stem) or GENE.fullmatch(f"{stem}A") or kind_of_word(stem) == "genes"
    return is_symbol or is_letter or not any(map(str.isalpha, stem)) or bool(of_gene)


def _spread(counts_RK: np.ndarray, axis: int) -> float:
    return float(np.log1p(counts_RK.sum(axis=axis)).var())


SAMPLED_NAMES = 1000
LEAST_OF_SCHEME, SHARE_OF_SCHEME = 3, 0.9
"""So many names, and such a share of them, make a column of another name stand out."""


def named_beside(names: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells by its name that a column before or behind the counts is an annotation."""
    names = _both_ends(names)
    by_name = OF_GENES | OF_CELLS
    others = [name for name in names if plain(name) not in by_name and not is_measure(name)]
    found = kind_of_names(others)
    if found:
        by_name |= OF_GENES_AMONG_CELLS if found.kind == "cells" else OF_CELLS_AMONG_GENES
        together = [pair for pair in COORDINATES if pair <= {plain(name) for name in names}]
        by_name |= frozenset().union(*together) if found.kind == "genes" else frozenset()
    are_cells, are_ids = (_is_scheme_of(names, scheme) for scheme in (CELL, GENE_ID))

    def is_beside(name: str) -> bool:
        if plain(name) in by_name or is_measure(name) or UNNAMED.fullmatch(name):
            return True
        is_odd_id = are_ids and not any(kind.fullmatch(name) for kind in (GENE, TRANSGENE, SYMBOL))
        return is_odd_id or (are_cells and CELL.fullmatch(name) is None)

    return is_beside


def _both_ends(names: Sequence[str]) -> Sequence[str]:
    """Return names, of many a sample in which the first and the last are whole."""
    if len(names) <= 3 * SAMPLED_NAMES:
        return names
    between = names[SAMPLED_NAMES:-SAMPLED_NAMES]
    return [*names[:SAMPLED_NAMES], *between[:: 1 + len(between) // SAMPLED_NAMES], *names[-SAMPLED_NAMES:]]


def _is_scheme_of(names: Sequence[str], scheme: re.Pattern[str]) -> bool:
    """Return whether nearly all names between the first and the last of a scheme are of it, and they are most names."""
    fits = [scheme.fullmatch(name) is not None for name in names]
    if sum(fits) < max(LEAST_OF_SCHEME, len(names) / 2):
        return False
    between = len(names) - fits.index(True) - fits[::-1].index(True)
    return sum(fits) >= SHARE_OF_SCHEME * between
