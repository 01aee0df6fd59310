"""Which way round a text table lies: cells x genes, or genes x cells. The names along its two sides tell.

Only names that can hardly be anything else count: gene identifiers of the databases, families of gene symbols and
housekeeping genes of human and mouse, and cell barcodes.
"""

import re
from collections.abc import Sequence

GENE = re.compile(
    r"""
    ENS[A-Z]{0,4}G\d{11}(\.\d+)?(_PAR_Y)?([_|].+)?          # Ensembl, any species; version; symbol behind it
    | FBgn\d{7} | WBGene\d{8}                               # fly, worm
    | (MT|mt)-[A-Za-z]{2,5}\d{0,2}[A-Za-z]?                 # mitochondrial: MT-CO1, mt-Nd4l
    | (M?RP[LS]|M?rp[ls]|M?Rp[ls])\d{1,2}[AXYLaxyl]?\d?     # ribosomal: RPL13A, Mrps18
    | (MIR|LINC|Mir)\d{2,}(-?\d|[A-Z]|HG|-2HG)? | [A-Z0-9]+-AS\d
    | A[CLPF]\d{6}\.\d+ | RP\d{1,2}-\d+[A-Z]\d+\.\d+        # clones
    | Gm\d{3,} | [0-9A-F]\d{6}[A-Z]\d{2}Rik                 # mouse models
    | (ZNF|FAM|TMEM|SLC|KIF|ADAM|PCDH|OR)\d+[A-Z]?\d*P?\d*
    | (Zfp|Fam|Tmem|Slc|Kif|Adam|Pcdh|Olfr)\d+[a-z]?\d*
    | HLA-[A-Z]{1,3}\d? | H2-[A-Z][a-z0-9]{1,2} | IG[HKL][VC]\d*.* | TR[ABDG][VC]\d*.*
    | ABC[A-G]\d{1,2} | Abc[a-g]\d{1,2} | COL\d+A\d+ | Col\d+a\d+ | ATP\d+[A-Z]\d? | Atp\d+[a-z]\d?
    | ACTB | GAPDH | B2M | MALAT1 | NEAT1 | XIST | EEF1A1 | TMSB4X | TMSB10 | FTL | FTH1 | VIM | PTPRC | UBC | TPT1
    | A1BG | A2M | AAAS | NOC2L | KLHL17 | PLEKHN1 | ISG15 | SAMD11 | AGRN | TP53 | CD3E | CD8A | MS4A1 | NKG7 | LYZ
    | Actb | Gapdh | B2m | Malat1 | Neat1 | Xist | Eef1a1 | Tmsb4x | Tmsb10 | Ftl1 | Fth1 | Vim | Ptprc | Ubc | Tpt1
    | Xkr4 | Sox17 | Lypla1 | Tcea1 | Trp53 | Cd3e | Cd8a | Ms4a1 | Nkg7 | Lyz2 | Aaas | A1bg
    """,
    re.VERBOSE,
)
CELL = re.compile(r"(.*[^A-Za-z])?[ACGT]{8,}([^A-Za-z].*)?")
"""A barcode, alone or with a sample's name before it or behind it, as in ``AAACCTGAGAAGGCCT-1``."""
LEAST_SHARE = 0.02
"""Symbols of the families above are about a tenth of all human and mouse genes, and fewer in some stretches."""
LEAST_NAMES = 3
MARGIN = 4
"""How much more there must be for the one way than for the other."""


def genes_by_cells_reason(header: Sequence[str], first_column: Sequence[str]) -> str | None:
    """Say why a table lies genes x cells; None if it does not, or its names do not tell.

    Parameters
    ----------
    header, first_column
        Names of columns and of lines; a sample is enough.
    """
    against = max(_share(header, GENE), _share(first_column, CELL))
    for names, pattern, words in (
        (first_column, GENE, "its first column names genes"),
        (header, CELL, "its header names cells"),
    ):
        known = [name for name in names if pattern.fullmatch(name)]
        enough = len(known) >= min(LEAST_NAMES, len(names))
        if known and enough and len(known) / len(names) >= max(LEAST_SHARE, MARGIN * against):
            return f"read as genes x cells, since {words}, such as {known[0]}"
    return None


def _share(names: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(pattern.fullmatch(name) is not None for name in names) / max(1, len(names))
