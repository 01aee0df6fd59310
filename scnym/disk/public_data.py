"""Public data sets by name: where they are, what they must be, whose they are, and how they come here."""

import difflib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scnym.base.documents import parse_json
from scnym.base.errors import FormatError, MissingInputError, SettingsError
from scnym.base.progress import SILENT, Progress
from scnym.disk.aside import aside, nothing_at
from scnym.disk.download import download, require_scheme

LIST = Path(__file__).with_name("public_data.json")
LOCK_FILE = "checksums.json"
"""What came the first time, by path below the folder: it must come again."""


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of a data set."""

    name: str
    url: str
    sha256: str | None = None
    """What the publisher says it is; None where it is not known."""
    md5: str | None = None
    """The same, where the publisher gives only this."""
    unpack: bool = False
    """Whether it is an archive whose content is wanted."""

    @property
    def known_hash(self) -> str | None:
        """The better one of the two, as ``sha256:...`` or ``md5:...``."""
        if self.sha256 is not None:
            return f"sha256:{self.sha256}"
        return None if self.md5 is None else f"md5:{self.md5}"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What is known of a data set."""

    name: str
    title: str
    files: tuple[DataFile, ...]
    page: str
    licence: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class FetchedData:
    """A data set that is here, whole."""

    data_set: DataSet
    folder: Path
    files: dict[str, str]
    """SHA-256 of each file, by its name."""
    unpacked: tuple[Path, ...]
    """Folders with what was in its archives."""


def data_sets(registry: str | Path | None = None) -> dict[str, DataSet]:
    """Give every data set that is listed, by name.

    Parameters
    ----------
    registry
        A list of your own, a JSON file of the same form as ``scnym/disk/public_data.json``; None for scnym's.

    Raises
    ------
    MissingInputError, FormatError, SettingsError
        If the list is not there, is of another form, or names addresses that are not read.
    """
    path = LIST if registry is None else Path(registry)
    if not path.is_file():
        raise MissingInputError("there is no such list of data sets", where=path, way_out="check --registry")
    try:
        listed = {name: _data_set(name, entry) for name, entry in parse_json(path.read_bytes()).items()}
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise FormatError(
            f"it is no list of data sets ({fault!r})", where=path, way_out="write it as data/README.md says"
        ) from fault
    for file in (file for one in listed.values() for file in one.files):
        require_scheme(file.url)
    return listed


def get_data(
    name: str,
    out_path: str | Path,
    *,
    mirror: str | Path | None = None,
    registry: str | Path | None = None,
    progress: Progress = SILENT,
) -> FetchedData:
    """Fetch a data set into ``OUT/NAME/``; what is there and whole is not fetched again.

    Parameters
    ----------
    name
        One of `data_sets`.
    out_path
        Folder for data sets. A folder that was filled this way serves as a mirror elsewhere.
    mirror
        Folder, or address of one, that holds ``NAME/FILE`` for every file, to read in place of the publisher's.
    registry
        As in `data_sets`.
    progress
        Where to report bytes done, and checksums that nobody had published.

    Raises
    ------
    SettingsError
        If there is no such data set; names the nearest.
    NetworkError, DataError, MissingInputError, OutputExistsError, NoRoomError
        As in `scnym.disk.download.download`.
    """
    data_set = _named(name, data_sets(registry))
    lock, folder = _Lock(Path(out_path) / LOCK_FILE), Path(out_path) / name
    hashes = {}
    for file in data_set.files:
        url = file.url if mirror is None else _in_mirror(mirror, name, file.name)
        known = file.known_hash or lock.of(name, file.name)
        download(url, folder / file.name, known, progress=progress)
        hashes[file.name] = lock.note(name, file.name, folder / file.name)
        if known is None:
            progress.say(f"{file.name}: no checksum is published; noted in {lock.path}: {hashes[file.name]}")
    unpacked = tuple(_unpacked(folder / file.name) for file in data_set.files if file.unpack)
    return FetchedData(data_set=data_set, folder=folder, files=hashes, unpacked=unpacked)


def _data_set(name: str, entry: Mapping[str, Any]) -> DataSet:
    files = tuple(DataFile(**file) for file in entry["files"])
    for part in (name, *(file.name for file in files)):
        if not part or part != Path(part).name or part.startswith("."):
            raise ValueError(f"{part!r} is not the name of a file")
    return DataSet(name=name, **{**entry, "files": files})


def _named(name: str, listed: Mapping[str, DataSet]) -> DataSet:
    if name in listed:
        return listed[name]
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.4)
    meant = f"did you mean {close[0]}? " if close else ""
    raise SettingsError(
        f"there is no data set {name!r}",
        where="scnym data get",
        way_out=f"{meant}there are {', '.join(listed)}",
        mend={name: close[0]} if close else None,
    )


def _in_mirror(mirror: str | Path, name: str, file: str) -> str:
    """Give the address of a file in a mirror, which is a folder or the address of one."""
    root = str(mirror).rstrip("/")
    if "://" not in root:
        root = Path(root).absolute().as_uri()
    require_scheme(root)
    return f"{root}/{name}/{file}"


def _unpacked(archive: Path) -> Path:
    """Unpack an archive into a folder beside it, once; nothing in it can be written elsewhere.

    Raises
    ------
    FormatError, SettingsError
        If it cannot be read, or this Python knows no filters of tar archives.
    """
    target = archive.with_name(archive.name.partition(".")[0])
    if not target.exists():
        # A tar's links and absolute paths are refused by the filter; names in a zip that lead out are left out.
        is_zip = archive.suffix == ".zip"
        if not is_zip and not hasattr(tarfile, "data_filter"):
            raise SettingsError(
                "this Python cannot unpack a tar safely",
                where=archive,
                way_out="use Python 3.11.4 or newer, or unpack it by hand",
            )
        how: dict[str, Any] = {} if is_zip else {"filter": "data"}
        with aside(target, overwrite=False, is_replaceable=lambda _: False) as folder:
            try:
                shutil.unpack_archive(archive, folder, **how)
            except (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError) as fault:
                raise FormatError(
                    f"the archive cannot be unpacked ({fault})", where=archive, way_out="remove it, and get it again"
                ) from fault
    return target


@dataclass(frozen=True)
class _Lock:
    """The checksums of what has come into a folder, in a file in it."""

    path: Path

    def of(self, name: str, file: str) -> str | None:
        """Give what a file was the first time, as ``sha256:...``."""
        found = self._read().get(f"{name}/{file}")
        return None if found is None else f"sha256:{found}"

    def note(self, name: str, file: str, content: Path) -> str:
        """Note the SHA-256 of a file that has come, and give it."""
        import pooch

        found = pooch.file_hash(str(content), alg="sha256")
        held = self._read()
        if held.get(f"{name}/{file}") != found:
            beside = nothing_at(self.path.with_name(f".{self.path.name}.partial"))
            beside.write_text(json.dumps({**held, f"{name}/{file}": found}, indent=2, sort_keys=True) + "\n")
            beside.replace(self.path)
        return found

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        try:
            return {str(name): str(found) for name, found in parse_json(self.path.read_bytes()).items()}
        except (ValueError, AttributeError) as fault:
            raise FormatError("it cannot be read", where=self.path, way_out="remove it") from fault
