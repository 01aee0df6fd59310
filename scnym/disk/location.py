"""Places in object storage (``s3://BUCKET/KEY``), looked at and opened as folders and files on disk are.

Endpoint, region and credentials are those of the AWS environment variables and configuration files, as every AWS tool
finds them; none of them is ever part of a place, and so of anything that is written down.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scnym.base.errors import MissingInputError, OutputExistsError, SettingsError, UserError

SCHEME = "s3"
URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+(.*)$", re.DOTALL)
"""A URL; `pathlib` makes one slash of two, so that one is enough. Schemes have two letters or more, unlike drives."""
CODE, STATUS = re.compile(r"<Code>(\w+)</Code>"), re.compile(r"status code: (\d+)")
"""What a server and the way to it say of a fault."""
INSTALL = "pip install 'scnym[s3]'"
PIECE_BYTES = 2**23
"""Bytes of an object that are held while it is read from one end to the other."""
CLIENT = {"connect_timeout": "2s", "timeout": "60s"}
RETRIES = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.3), "max_backoff": timedelta(seconds=3), "base": 2},
}
"""A server that is not there is known to be so within seconds; one that stumbles is asked again."""
CREDENTIALS_FOR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ObjectPath(os.PathLike[str]):
    """An object, or a folder of objects: those whose keys begin with its own and a slash."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}://{self.bucket}/{self.key}"

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot on."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "ObjectPath":
        """The folder it is in."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    def resolve(self) -> "ObjectPath":
        """Return itself: there are no links."""
        return self

    def is_file(self) -> bool:
        """Whether there is an object with this key."""
        try:
            _call(self, lambda api, objects: api.head(objects, self.key))
        except _MissingObjectError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        listed: Any = _call(self, lambda api, objects: next(iter(api.list(objects, f"{self.key}/", chunk_size=1)), ()))
        return len(listed) > 0

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.is_file() or self.is_dir()

    def read_bytes(self) -> bytes:
        """Read it whole.

        Raises
        ------
        MissingInputError
            If there is no such object.
        UserError
            If there is no such bucket, or the server refuses or cannot be reached.
        """
        return bytes(_call(self, lambda api, objects: api.get(objects, self.key).bytes()))

    def pieces(self) -> Iterator[bytes]:
        """Read it piece by piece; errors as of `read_bytes`."""
        stream = _call(self, lambda api, objects: api.get(objects, self.key).stream(min_chunk_size=PIECE_BYTES))
        with _explained(self):
            yield from map(bytes, stream)

    def write(self, content: bytes | Path) -> str:
        """Write an object, from memory or from a file; it is there whole or not at all.

        Returns
        -------
        str
            The tag that the server gives it, which another content would not have.
        """
        done = _call(
            self,
            lambda api, objects: api.put(objects, self.key, content, chunk_size=PIECE_BYTES, max_concurrency=2),
        )
        return str(done["e_tag"])

    def delete(self, names: list[str]) -> None:
        """Delete objects below it."""
        _call(self, lambda api, objects: api.delete(objects, [f"{self.key}/{name}" for name in names]))

    def listed(self) -> dict[str, tuple[int, str]]:
        """Return size in bytes and tag of every object below it, by the name that it has there."""
        stream = _call(self, lambda api, objects: api.list(objects, f"{self.key}/"))
        with _explained(self):
            found = [one for batch in stream for one in batch]
        return {one["path"][len(self.key) + 1 :]: (int(one["size"]), str(one["e_tag"])) for one in found}


Location = Path | ObjectPath
"""Where a store is: on disk or in object storage."""


class _MissingObjectError(MissingInputError):
    """An object that is not there, in a bucket that is."""


def location(given: str | os.PathLike[str]) -> Location:
    """Read a path or a URL.

    Raises
    ------
    SettingsError
        If it is a URL of a kind that is not known, or incomplete.
    """
    text = os.fspath(given)
    found = URL.match(text)
    if found is None:
        return Path(text)
    scheme = found[1].lower()
    if scheme == "file":
        return Path("/" + found[2])
    if scheme != SCHEME:
        raise SettingsError(
            f"stores are not read through {scheme}://",
            where=f"{scheme}://{found[2]}",
            way_out="give an s3:// URL, or download it first",
        )
    parts = urlsplit(f"{SCHEME}://{found[2]}")
    if "@" in parts.netloc:  # the text holds a secret, which no message repeats
        raise SettingsError(
            "an s3:// URL holds no credentials", where=f"{SCHEME}://...", way_out="set AWS_ACCESS_KEY_ID and its like"
        )
    bucket, _, key = found[2].partition("/")
    names = [name for name in key.split("/") if name]
    if not bucket or not names or {".", ".."} & set(names):
        raise SettingsError("the URL names no store", where=text, way_out="write s3://BUCKET/NAME.zarr")
    return ObjectPath(bucket, "/".join(names))


def require_local(given: str | os.PathLike[str], way_out: str = "download it first, or name a store") -> Path:
    """Read the path of something that is only read or written on disk.

    Parameters
    ----------
    given
        A path or a URL.
    way_out
        What an error advises.

    Raises
    ------
    SettingsError
        If it is in object storage.
    """
    place = location(given)
    if isinstance(place, Path):
        return place
    raise SettingsError(
        "no finished store, and other files are not read from or written to object storage",
        where=place,
        way_out=way_out,
    )


def require_folder(out_path: str | os.PathLike[str]) -> Path:
    """Read the path of a folder for output, which is on disk.

    Raises
    ------
    SettingsError
        If it is in object storage.
    OutputExistsError
        If a file stands there.
    """
    folder = require_local(out_path, "name a folder on disk with --out_path, and upload it afterwards")
    if folder.is_file():
        raise OutputExistsError(
            "a file stands there, where a folder is to be", where=folder, way_out="name another --out_path"
        )
    return folder


def zarr_store(place: Location) -> Any:
    """Return what Zarr opens: the path itself, or a read-only store of its own for object storage."""
    if isinstance(place, Path):
        return place
    from zarr.storage import ObjectStore

    class Objects(ObjectStore):
        """Zarr's store, whose faults say what they are."""

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            """Read an object, or a part of it."""
            with _explained(place):
                return await super().get(key, prototype, byte_range)

    return Objects(_objects(place.bucket, place.key), read_only=True)


