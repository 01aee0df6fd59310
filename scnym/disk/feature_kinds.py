"""Which features of a source are genes, and what the others are: proteins, guides, peaks, and sums over reads.

What a column of `var` says of a feature counts first; of names only those that no gene can have.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from scnym.base.errors import DataError, examples
from scnym.disk.annotation_names import FEATURE_TABLE, OF_CELLS_IN_ROWS, OF_READS, is_summary, plain
from scnym.disk.bucket import Location

GENE_EXPRESSION = "Gene Expression"
"""What 10x calls the type of a gene."""
TYPE_COLUMNS = frozenset(
    {"featuretype", "featuretypes", "featureclass", "featurebiotype", "modality", "modalities", "mod", "mods", "assay"}
    | {
        "assays",
        "library",
        "librarytype",
        "librarytypes",
        "datatype",
        "omic",
        "omics",
        "type",
        "types",
        "kind",
        "class",
    }
)
"""Columns that may hold types of features, by their names without case and marks."""
GENE_TYPES = frozenset(
    {
        "gene expression",
        "gene",
        "genes",
        "gex",
        "rna",
        "mrna",
        "expression",
        "transcript",
        "transcripts",
        "transcriptome",
    }
)
OTHER_TYPES = frozenset(
    {"antibody capture", "antigen capture", "antibody", "antibodies", "antibody derived tag", "antibody derived tags"}
    | {"ab", "abs", "abseq", "adt", "adts", "protein", "proteins", "prot", "protein expression", "surface protein"}
    | {"surface proteins", "cell surface protein", "cite", "cite seq", "citeseq", "isotype control"}
    | {"hto", "htos", "hashtag", "hashtags", "hashtag oligo", "hashing", "cell hashing", "sample tag", "sample tags"}
    | {"multiplexing capture", "multiplexing", "multiplexing barcode", "cell multiplexing", "cmo", "cmos", "lmo"}
    | {"crispr guide capture", "crispr", "crispr guide", "guide capture", "guide", "guides", "grna", "sgrna"}
    | {"guide rna", "perturbation", "custom", "peak", "peaks", "atac", "chromatin accessibility", "accessibility"}
    | {"vdj", "vdj t", "vdj b", "tcr", "bcr"}
    | {"negative control", "negative control probe", "negative control codeword", "negative probe", "control probe"}
    | {"unassigned codeword", "deprecated codeword", "blank codeword", "genomic control"}
    | {"motif", "motifs", "genotype", "genotypes", "spike in", "spike ins", "spikein", "spikeins", "ercc"}
)
"""Types of features that are no genes, in lower case, with a blank for every mark."""
NO_TYPE = frozenset({"", "nan", "na", "n a", "none", "unknown"})
"""What says nothing against a gene."""
SPIKE_INS = re.compile(r"ERCC[-_.]\d{5}", re.IGNORECASE)
"""RNA that was added to every cell: its counts are no part of the cell's library."""
WITH_CODES = re.compile(r"[A-Za-z][^()]*\(\d ?=.*\)")
"""A row that says what its numbers stand for, as ``malignant(1=no,2=yes,0=unresolved)``."""
UNASSIGNED = re.compile(r"Unassigned[_.-][A-Za-z_.-]+")
AS_R_WRITES_IT = re.compile(r"^(X?__|X\.\.)")
"""What stands before the names of HTSeq, and what R makes of it."""
TAGS = re.compile(r".+[|._-][ps]tAbO|.+[|._-]pAbO|.*totalseq.*", re.IGNORECASE)
"""Proteins and sample tags as BD Rhapsody (``|pAbO``, ``|stAbO``) and TotalSeq name them."""
LIKELY_TAGS = re.compile(
    r"(ADT|adt|AB|HTO|hto|PROT|prot|CITE|cite)[_:][A-Za-z].*|.+[_-](ADT|PROT|HTO)|ADT-[A-Z].*|HTO[-_]?(\d+|[A-Z])"
    r"|(?i:hashtag)[-_ ]?\w*(-[ACGT]{8,})?"
    r"|.*(?i:anti)[-_ ](?i:human|mouse|rat)(?![A-Za-z]).*|(?i:anti)[-_ ](?i:CD\d|HLA|Ig).*"
    r"|.*(?i:isotype)[-_. ]?(?i:ctrl|control).*|.+[-_][ACGT]{15}"
)
LIKELY_SHARE = 0.9
"""Where a larger share of features is named so, this is how genes are named there."""
UNMARKED = ("NegPrb", "SystemControl", "HTO", "Hashtag", "hashtag")
"""Beginnings of names without a mark that may be none of genes."""
CONTROLS = re.compile(
    r"NegControl(Probe|Codeword)_\w+|(Unassigned|Deprecated)Codeword_\d+|BLANK_\d+|Blank-\d+|NegPrb\d+|SystemControl\d+"
)
"""Probes of spatial panels that no gene has."""
PEAKS = re.compile(r"(chr)?([0-9]{1,2}|[XYM]|MT)[:_-]\d{3,}[_-]\d{3,}")
_SUMMARY, _ANNOTATION, _OF_CELLS, _TAG, _CONTROL, _PEAK, _SPIKE_IN = BY_NAME = (
    *("summary values", "annotations of genes", "annotations of cells", "proteins or sample tags", "control probes"),
    *("peaks", "spike-ins"),
)
_MARKS = re.compile(r"[^a-z0-9]+")


