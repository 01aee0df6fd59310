"""Stores in object storage: sent, read, checked and trained on, with a server of S3 on loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from helpers import clustered_adata, write_h5ad

import scnym.base.schema
from scnym import (
    NetworkSettings,
    RunSettings,
    SplitSettings,
    TrainSettings,
    convert,
    evaluate,
    export,
    find_markers,
    inspect,
    open_store,
    predict,
    predict_samples,
    train,
    verify,
)
from scnym.base.errors import FormatError, OutputExistsError, ScnymError, SettingsError, UserError
from scnym.disk import convert as upload
from scnym.disk import location as bucket
from scnym.disk import rows as ranges
from scnym.disk.location import ObjectPath, location

BUCKET = "cells"
SECRET = "nobody-writes-this-down"  # noqa: S105 - no secret: the server takes any
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of S3, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urlopen(f"{url}/moto-api/").close()  # noqa: S310 - the server that was started above
                break
            except URLError:
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", autouse=True)
def _account(server: str) -> Iterator[None]:
    """An account at the server, with a bucket, and stores of several shards of several chunks."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {**AWS, "AWS_ENDPOINT_URL": server}.items():
            patch.setenv(name, value)
        patch.setattr(scnym.base.schema, "MIN_CHUNK_ELEMENTS", 1024)
        patch.setattr(scnym.base.schema, "CHUNK_ROWS", 16)
        patch.setattr(scnym.base.schema, "MAX_SHARD_BYTES", 8192)
        client: Any = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current folder, and nothing known of servers."""
    monkeypatch.chdir(tmp_path)
    bucket._objects.cache_clear()
    yield
    bucket._objects.cache_clear()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw counts."""
    adata = clustered_adata(1200, 60)
    adata.obs["cell_ontology_class"] = adata.obs["cell_type"]
    return write_h5ad(tmp_path_factory.mktemp("raw") / "raw.h5ad", adata)


