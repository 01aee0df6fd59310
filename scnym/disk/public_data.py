"""Public data sets by name: where they are, their licences and hashes, and how they are downloaded.

A download is written aside, resumed after an interruption, checked, and renamed when it is complete.
"""

import difflib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scnym.base.errors import DataError, FormatError, MissingInputError, NetworkError, SettingsError
from scnym.base.progress import SILENT, Progress
from scnym.base.text import parse_json
from scnym.disk.atomic import aside, locked, nothing_at, room_for, work_folder

if TYPE_CHECKING:
    from requests import Response

SCHEMES = ("https", "http", "file")
N_TRIES = 4
"""Times that a server is asked before it counts as out of reach; each goes on where the last was cut off."""
TIMEOUT_S = (10, 60)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK_BYTES = 2**14
"""Read at a time; of a chunk that is cut off, nothing is kept."""
CONTENT, VALIDATOR = "content", "validator"


def download(url: str, target: Path, known_hash: str | None, *, progress: Progress = SILENT) -> None:
    """Put what is at an address into a file, unless it stands there already; nothing half is ever seen under its name.

    Parameters
    ----------
    url
        Where it is: https, http or file.
    target
        The file. What is fetched waits in ``.NAME.partial`` beside it until it is whole, also between two calls.
    known_hash
        What it must be, as ``sha256:...`` or ``md5:...``; None where nobody knows.
    progress
        Where to report bytes done.

    Raises
    ------
    NetworkError
        If the server is out of reach, or refuses; what has come is kept for the next call.
    DataError
        If what came is not what it must be; nothing of it is kept.
    MissingInputError, SettingsError, OutputExistsError, NoRoomError
        If a mirror lacks it; the address is of another kind; another process fetches it; the disk is full.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")  # what there is to say, `progress` says
    require_scheme(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with room_for(target, way_out="make room; the same command goes on"), locked(work_folder(target), target):
        fetch: Any = _Fetch(work_folder(target), progress)  # pooch's own type for it is none that fits
        try:
            pooch.retrieve(url, known_hash, fname=target.name, path=target.parent, downloader=fetch)
        except ValueError as fault:  # pooch compares hashes
            fetch.forget()
            raise DataError(
                f"what came from {url} is not what it must be ({known_hash})",
                where=target,
                way_out="give the same command again; if it comes again, the file there has changed or is damaged",
            ) from fault
        finally:
            with suppress(OSError):  # something has come: it waits there
                work_folder(target).rmdir()
        fetch.forget()


def require_scheme(url: str) -> None:
    """Refuse addresses of other kinds than https, http and file.

    Raises
    ------
    SettingsError
        Names the kinds there are.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise SettingsError("addresses of this kind are not read", where=url, way_out=f"give {', '.join(SCHEMES)}")


class _Fetch:
    """What pooch calls to fetch a file: keeps what has come in a folder, and goes on from there.

    Parameters
    ----------
    folder
        Holds what has come so far, and what the server called that version of the file.
    progress
        Where to report bytes done.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._content, self._validator = folder / CONTENT, folder / VALIDATOR
        self._progress = progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring all of a file, and put it where pooch wants it."""
        del pooch  # what calls
        address = urlsplit(url)
        if address.scheme == "file":
            _copy(Path(url2pathname(address.path)), Path(output_file))
            return
        self._bring(url)
        self._content.replace(output_file)

    def forget(self) -> None:
        """Remove what has come."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bring(self, url: str) -> None:
        """Ask until everything is here.

        Raises
        ------
        NetworkError
            If the server refuses, or breaks off every time.
        """
        import requests

        for tries_left in reversed(range(N_TRIES)):
            try:
                with requests.get(url, headers=self._wishes(), stream=True, timeout=TIMEOUT_S) as answer:
                    if self._is_complete(answer):
                        return
                    answer.raise_for_status()
                    self._append(answer)
            except requests.RequestException as fault:
                if not tries_left or _is_final(fault):
                    raise _out_of_reach(url, fault) from fault
            else:
                return

    def _wishes(self) -> dict[str, str]:
        """Ask for the rest, if the file there is still the one that the beginning came from."""
        wishes = {"Accept-Encoding": "identity"}
        if self._content.exists() and self._validator.exists():
            wishes |= {"Range": f"bytes={self._content.stat().st_size}-", "If-Range": self._validator.read_text()}
        return wishes

    def _is_complete(self, answer: "Response") -> bool:
        """Whether nothing is left to send: everything came before, and only the end of the last call was missed."""
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return answer.status_code == 416 and total == str(self._content.stat().st_size)

    def _append(self, answer: "Response") -> None:
        goes_on = answer.status_code == 206
        if not goes_on:
            self._begin(answer)
        here = self._content.stat().st_size if goes_on else 0
        total = int(answer.headers["Content-Length"]) + here if "Content-Length" in answer.headers else None
        with (
            self._content.open("ab" if goes_on else "wb") as file,
            self._progress.task(f"downloading {Path(urlsplit(answer.url).path).name}", total=total, unit="B") as task,
        ):
            task.advance(here)
            for chunk in _chunks(answer):
                file.write(chunk)
                task.advance(len(chunk))

    def _begin(self, answer: "Response") -> None:
        """Note what the server calls this version; without a name for it, a later call begins again."""
        self._validator.unlink(missing_ok=True)
        name = answer.headers.get("ETag", "")
        version = answer.headers.get("Last-Modified", "") if name.startswith("W/") or not name else name
        if version:
            self._validator.write_text(version)


def _chunks(answer: "Response") -> Iterable[bytes]:
    return answer.iter_content(CHUNK_BYTES)


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise MissingInputError("there is no such file", where=source, way_out="put it there, or choose another mirror")
    shutil.copyfile(source, target)


def _is_final(fault: Any) -> bool:
    """Whether asking again is of no use: the server answered, and does not give the file."""
    return fault.response is not None and fault.response.status_code < 500


def _out_of_reach(url: str, fault: Any) -> NetworkError:
    answered = fault.response is not None
    said = f"the server answers {fault.response.status_code}" if answered else "the server is out of reach"
    return NetworkError(
        f"{said} ({fault.__class__.__name__})",
        where=url,
        way_out="give the same command again, which goes on; or name a folder that has the file with --mirror",
    )


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
    """Return every data set that is listed, by name.

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
        As in `scnym.disk.public_data.download`.
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
    """Return the address of a file in a mirror, which is a folder or the address of one."""
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
        """Return what a file was the first time, as ``sha256:...``."""
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
