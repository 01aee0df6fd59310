"""Feature lists: text files that name genes, one a line."""

from collections import Counter
from pathlib import Path

from scnym.base.errors import DataError, FormatError, MissingInputError, examples


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
