"""A table of cell annotations (CSV or TSV), joined to the cells of a store by their ids."""

from pathlib import Path

import pandas as pd

from scnym.base.errors import DataError, FormatError, MissingInputError, examples


def separator_of(path: Path) -> str:
    """Give what stands between the fields of a text table, by its name: a tab in .tsv and .txt, else a comma."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return "\t" if suffixes and suffixes[-1] in {".tsv", ".txt"} else ","


def read_annotations(path: Path) -> pd.DataFrame:
    """Read a table with one row per cell; every value is text, missing ones are NaN.

    Raises
    ------
    MissingInputError, FormatError
        If it is not there, or cannot be read.
    """
    if not path.is_file():
        raise MissingInputError("there is no such file", where=path, way_out="check --training_metadata")
    separator = separator_of(path)
    try:
        return pd.read_csv(path, sep=separator, dtype=str, index_col=False)
    except (ValueError, OSError, EOFError) as fault:
        raise FormatError(f"the table cannot be read ({fault})", where=path, way_out="write it as CSV") from fault


def join_annotations(obs: pd.DataFrame, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the table's columns to obs; cells are matched by id, never by order alone.

    The id column is the one that holds the most ids of cells. Rows about other cells are ignored; columns of
    the table replace columns of obs that have the same name.

    Raises
    ------
    DataError
        If no column holds the ids, an id stands twice, or cells are not in the table.
    """
    known = set(obs.index)
    overlaps = {name: len(known.intersection(table[name].dropna())) for name in table.columns}
    id_column = max(overlaps, key=lambda name: overlaps[name], default=None)
    if id_column is None or not overlaps[id_column]:
        raise DataError(
            f"no column holds the ids of the cells, such as {examples(obs.index[:3])}",
            where=path,
            way_out="add a column with the cell ids of the count matrix",
        )
    ids = table[id_column]
    repeated = ids[ids.duplicated() & ids.isin(known)].unique()
    if len(repeated):
        raise DataError(f"cell {examples(repeated)} stands twice", where=path, way_out="keep one row per cell")
    missing = obs.index.difference(pd.Index(ids))
    if len(missing):
        raise DataError(
            f"{len(missing):,} of {len(obs):,} cells are not in the table, such as {examples(missing[:3])}",
            where=path,
            way_out="give every cell a row; leave its label empty if it has none",
        )
    columns = table[ids.isin(known)].set_index(id_column).reindex(obs.index)
    return pd.concat([obs.drop(columns=[name for name in columns if name in obs]), columns], axis="columns")
