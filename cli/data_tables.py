"""Data sets on the terminal, or as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from .data_results import FetchedDataSet, ListedData
from .look import print_json, say, show, table_of, text

if TYPE_CHECKING:
    from scnym import DataFile, DataSet, FetchedData


def print_data_sets(listed: Mapping[str, "DataSet"], *, as_json: bool) -> None:
    """Print what data sets there are."""
    if as_json:
        print_json(ListedData.model_validate({name: asdict(one) for name, one in listed.items()}))
        return
    table = table_of("name", "files", "checksum", "what", words=("checksum", "what"))
    for name, one in listed.items():
        table.add_row(text(name), str(len(one.files)), _checksums(one.files), text(one.title))
    show(table)


def print_fetched(fetched: "FetchedData", *, as_json: bool) -> None:
    """Print where a data set is."""
    if as_json:
        print_json(FetchedDataSet.model_validate(asdict(fetched)))
        return
    for path in (*(fetched.folder / name for name in fetched.files), *fetched.unpacked):
        say(str(path))
    say(f"licence: {fetched.data_set.licence} ({fetched.data_set.page})")
    say(f"cite: {fetched.data_set.citation}")


def _checksums(files: "tuple[DataFile, ...]") -> str:
    """Name the weakest kind of checksum among some files."""
    if any(file.known_hash is None for file in files):
        return "at first"
    return "sha256" if all(file.sha256 for file in files) else "md5"