@pytest.fixture(scope="module")
def stores(source: Path, _account: None) -> tuple[Path, ObjectPath]:
    """The same store on disk and in object storage; tests that change one make their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(source.parent)
        convert([source], f"s3://{BUCKET}/made/cells.zarr")
        assert not list(Path().glob(".*"))
        return convert([source], source.parent / "local.zarr"), ObjectPath(BUCKET, "made/cells.zarr")


def contents(store: Path) -> dict[str, bytes]:
    return {one.relative_to(store).as_posix(): one.read_bytes() for one in store.rglob("*") if one.is_file()}


def test_a_store_sent_is_byte_for_byte_the_one_on_disk_and_nothing_else_stays(stores: tuple[Path, ObjectPath]):
    local, far = stores
    sent = {name: (far / name).read_bytes() for name in far.listed()}
    assert sent == contents(local)
    assert open_store(str(far)).content_hash == open_store(local).content_hash
    assert not any(SECRET.encode() in content for content in sent.values())


@pytest.mark.parametrize("few", [True, False], ids=["all at once", "one chunk a request"])
def test_rows_are_those_of_the_store_on_disk(
    few: bool, stores: tuple[Path, ObjectPath], monkeypatch: pytest.MonkeyPatch
):
    if not few:
        monkeypatch.setattr(ranges, "REQUEST_BYTES", 1)
    near, far = (open_store(place).datasets[0] for place in stores)
    random = np.random.default_rng(0)
    for rows in (np.arange(1200), np.arange(1, 1200, 7), np.sort(random.choice(1200, 300, replace=False))):
        wanted, found = near.read_rows(rows), far.read_rows(rows)
        for name in ("indptr_C1", "indices_N", "values_N"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert near.obs.equals(far.obs)


def test_chunks_side_by_side_come_in_one_request_and_an_index_is_read_once(
    stores: tuple[Path, ObjectPath], monkeypatch: pytest.MonkeyPatch
):
    far: Any = open_store(stores[1]).datasets[0]
    n_shards = sum(-(-int(far.indptr_C1[-1]) // far._array(name).shards[0]) for name in ("data", "indices"))
    assert n_shards > 5
    asked: list[Any] = []
    read = ranges.RangeReader._get
    monkeypatch.setattr(
        ranges.RangeReader, "_get", lambda self, shard, wanted: (asked.append(wanted), read(self, shard, wanted))[1]
    )
    far.read_rows(np.arange(1200))
    assert len(asked) == 2 * n_shards  # the index and all chunks of each
    asked.clear()
    far.read_rows(np.arange(1200))
    assert len(asked) == n_shards


def test_training_and_prediction_give_the_bytes_that_they_give_from_disk(stores: tuple[Path, ObjectPath]):
    settings = RunSettings(
        split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=2), network=NetworkSettings(n_hidden=8)
    )
    models, labels = [], []
    for name, place in zip(("near", "far"), stores, strict=True):
        run = train(Path(str(place)), Path(name), settings)
        models.append((run.folder / "all_data" / "model.safetensors").read_bytes())
        predict(Path(str(place)), run.folder / "all_data" / "model.safetensors", Path(name))
        labels.append(next(Path(name).rglob("predictions/predictions.csv")).read_bytes())
        assert not any(SECRET.encode() in content for content in contents(Path(name)).values())
    assert models[0] == models[1]
    assert labels[0] == labels[1]


def test_inspect_and_export_read_it(stores: tuple[Path, ObjectPath]):
    near, far = (inspect(str(place)) for place in stores)
    assert (far.kind, far.size_bytes, far.n_cells) == (near.kind, near.size_bytes, 1200)
    assert far.sources[0].columns == near.sources[0].columns
    export(stores[0], "near.h5ad")
    export(stores[1], "far.h5ad")
    assert Path("near.h5ad").read_bytes() == Path("far.h5ad").read_bytes()


def test_verify_finds_a_flipped_byte_a_lost_object_and_the_cells_they_cost(source: Path):
    local, far = convert([source], "a.zarr"), ObjectPath(BUCKET, "harmed/a.zarr")
    convert([source], far)
    assert not verify(str(far)).faults
    flipped, lost = "dataset_0/X/data/c/1", "dataset_0/obs/cell_type/codes/c/0"
    content = bytearray((far / flipped).read_bytes())
    content[3] ^= 1
    (far / flipped).write(bytes(content))
    (local / flipped).write_bytes(content)
    assert verify(str(far)).faults == verify(local).faults
    assert verify(str(far)).lost == verify(local).lost
    with pytest.raises(FormatError, match="cannot be read"):
        open_store(far).datasets[0].read_rows(np.arange(1200))
    far.delete([lost])
    assert {fault.file for fault in verify(str(far)).faults} == {flipped, lost}
    with pytest.raises(FormatError, match=r"1 of \d+ objects are missing: .*codes"):
        open_store(far)


def test_a_conversion_that_was_cut_off_is_no_store_and_the_same_command_sends_what_is_missing(
    source: Path, stores: tuple[Path, ObjectPath], monkeypatch: pytest.MonkeyPatch
):
    whole, target = stores[0], stores[1].parent / "again.zarr"
    write, written = ObjectPath.write, []

    def failing_write(self: ObjectPath, content: bytes | Path) -> str:
        if len(written) == 20:
            raise UserError("the network is gone")
        written.append(str(self).removeprefix(f"{target}/"))
        return write(self, content)

    monkeypatch.setattr(ObjectPath, "write", failing_write)
    monkeypatch.setattr(upload, "FILES_AT_ONCE", 1)
    with pytest.raises(UserError, match="network is gone"):
        convert([source], target)
    assert "zarr.json" not in target.listed()
    with pytest.raises(FormatError, match="not a Zarr store"):
        open_store(target)
    first, written[:] = set(written), []
    monkeypatch.setattr(ObjectPath, "write", lambda self, content: (written.append(str(self)), write(self, content))[1])
    convert([source], target)
    names = [name.removeprefix(f"{target}/") for name in written]
    assert names[-1] == "zarr.json"
    assert not (first - {upload.MARKER}) & set(names)
    assert {name: (target / name).read_bytes() for name in target.listed()} == contents(whole)


def test_what_stands_there_is_replaced_only_when_asked_and_only_if_it_is_a_store(source: Path, tmp_path: Path):
    far = ObjectPath(BUCKET, "replaced/a.zarr")
    convert([source], far)
    with pytest.raises(OutputExistsError, match=r"exists already; .*--overwrite"):
        convert([source], far)
    other = write_h5ad(tmp_path / "other.h5ad", clustered_adata(50, 60))
    convert([other], far, scnym.ConvertSettings(overwrite=True))
    assert open_store(far).n_cells == 50
    assert far.listed().keys() == contents(convert([other], tmp_path / "other.zarr")).keys()
    notes = far.parent / "notes.zarr"
    (notes / "mine.txt").write(b"mine")
    with pytest.raises(OutputExistsError, match="something else"):
        convert([source], notes, scnym.ConvertSettings(overwrite=True))
    assert list(notes.listed()) == ["mine.txt"]
    images = far.parent / "images.zarr"
    (images / "zarr.json").write(b'{"zarr_format": 3, "node_type": "group", "attributes": {"what": "images"}}')
    with pytest.raises(OutputExistsError, match="something else"):
        convert([source], images, scnym.ConvertSettings(overwrite=True))
    assert list(images.listed()) == ["zarr.json"]


def test_a_missing_bucket_store_or_server_and_missing_credentials_are_told_at_once(
    source: Path, stores: tuple[Path, ObjectPath], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UserError, match="s3://nowhere: there is no such bucket"):
        convert([source], "s3://nowhere/cells.zarr")
    with pytest.raises(UserError, match="there is no such bucket"):
        open_store("s3://nowhere/cells.zarr")
    with pytest.raises(UserError, match=f"s3://{BUCKET}/none.zarr: there is no such store"):
        open_store(f"s3://{BUCKET}/none.zarr")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setitem(bucket.RETRIES, "max_retries", 1)
        bucket._objects.cache_clear()
        with pytest.raises(UserError, match=r"does not answer .*AWS_ENDPOINT_URL"):
            convert([source], stores[1])
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bucket._objects.cache_clear()
    with pytest.raises(UserError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_store(stores[1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            "GET http://x in 404ms - status code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code></Error>",
            "denied (InvalidAccessKey",
        ),
        (
            "GET http://x in 1ms - status code: 301 Moved: <Error><Code>PermanentRedirect</Code></Error>",
            "(PermanentRedirect",
        ),
        (
            "GET http://x in 9s - HTTP error: error sending request\n\nDebug source: ...",
            "(HTTP error: error sending request)",
        ),
    ],
)
def test_what_a_server_answers_is_told_in_one_line_with_its_code(answer: str, said: str):
    told = str(bucket._explanation(answer, ObjectPath(BUCKET, "a.zarr")))
    assert said in told
    assert told.startswith(f"s3://{BUCKET}/a.zarr: ")


def test_credentials_and_endpoint_may_stand_in_configuration_files(
    server: str, stores: tuple[Path, ObjectPath], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text(
        f"[profile lab]\nendpoint_url = {server}\naws_access_key_id = me\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    bucket._objects.cache_clear()
    assert open_store(stores[1]).n_cells == 1200


def test_without_the_extra_packages_the_way_to_install_them_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UserError, match=r"pip install 'scnym\[s3\]'"):
        open_store("s3://cells/a.zarr")


def test_raw_files_in_object_storage_are_refused_with_the_way_out(stores: tuple[Path, ObjectPath]):
    raw = stores[1].parent / "raw.h5ad"
    raw.write(b"x")
    for read in (inspect, lambda place: convert([place], "out.zarr"), lambda place: train(place, "run")):
        with pytest.raises(ScnymError, match="download it first"):
            read(str(raw))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.org/a.zarr", "not read through https://"),
        ("gs://b/a.zarr", "not read through gs://"),
        ("s3://", "names no store"),
        ("s3://b", "names no store"),
        ("s3://b/../a.zarr", "names no store"),
        ("s3://key:secret@b/a.zarr", "holds no credentials"),
    ],
)
def test_other_urls_are_refused_and_a_secret_in_one_is_not_repeated(text: str, said: str):
    with pytest.raises(SettingsError, match=said) as fault:
        location(text)
    assert "secret" not in str(fault.value)


def test_a_url_survives_being_a_path_and_a_path_stays_one():
    assert location("s3://b/x/cells.zarr") == location(Path("s3://b/x/cells.zarr")) == ObjectPath("b", "x/cells.zarr")
    assert str(location(Path("s3://b/x/cells.zarr"))) == "s3://b/x/cells.zarr"
    for text in ("cells.zarr", "/x/s3/cells.zarr", "C:/cells.zarr", "a:b.zarr"):
        assert location(text) == Path(text)
    assert location("s3://b/cells.zarr/") == ObjectPath("b", "cells.zarr")
    assert ObjectPath("b", "cells").parent / "cells.zarr" == ObjectPath("b", "cells.zarr")


def test_commands_take_urls_and_tell_faults_in_one_line(source: Path, stores: tuple[Path, ObjectPath]):
    from typer.testing import CliRunner

    from cli.main import app

    run = CliRunner()
    for words in (
        ["convert", str(source), f"s3://{BUCKET}/by_command/cells.zarr"],
        ["verify", f"s3://{BUCKET}/by_command/cells.zarr"],
        ["inspect", str(stores[1])],
        ["export", str(stores[1]), "out.h5ad"],
    ):
        done = run.invoke(app, words)
        assert done.exit_code == 0, done.output
        assert "s3:/cells" not in done.output
    failed = run.invoke(app, ["verify", "s3://nowhere/cells.zarr"])
    assert failed.exit_code == 2
    assert failed.stderr == "error: s3://nowhere: there is no such bucket; check its name, or create it\n"


def test_output_that_only_goes_to_disk_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    url = "s3://cells/run"
    for write in (
        lambda: train("cells.zarr", url),
        lambda: predict("cells.zarr", "model.safetensors", url),
        lambda: predict_samples("cells.zarr", "model.safetensors", url),
        lambda: find_markers("model.safetensors", url),
        lambda: evaluate("given.csv", "truth.csv", out_path=Path(url)),
    ):
        with pytest.raises(SettingsError, match=r"s3://cells/run: .*a folder on disk"):
            write()
    assert not list(tmp_path.iterdir())