def kinds_of(var: pd.DataFrame) -> np.ndarray:
    """Find out what each feature is that is no gene.

    Parameters
    ----------
    var
        What is known of the features; the index holds their names.

    Returns
    -------
    np.ndarray
        In words, None for genes; object, shape (number of features,).
    """
    kinds = _kinds_by_name([str(name) for name in var.index])
    for name, column in var.items():
        for k, type_ in enumerate(_types_in(column, str(name))):
            kinds[k] = kinds[k] if type_ is None else type_
    return kinds


def genes_among(features: pd.DataFrame, path: Location) -> tuple[np.ndarray, str | None]:
    """Return which features are genes, and what is to be said of the others.

    Returns
    -------
    np.ndarray
        bool, shape (number of features,).
    str or None
        None if all are genes.

    Raises
    ------
    DataError
        If none is.
    """
    kinds = kinds_of(features)
    is_gene_F = np.array([kind is None for kind in kinds], bool)
    if is_gene_F.all():
        return is_gene_F, None
    if not is_gene_F.any():
        raise DataError(
            f"none of its features is of the type {GENE_EXPRESSION}: they are {examples(dict.fromkeys(kinds))}",
            where=path,
            way_out="give the output of a gene expression library",
        )
    names = list(map(str, features.index))
    return is_gene_F, f"features that are no genes are left out: {kinds_in_words(kinds, names)}"


def kinds_in_words(kinds: np.ndarray, names: Sequence[str]) -> str:
    """Say how many features there are of each kind, with an example where their names have shown it."""
    first: dict[str, str] = {}
    for kind, name in zip(kinds, names, strict=True):
        first.setdefault(kind, name)
    times = Counter(kind for kind in kinds if kind is not None)
    return ", ".join(
        f"{count:,} {kind} such as {first[kind]!r}" if kind in BY_NAME else f"{count:,} of {kind}"
        for kind, count in times.items()
    )


def _kinds_by_name(names: Sequence[str]) -> np.ndarray:
    kinds = np.full(len(names), None, dtype=object)
    marked = [k for k, name in enumerate(names) if not name.isalnum() or name.startswith(UNMARKED)]
    for k, name in enumerate(names):
        if is_summary(name) or plain(name) in FEATURE_TABLE:
            kinds[k] = _SUMMARY if is_summary(name) else _ANNOTATION
        elif plain(name) in OF_CELLS_IN_ROWS or WITH_CODES.fullmatch(name):
            kinds[k] = _OF_CELLS
    for k in marked:
        kinds[k] = kinds[k] or _kind_of(names[k])
    for kind, pattern in ((_TAG, LIKELY_TAGS), (_PEAK, PEAKS)):
        likely = [k for k in marked if kinds[k] is None and pattern.fullmatch(names[k])]
        if len(likely) <= LIKELY_SHARE * len(names):
            kinds[likely] = kind
    if all(kind == _TAG for kind in kinds):
        kinds[:] = None
    return kinds


def _kind_of(name: str) -> str | None:
    if plain(AS_R_WRITES_IT.sub("", name)) in OF_READS or UNASSIGNED.fullmatch(name):
        return _SUMMARY
    if TAGS.fullmatch(name):
        return _TAG
    if SPIKE_INS.fullmatch(name):
        return _SPIKE_IN
    return _CONTROL if CONTROLS.fullmatch(name) else None


def _types_in(column: pd.Series, name: str) -> list[str | None]:
    """Give the types that a column holds, None for genes; nothing at all if it holds no types of features.

    Where 10x's name for genes stands in it, all others are none, as 10x means it. A feature without a type is a gene.
    """
    values = column.astype(object)
    if infer_dtype(values, skipna=True) != "string":
        return []
    types = {value: _MARKS.sub(" ", value.casefold()).strip() for value in values.dropna().unique()}
    is_10x = GENE_EXPRESSION in types
    if not is_10x and (plain(name) not in TYPE_COLUMNS or not _are_types({*types.values()})):
        return []
    others = {value for value, type_ in types.items() if type_ not in GENE_TYPES | NO_TYPE}
    if not is_10x:
        others = {value for value in others if types[value] in OTHER_TYPES}
    return [value if isinstance(value, str) and value in others else None for value in values]


def _are_types(values: set[str]) -> bool:
    """Whether values are types of features, and not of genes, as protein_coding is."""
    return bool(values & GENE_TYPES) or (bool(values & OTHER_TYPES) and values <= OTHER_TYPES | NO_TYPE)
