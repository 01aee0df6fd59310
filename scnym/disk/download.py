"""One file from a server or a mirror: fetched aside, gone on with after a cut, checked, and renamed when whole.

pooch says what is whole, and renames; what it fetches with begins again after every cut, so what goes on stands here.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scnym.base.errors import DataError, MissingInputError, NetworkError, SettingsError
from scnym.base.progress import SILENT, Progress
from scnym.disk.aside import locked, room_for, work_folder

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