def _call(place: ObjectPath, what: Callable[[Any, Any], Any]) -> Any:
    objects = _objects(place.bucket)
    import obstore

    with _explained(place):
        return what(obstore, objects)


@contextmanager
def _explained(place: ObjectPath) -> Iterator[None]:
    """Explain a fault of the server, or of the way to it, and what the user can do."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError) as fault:
        if isinstance(fault, UserError):
            raise
        raise _explanation(str(fault), place) from fault


def _explanation(text: str, place: ObjectPath) -> UserError:
    code, status = (found[1] if (found := pattern.search(text)) else "" for pattern in (CODE, STATUS))
    if code == "NoSuchBucket":
        return UserError(
            "there is no such bucket", where=f"{SCHEME}://{place.bucket}", way_out="check its name, or create it"
        )
    if status == "404":
        return _MissingObjectError("there is no such object", where=place, way_out="check the URL")
    if status in {"401", "403"}:
        return UserError(
            f"access is denied{f' ({code})' if code else ''}",
            where=place,
            way_out="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and the bucket's policy",
        )
    return UserError(
        f"the object storage does not answer as it should ({code or _reason(text)})",
        where=place,
        way_out="check the network, AWS_ENDPOINT_URL and AWS_REGION, and give the same command again",
    )


def _reason(text: str) -> str:
    """Shorten a message: what was done where is said already."""
    return text.partition("\n")[0].rpartition(" - ")[2][:200]


@lru_cache(maxsize=32)
def _objects(bucket: str, prefix: str | None = None) -> Any:
    try:
        import boto3
        from obstore.store import S3Store
    except ImportError as fault:
        raise UserError(
            "stores in object storage need two more packages", where=f"{SCHEME}://{bucket}", way_out=INSTALL
        ) from fault
    session = boto3.Session()
    found: Any = session.get_credentials()
    if found is None:
        raise UserError(
            "there are no credentials",
            where=f"{SCHEME}://{bucket}",
            way_out="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )

    def credentials() -> Any:
        """Return what is valid now: temporary ones are renewed."""
        now = found.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_FOR,
        }

    region = os.environ.get("AWS_REGION") or session.region_name or "us-east-1"  # boto3 does not know the first
    client: Any = session.client("s3", region_name=region)
    endpoint = client.meta.endpoint_url
    named: dict[str, Any] = {
        "client_options": {**CLIENT, "allow_http": endpoint.startswith("http://")},
        "retry_config": RETRIES,
    }
    if not _is_amazon(endpoint):
        named |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    return S3Store(
        bucket,
        prefix=prefix,
        region=client.meta.region_name,
        credential_provider=credentials,
        **named,
    )


def _is_amazon(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
