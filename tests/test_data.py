"""Public data sets: fetched whole, gone on with after a cut, checked, from a server on loopback or a mirror."""

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from cli.main import app
from scnym import data_sets, get_data
from scnym.base.errors import (
    DataError,
    FormatError,
    MissingInputError,
    NetworkError,
    NoRoomError,
    OutputExistsError,
    SettingsError,
)
from scnym.disk import public_data as downloading
from scnym.disk.atomic import locked, work_folder
from scnym.disk.public_data import CHUNK_BYTES, N_TRIES

CONTENT = bytes(k * 7 % 251 for k in range(300_000))
"""Every place has another surrounding, so that bytes put together wrongly show."""


@dataclass
class Publisher:
    """What a server has, where it breaks off, and what it was asked."""

    files: dict[str, bytes]
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection ends, one for each answer to come."""
    etag: str = '"one"'
    knows_ranges: bool = True
    status: int | None = None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    has = Publisher({"/cells.bin": CONTENT})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            has.ranges.append(asked)
            content = has.files.get(self.path)
            if content is None or has.status is not None:
                self.send_error(has.status or 404)
                return
            goes_on = has.knows_ranges and asked is not None and self.headers.get("If-Range") == has.etag
            begin = int(re.findall(r"\d+", asked or "0")[0]) if goes_on else 0
            if goes_on and begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if goes_on else 200)
            self.send_header("ETag", has.etag)
            self.send_header("Content-Length", str(len(content) - begin))
            if goes_on:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            end = has.cuts.pop(0) if has.cuts else len(content)
            self.wfile.write(content[begin : begin + end])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    has.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield has
    server.shutdown()
    server.server_close()


def registry_of(folder: Path, publisher: Publisher, **known: object) -> Path:
    """A list with one data set of one file, known by its SHA-256 unless told otherwise."""
    file = {
        "name": "cells.bin",
        "url": f"{publisher.url}/cells.bin",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        **known,
    }
    entry = {"title": "t", "files": [file], "page": "p", "licence": "l", "citation": "c"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "registry.json"
    path.write_text(json.dumps({"cells": entry}))
    return path


def target(folder: Path) -> Path:
    return folder / "out" / "cells" / "cells.bin"


def fetch(folder: Path, publisher: Publisher, **known: object) -> Path:
    get_data("cells", folder / "out", registry=registry_of(folder, publisher, **known))
    return target(folder)


def left_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").rglob("*") if path.is_file())


def test_a_file_comes_whole_and_leaves_nothing_beside_it(tmp_path: Path, publisher: Publisher):
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT
    assert left_of(tmp_path) == ["cells.bin", "checksums.json"]
    assert not work_folder(target(tmp_path)).exists()


def test_a_whole_file_is_not_fetched_again(tmp_path: Path, publisher: Publisher):
    fetch(tmp_path, publisher)
    fetch(tmp_path, publisher)
    assert publisher.ranges == [None]


def test_a_damaged_file_is_fetched_again(tmp_path: Path, publisher: Publisher):
    fetch(tmp_path, publisher).write_bytes(CONTENT[:-1] + b"\0")
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT


def test_a_download_that_is_cut_goes_on_where_it_was(tmp_path: Path, publisher: Publisher):
    publisher.cuts = [6 * CHUNK_BYTES, 3 * CHUNK_BYTES + 10]
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT
    assert publisher.ranges == [None, f"bytes={6 * CHUNK_BYTES}-", f"bytes={9 * CHUNK_BYTES}-"]


def test_a_later_call_goes_on_too(tmp_path: Path, publisher: Publisher):
    publisher.cuts = [CHUNK_BYTES] * N_TRIES
    with pytest.raises(NetworkError, match="goes on"):
        fetch(tmp_path, publisher)
    assert not target(tmp_path).exists()
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT
    assert publisher.ranges[-1] == f"bytes={CHUNK_BYTES * N_TRIES}-"


def test_what_came_before_the_file_changed_is_not_mixed_with_what_comes_after(tmp_path: Path, publisher: Publisher):
    publisher.cuts = [CHUNK_BYTES] * N_TRIES
    with pytest.raises(NetworkError):
        fetch(tmp_path, publisher, sha256=None)
    publisher.etag, publisher.files["/cells.bin"] = '"two"', CONTENT[::-1]
    assert fetch(tmp_path, publisher, sha256=None).read_bytes() == CONTENT[::-1]


def test_a_server_that_cannot_go_on_begins_again(tmp_path: Path, publisher: Publisher):
    publisher.cuts, publisher.knows_ranges = [100_000], False
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT


def test_a_file_that_came_whole_before_the_call_was_killed_is_not_fetched_again(tmp_path: Path, publisher: Publisher):
    waiting = work_folder(target(tmp_path))
    waiting.mkdir(parents=True)
    (waiting / downloading.CONTENT).write_bytes(CONTENT)
    (waiting / downloading.VALIDATOR).write_text(publisher.etag)
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT
    assert publisher.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"sha256": None, "md5": "0" * 32}])
def test_a_wrong_checksum_leaves_nothing(tmp_path: Path, publisher: Publisher, known: dict[str, str]):
    with pytest.raises(DataError, match="not what it must be"):
        fetch(tmp_path, publisher, **known)
    assert left_of(tmp_path) == []


def test_a_published_md5_is_enough(tmp_path: Path, publisher: Publisher):
    known = {"sha256": None, "md5": hashlib.md5(CONTENT).hexdigest()}  # noqa: S324 - what publishers give
    assert fetch(tmp_path, publisher, **known).read_bytes() == CONTENT


def test_where_no_checksum_is_published_the_first_one_binds_the_second(tmp_path: Path, publisher: Publisher):
    path = fetch(tmp_path, publisher, sha256=None)
    noted = json.loads((tmp_path / "out" / "checksums.json").read_text())
    assert noted == {"cells/cells.bin": hashlib.sha256(CONTENT).hexdigest()}
    path.unlink()
    publisher.files["/cells.bin"] = CONTENT[::-1]
    with pytest.raises(DataError, match="not what it must be"):
        fetch(tmp_path, publisher, sha256=None)
    assert not path.exists()


def test_a_server_that_refuses_is_asked_once(tmp_path: Path, publisher: Publisher):
    publisher.status = 403
    with pytest.raises(NetworkError, match=r"403.*--mirror"):
        fetch(tmp_path, publisher)
    assert len(publisher.ranges) == 1
    assert list((tmp_path / "out" / "cells").iterdir()) == []


def test_a_server_in_trouble_is_asked_again(tmp_path: Path, publisher: Publisher):
    publisher.status = 503
    with pytest.raises(NetworkError, match="503"):
        fetch(tmp_path, publisher)
    assert len(publisher.ranges) == N_TRIES


def test_no_room_is_told_and_what_came_is_kept(tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch):
    def full(answer: requests.Response) -> Iterator[bytes]:
        yield next(answer.iter_content(1000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloading, "_chunks", full)
    with pytest.raises(NoRoomError, match="goes on"):
        fetch(tmp_path, publisher)
    assert not target(tmp_path).exists()
    monkeypatch.undo()
    assert fetch(tmp_path, publisher).read_bytes() == CONTENT
    assert publisher.ranges == [None, "bytes=1000-"]


def test_two_do_not_fetch_the_same_file(tmp_path: Path, publisher: Publisher):
    with (
        locked(work_folder(target(tmp_path)), target(tmp_path)),
        pytest.raises(OutputExistsError, match="another process"),
    ):
        fetch(tmp_path, publisher)


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_a_mirror_stands_for_the_publisher(tmp_path: Path, publisher: Publisher, kind: str):
    fetch(tmp_path / "connected", publisher)
    mirror = str(tmp_path / "connected" / "out")
    publisher.files = {"/lab/cells/cells.bin": CONTENT}
    registry = registry_of(tmp_path, publisher, url="https://publisher.invalid/cells.bin")
    get_data(
        "cells", tmp_path / "out", mirror=mirror if kind == "folder" else f"{publisher.url}/lab/", registry=registry
    )
    assert target(tmp_path).read_bytes() == CONTENT


def test_a_mirror_that_lacks_a_file_is_named(tmp_path: Path, publisher: Publisher):
    registry = registry_of(tmp_path, publisher)
    with pytest.raises(MissingInputError, match=r"mirror/cells/cells\.bin.*put it there"):
        get_data("cells", tmp_path / "out", mirror=tmp_path / "mirror", registry=registry)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path):
    with pytest.raises(SettingsError, match="did you mean tabula_muris_10x"):
        get_data("tabula_muris", tmp_path)


@pytest.mark.parametrize("url", ["ftp://lab/cells.bin", "s3://lab/cells.bin", "cells.bin"])
def test_other_addresses_are_refused(tmp_path: Path, publisher: Publisher, url: str):
    with pytest.raises(SettingsError, match="https, http, file"):
        fetch(tmp_path, publisher, url=url)


@pytest.mark.parametrize("name", ["../cells.bin", "/etc/cells", ".hidden", ""])
def test_a_list_cannot_name_files_elsewhere(tmp_path: Path, publisher: Publisher, name: str):
    with pytest.raises(FormatError, match="no list of data sets"):
        fetch(tmp_path, publisher, name=name)


def zipped(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def tarred(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return buffer.getvalue()


ARCHIVES = {"cells.zip": zipped}
if hasattr(tarfile, "data_filter"):  # Python before 3.11.4 has none, and unpacks no tar here
    ARCHIVES["cells.tar.gz"] = tarred


def fetch_archive(folder: Path, publisher: Publisher, name: str, content: bytes) -> Path:
    publisher.files[f"/{name}"] = content
    registry = registry_of(folder, publisher, name=name, url=f"{publisher.url}/{name}", sha256=None, unpack=True)
    return get_data("cells", folder / "out", registry=registry).unpacked[0]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_unpacked_once(tmp_path: Path, publisher: Publisher, name: str):
    content = ARCHIVES[name](["matrix.mtx"])
    folder = fetch_archive(tmp_path, publisher, name, content)
    assert folder == tmp_path / "out" / "cells" / "cells"
    assert (folder / "matrix.mtx").read_text() == "matrix.mtx"
    (folder / "matrix.mtx").write_text("mine")
    fetch_archive(tmp_path, publisher, name, content)
    assert (folder / "matrix.mtx").read_text() == "mine"


@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_in_an_archive_is_written_elsewhere(tmp_path: Path, publisher: Publisher, name: str):
    content = ARCHIVES[name](["../outside", str(tmp_path / "absolute" / "outside")])
    is_refused = pytest.raises(FormatError, match="cannot be unpacked")  # of a zip, such names are left out
    with nullcontext() if name.endswith(".zip") else is_refused:
        fetch_archive(tmp_path, publisher, name, content)
    assert not list(tmp_path.rglob("outside"))


def test_a_python_without_filters_unpacks_no_tar(tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(SettingsError, match=r"use Python 3\.11\.4 or newer"):
        fetch_archive(tmp_path, publisher, "cells.tar.gz", tarred(["matrix.mtx"]))
    assert not (tmp_path / "out" / "cells" / "cells").exists()


def test_an_archive_that_is_none_is_named(tmp_path: Path, publisher: Publisher):
    with pytest.raises(FormatError, match=r"cells\.zip: the archive cannot be unpacked"):
        fetch_archive(tmp_path, publisher, "cells.zip", b"no archive")
    assert not (tmp_path / "out" / "cells" / "cells").exists()


def test_every_data_set_listed_says_whose_it_is_and_has_a_secure_address():
    for one in data_sets().values():
        assert one.title
        assert one.licence
        assert one.citation
        assert one.page.startswith("https://")
        for file in one.files:
            assert file.url.startswith("https://")
            assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
            assert re.fullmatch("[0-9a-f]{32}", file.md5 or "0" * 32)


def test_the_command_takes_mirror_and_list_from_the_environment(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    publisher.files = {"/lab/cells/cells.bin": CONTENT}
    monkeypatch.setenv("SCNYM_MIRROR", f"{publisher.url}/lab")
    monkeypatch.setenv("SCNYM_REGISTRY", str(registry_of(tmp_path, publisher, url="https://publisher.invalid/x")))
    with pytest.raises(SystemExit) as ended:
        app(["data", "get", "cells", "--out_path", str(tmp_path / "out"), "--json"])
    assert ended.value.code == 0
    said = json.loads(capfd.readouterr().out)
    assert said["files"] == {"cells.bin": hashlib.sha256(CONTENT).hexdigest()}


def test_the_list_is_printed_for_machines_too(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        app(["data", "list", "--json"])
    assert ended.value.code == 0
    assert set(json.loads(capfd.readouterr().out)) == set(data_sets())
