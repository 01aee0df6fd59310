"""What genes are called where their names do not tell: numbered ones, and names that several genes share.

The columns of `var` that name genes are known by their own names; any other counts only where it names each gene.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from scnym.disk.annotation_names import plain
from scnym.disk.features import are_numbered
from scnym.disk.formats.block import names_or_ids

SYMBOLS = (
    *("featurename", "featurenames", "genename", "genenames", "genesymbol", "genesymbols", "symbol", "symbols"),
    *("geneshortname", "hgncsymbol", "mgisymbol", "externalgenename", "officialsymbol", "hgnc", "gene", "genes"),
    *("varnames", "feature", "features", "name", "names", "rownames", "index"),
)
"""Columns of symbols, the surest first, by their names without case and marks."""
IDS = (
    *("featureid", "featureids", "geneid", "geneids", "ensemblid", "ensemblids", "ensemblgeneid", "ensemblgene"),
    *("ensembl", "ensg", "accession", "accessions", "gencodeid", "flybaseid", "wormbaseid", "zfinid", "mgiid"),
    *("refseqid", "refseq", "entrezid", "entrezgeneid", "entrezgene", "entrez", "ncbigeneid", "ids", "id"),
)
"""Columns of ids."""
LEAST_DISTINCT = 0.5
"""A column with a smaller share of different values, of all genes, names something else."""
MAX_GENES = 80_000
"""More genes than are numbered in any source."""
NUMBERED = re.compile(
    r"(?P<word>(?:(?:gene|feature|features|var|variable|column|col|index|V|X|G)[ ._-]?)?)\d+", re.IGNORECASE
)
NUMBERS_ONLY = (
    "WARNING: the genes are only numbered (0, 1, 2 and so on), and no column names them; a model of them fits nothing "
    "but data with the very same genes in the very same order"
)
ID = re.compile(r"(?!chr)[A-Za-z][\w.:|-]*\d[\w.:|-]*")
NO_NAMES = frozenset({"", "nan", "NaN", "NA", "N/A", "None", "<NA>", "null"})


@dataclass(frozen=True, slots=True)
class Naming:
    """What the genes of a source are called."""

    names: Sequence[str]
    remark: str | None = None
    """Where the names are from, if not from where they should be."""


def named(var: pd.DataFrame, counted: Sequence[str]) -> Naming:
    """Name genes by their index; where this does not tell them apart, by columns.

    Genes that are only numbered get the names that a column holds. Genes that share a name, or have none, get their
    ids, as those of 10x do.

    Parameters
    ----------
    var
        One row per gene.
    counted
        Names of all features of the source, as genes may have been numbered with others between them.
    """
    names = [str(name) for name in var.index]
    is_numbered = are_numbered(counted)
    if is_numbered or _may_be_numbers(names):
        found = _by_columns(var, names, is_numbered=is_numbered)
        return Naming(names, NUMBERS_ONLY) if found is None and is_numbered else found or Naming(names)
    if _tell_apart(names):
        return Naming(names)
    for column, ids in _candidates(var):
        found = names_or_ids(names, ids)
        if _tell_apart(found):
            changed = [name for name, new in zip(names, found, strict=True) if name != new]
            remark = (
                f"{len(changed):,} genes share a name with others or have none, such as {changed[0]!r}: these are "
                f"called by {column!r}"
            )
            return Naming(found, remark)
    return Naming(names)


def _by_columns(var: pd.DataFrame, names: list[str], *, is_numbered: bool) -> Naming | None:
    """Name numbered genes by the first column that can: its symbols, with ids where these are doubled.

    Numbers with gaps may be ids of NCBI: a column of any other name, such as one of probes, names no genes then.
    """
    columns = [found for wanted in (SYMBOLS, IDS) if (found := next(_known(var, wanted), None)) is not None]
    columns = columns or (list(_others(var))[:1] if is_numbered else [])
    if not columns:
        return None
    (first, symbols), (last, ids) = columns[0], columns[-1]
    found = names_or_ids(symbols, ids)
    more = f", and by {last!r} where that does not tell them apart" if found != symbols else ""
    if not is_numbered:
        said = f"the genes are called by numbers, such as {names[0]!r}; they are called by {first!r} instead{more}"
        return Naming(found, said)
    return Naming(found, f"the genes are only numbered, as {names[0]!r}: they are called by {first!r}{more}")


def _may_be_numbers(names: Sequence[str]) -> bool:
    """Whether names may be no more than numbers, alone or behind a word that says no more.

    A part of genes that were numbered has gaps. The numbers of NCBI are names, but those of a list of genes go far
    beyond the number of genes that there are.
    """
    found = [NUMBERED.fullmatch(name) for name in names[:1]]
    if not found or found[0] is None:
        return False
    word = found[0]["word"]
    rests = [name.removeprefix(word) for name in names if name.startswith(word)]
    return len(rests) == len(names) and all(one.isascii() and one.isdecimal() and int(one) < MAX_GENES for one in rests)


def _candidates(var: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Give the columns that may tell genes apart, the surest first."""
    yield from _known(var, IDS)
    yield from _known(var, SYMBOLS)
    yield from _others(var)


def _known(var: pd.DataFrame, wanted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    columns = {plain(name): name for name in reversed(list(var.columns))}
    for name in (columns[one] for one in wanted if one in columns):
        texts = _texts(var[name])
        if texts is not None and len({*texts} - {""}) >= LEAST_DISTINCT * len(texts):
            yield str(name), texts


def _others(var: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Give columns of any name that hold a different id for each gene."""
    for name, column in var.items():
        texts = _texts(column)
        if texts is not None and _tell_apart(texts) and all(map(ID.fullmatch, texts)):
            yield str(name), texts


def _texts(column: pd.Series) -> list[str] | None:
    """Give a column's values as text, empty where one is missing; None if it only numbers genes, or holds no ids."""
    values = column.astype(object)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in {"string", "integer"}:
        return None
    texts = ["" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]
    if are_numbered(texts) or (kind == "string" and not texts[0].isdecimal() and _may_be_numbers(texts)):
        return None
    return ["" if text in NO_NAMES else text for text in texts]


def _tell_apart(names: Sequence[str]) -> bool:
    times = Counter(names)
    return "" not in times and len(times) == len(names)
