"""Files of unknown origin: nothing in them is executed, they take no memory that they do not hold, and nothing is
written outside of what the user named."""

import gzip
import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anndata
import google_crc32c
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from anndata.io import write_elem
from fuzz.readings import read_store
from fuzz.seeds import GENES, small_card, small_network, write_model, write_safetensors
from helpers import clustered_adata, telling_adata, write_csv, write_h5ad, write_text
from numcodecs import Blosc, Zstd
from safetensors.torch import save_file
from scipy import sparse
from typer.testing import CliRunner

import scnym
from cli.main import app
from scnym.base.errors import DataError, FormatError, OutputExistsError, ScnymError, UserError
from scnym.base.schema import HASHES_FILE
from scnym.base.settings import ConvertSettings
from scnym.base.text import displayed
from scnym.base.text_columns import as_numbers, guarded, unguarded
from scnym.disk.annotations import read_annotations
from scnym.disk.chunks import BLOSC_CLAIM, index_bytes, read_index
from scnym.disk.formats.detect import open_source
from scnym.model.snapshot import CLASSES_FILE, Snapshot
from scnym.runs.comparison import replace_own
from scnym.runs.output_tree import write_table

MEMORY_BYTES = 10**9
HUGE = 10**15
ANNDATA = {"encoding-type": "anndata", "encoding-version": "0.1.0"}
NASTY = (
    "../../x",
    "a/b",
    "CON",
    "\x1b[2J\x1b[31mred",
    "[red]markup[/red]",
    "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>",
    "@SUM(1)",
)
"""Names of classes, cells and genes that do harm where they are taken for something else."""


class Trap:
    """Runs a shell command in whoever unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a trap makes when it goes off."""
    return tmp_path / "went_off"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return scnym.convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")


Refused = Callable[..., str]


@pytest.fixture(scope="module")
def refusal() -> Iterator[Refused]:
    """Calls in a process that gets a gigabyte more than it has at its start; gives what is refused there."""
    with get_context("spawn").Pool(1, initializer=_limit_memory) as pool:
        yield lambda work, *arguments: pool.apply(_refusal, (work, arguments))


def _limit_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, mapped + MEMORY_BYTES))


def _refusal(work: Callable[..., object], arguments: tuple[object, ...]) -> str:
    try:
        work(*arguments)
    except UserError as fault:
        if isinstance(fault.__cause__, MemoryError):
            raise
        return fault.message
    return ""


def test_the_trap_goes_off_where_it_is_unpickled(mark: Path):
    pickle.loads(pickle.dumps(Trap(mark)))  # noqa: S301 - this is what must not happen elsewhere
    assert mark.exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.safetensors"])
@pytest.mark.parametrize("by", ["pickle", "torch"])
def test_a_pickle_given_as_a_model_is_not_executed(name: str, by: str, mark: Path, tmp_path: Path):
    path = tmp_path / name
    if by == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    else:
        torch.save({"first.weight": Trap(mark)}, path)
    with pytest.raises(FormatError, match=r"nothing in it was executed|not a model file"):
        Snapshot.load(path, write_text(tmp_path / "genes.txt", "a\nb\n"))
    assert not mark.exists()


def test_objects_in_an_array_are_not_unpickled(mark: Path, tmp_path: Path):
    path, genes = tmp_path / "cells.npy", write_text(tmp_path / "genes.txt", "a\n")
    np.save(path, np.array([[Trap(mark)]], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="nothing in it was executed"):
        scnym.convert([path], tmp_path / "cells.zarr", ConvertSettings(input_genes=str(genes)))
    assert not mark.exists()


def test_a_pickle_inside_an_h5ad_stays_bytes(mark: Path, tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        content = np.frombuffer(pickle.dumps(Trap(mark)), np.uint8)
        uns: Any = file["uns"]
        uns["pickled"] = content
        uns["tagged"] = np.void(pickle.dumps(Trap(mark)))
        file["obs"].attrs["pickled"] = content
    scnym.export(scnym.convert([path], tmp_path / "cells.zarr"), tmp_path / "back.h5ad")
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_objects_in_a_zarr_are_not_unpickled(mark: Path, tmp_path: Path):
    path = tmp_path / "cells.zarr"
    with anndata.settings.override(zarr_write_format=2):
        telling_adata().write_zarr(path)
    array = path / "obs/cell_type/categories"
    metadata = json.loads((array / ".zarray").read_text())
    metadata |= {"filters": [{"id": "pickle"}], "compressor": None, "chunks": [1], "shape": [1]}
    (array / ".zarray").write_text(json.dumps(metadata))
    (array / "0").write_bytes(pickle.dumps(np.array([Trap(mark)], dtype=object)))
    assert "cell_type" not in scnym.open_store(scnym.convert([path], tmp_path / "store.zarr")).annotations
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        "batch_size: !!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:os.system ['touch {mark}']",
        "batch_size: !!python/name:os.system",
    ],
)
def test_a_tag_in_a_config_is_not_executed(text: str, mark: Path, tmp_path: Path):
    config = write_text(tmp_path / "config.yaml", text.replace("{mark}", str(mark)))
    said = refused("find_cell_type_markers", "-c", config, "--model_path", "m", "--out_path", tmp_path / "out")
    assert "config.yaml: neither YAML nor JSON" in said
    assert not mark.exists()


def refused(*arguments: object) -> str:
    """Run a command that must end in a mistake of the user's; give what it says."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    return " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join(["a: &a0 [x, x]", *(f"b{k}: &a{k + 1} [*a{k}, *a{k}]" for k in range(60))]), "holds references"),
        ("a: &a {x: 1}\nb: {<<: *a}", "holds references"),
        ("seed: [1, 2]", "several values for 'seed'"),
        ("seed: 1\n" + "#" * 2_000_000, "larger than 1,000,000 bytes"),
    ],
)
def test_a_config_of_few_lines_cannot_become_many_values(text: str, words: str, tmp_path: Path):
    config = write_text(tmp_path / "config.yaml", text)
    assert words in refused("find_cell_type_markers", "-c", config, "--model_path", "m", "--out_path", tmp_path / "out")


@pytest.mark.parametrize("piece", [b"0" * 2**20, b"," * 2**20, b"x" * 2**20])
def test_a_gzipped_line_without_end_is_refused_in_bounded_memory(piece: bytes, refusal: Refused, tmp_path: Path):
    path = tmp_path / "cells.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"cell,a,b\nc1,1,2\n")
        for _ in range(300):
            file.write(piece)
    said = refusal(scnym.convert, [path], tmp_path / "cells.zarr")
    assert "a line of more than 67,108,864 bytes" in said
    assert not (tmp_path / "cells.zarr").exists()


def test_a_gzip_bomb_of_annotations_is_refused_before_it_is_unpacked(refusal: Refused, tmp_path: Path):
    path = tmp_path / "cells.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"cell_id,cell_type\n")
        for _ in range(400):
            file.write(b"x,y\n" * 2**18)
    assert "unpack to more than" in refusal(partial(read_annotations, say=print), path)


def test_compressed_weights_are_refused_before_they_are_unpacked(tmp_path: Path):
    plain, bomb = tmp_path / "plain.pkl", tmp_path / "bomb.pkl"
    torch.save({"first.weight": torch.zeros(1000, 1000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(FormatError, match="not a file of plain weights"):
        Snapshot.load(bomb, write_text(tmp_path / "genes.txt", "a\n"))


def test_weights_that_repeat_one_value_without_end_are_refused(tmp_path: Path):
    path = tmp_path / "weights.pkl"
    torch.save({"first.weight": torch.zeros(1).expand(10**6, 10**6)}, path)
    with pytest.raises(FormatError, match="not a file of plain weights"):
        Snapshot.load(path, write_text(tmp_path / "genes.txt", "a\n"))


def test_a_safetensors_header_of_ten_gigabytes_is_refused(refusal: Refused, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 10**10) + b"{}")
    assert "not a model file" in refusal(Snapshot.load, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"n_hidden": 65536, "n_layers": 100}},
        {"genes": 3},
        {"genes": ["x" * 20_000]},
        {"classes": [["B"], "T"]},
        {"classes": {"a": 1}},
        {"temperature": "1e999"},
        {"metrics": {"a": {"b": 1}}},
        {"best_epoch": 10**400},
        {"unknown": 1},
        {"format_version": 10**6},
        {"label_column": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_card_of_wrong_kinds_or_sizes_is_refused_in_bounded_memory(changes: dict, refusal: Refused, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    sys.set_int_max_str_digits(0)
    card = json.dumps({**json.loads(small_card().model_dump_json()), **changes})
    sys.set_int_max_str_digits(4300)
    path.write_bytes(write_safetensors(small_network().state_dict(), card))
    said = refusal(Snapshot.load, path)
    assert any(words in said for words in ("description is damaged", "weights do not fit", "newer than the"))


def test_a_safetensors_file_of_something_else_is_no_model(tmp_path: Path):
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="not a scnym model"):
        Snapshot.load(tmp_path / "model.safetensors")


def sign(store: Path, names: dict[str, str]) -> None:
    """Write a list of hashes that is whole in itself."""
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
    (store / HASHES_FILE).write_text(json.dumps({"files": names, "sha256": digest}))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "dataset_0/../../secret", "a\0b"])
def test_a_list_of_hashes_leads_nowhere_outside_the_store(name: str, store: Path):
    sign(store, {name: "0" * 64})
    with pytest.raises(FormatError, match="names files outside of the store"):
        scnym.verify(store)


@pytest.mark.parametrize("place", ["dataset_0/X/data/c/0", "dataset_0/obs", "extra"])
def test_a_link_out_of_a_store_is_refused(place: str, store: Path, tmp_path: Path):
    outside, path = tmp_path / "outside", store / place
    if path.exists():
        path.rename(outside)
    else:
        outside.write_text("secret")
    path.symlink_to(outside)
    for use in (scnym.open_store, scnym.verify):
        with pytest.raises(FormatError, match="a link leads out of the store"):
            use(store)


@pytest.mark.parametrize("place", [HASHES_FILE, "dataset_0/X/data/c/0", "dataset_0/more"])
def test_a_pipe_in_a_store_is_refused_and_not_waited_for(place: str, store: Path):
    (store / place).unlink(missing_ok=True)
    os.mkfifo(store / place)
    with pytest.raises(FormatError, match=rf"{place}: it is neither file nor folder"):
        scnym.verify(store)
    with pytest.raises(FormatError, match=rf"{place}: it is neither file nor folder"):
        scnym.open_store(store)


def _described(store: Path, element: str, change: dict[str, Any]) -> None:
    """Change what a store says of one of its elements."""
    description = json.loads((store / "zarr.json").read_text())
    description["consolidated_metadata"]["metadata"][element] |= change
    (store / "zarr.json").write_text(json.dumps(description))


def test_counts_of_a_type_that_no_store_has_are_refused(store: Path):
    _described(store, "dataset_0/X/data", {"data_type": "float16"})
    with pytest.raises(FormatError, match="X/data is stored as float16, as in no store"):
        scnym.open_store(store).datasets[0].read_rows(np.arange(3))


def test_files_that_are_none_of_zarr_are_passed_by_without_a_warning(store: Path):
    description = json.loads((store / "zarr.json").read_text())
    del description["consolidated_metadata"]
    (store / "zarr.json").write_text(json.dumps(description))
    assert scnym.open_store(store).annotations["cell_type"].nunique() == 3


def test_an_anndata_zarr_nested_without_end_is_refused_at_once(tmp_path: Path):
    group = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=2)
    for name in ("obs", "var", "uns"):
        group.create_group(name)
    place = tmp_path / "cells.zarr/uns"
    for _ in range(300):
        place = place / "d"
        place.mkdir()
        shutil.copy(tmp_path / "cells.zarr/uns/.zgroup", place)
    with pytest.raises(FormatError, match="uns nests groups more than 64 deep"):
        scnym.convert([tmp_path / "cells.zarr"], tmp_path / "new.zarr")


def test_a_store_that_is_itself_a_link_is_opened(store: Path, tmp_path: Path):
    (tmp_path / "link.zarr").symlink_to(store)
    assert scnym.open_store(tmp_path / "link.zarr").n_cells == 40


@pytest.mark.parametrize("name", ["../dataset_0", "/dataset_0", "dataset_0/../x", "dataset_0\n", "obs"])
def test_a_dataset_with_the_name_of_another_place_is_refused(name: str, store: Path):
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    sources: Any = root.attrs["sources"]
    root.attrs["sources"] = [{**sources[0], "dataset": name}]
    with pytest.raises(FormatError):
        scnym.open_store(store)


@pytest.mark.parametrize("index", ["../../../secret", "/etc/passwd", "__proto__"])
def test_a_table_whose_index_is_elsewhere_is_refused(index: str, store: Path):
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["consolidated_metadata"]["metadata"]["dataset_0/obs"]["attributes"]["_index"] = index
    (store / "zarr.json").write_text(json.dumps(metadata))
    opened = scnym.open_store(store)
    with pytest.raises(ScnymError):
        _ = opened.cell_ids


@pytest.mark.parametrize("array", ["X/data", "X/indptr", "obs/n_counts", "obs/_index"])
def test_an_enormous_shape_in_a_stores_metadata_is_refused_at_once(array: str, store: Path):
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["consolidated_metadata"]["metadata"][f"dataset_0/{array}"]["shape"] = [HUGE]
    (store / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(FormatError, match=r"is said to have [\d,]+ pieces, but there are \d+ files"):
        scnym.open_store(store)


@pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:Consolidated metadata")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_enormous_shape_in_an_anndata_is_refused_at_once(zarr_format: int, refusal: Refused, tmp_path: Path):
    path, described = tmp_path / "cells.zarr", ".zarray" if zarr_format == 2 else "zarr.json"
    with anndata.settings.override(zarr_write_format=zarr_format, auto_shard_zarr_v3=False):
        telling_adata().write_zarr(path)
    for name in ("data", "indices"):
        description = json.loads((path / "X" / name / described).read_text())
        (path / "X" / name / described).write_text(json.dumps({**description, "shape": [HUGE]}))
    (path / ("zarr.json" if zarr_format == 3 else ".zmetadata")).unlink()
    if zarr_format == 3:
        write_text(path / "zarr.json", json.dumps({"zarr_format": 3, "node_type": "group", "attributes": ANNDATA}))
    said = refusal(scnym.convert, [path], tmp_path / "a.zarr")
    assert "X/data is said to have" in said


def _with_huge(name: str, path: Path) -> Path:
    """Write an h5ad in which an array is said to have 10^15 rows."""
    write_h5ad(path)
    with h5py.File(path, "r+") as file:
        element: Any = file[name]
        attributes, dtype = dict(element.attrs), element.dtype
        del file[name]
        file.create_dataset(name, (HUGE,), dtype, chunks=(1024,)).attrs.update(attributes)
    return path


@pytest.mark.parametrize("name", ["obs/_index", "X/data", "X/indptr"])
def test_an_hdf5_array_of_1e15_rows_is_refused_in_bounded_memory(name: str, refusal: Refused, tmp_path: Path):
    said = refusal(scnym.convert, [_with_huge(name, tmp_path / "cells.h5ad")], tmp_path / "cells.zarr")
    assert f"{name} is said to hold" in said


def test_a_column_of_1e15_rows_is_left_out_in_bounded_memory(refusal: Refused, tmp_path: Path):
    path = _with_huge("obs/cell_type/codes", tmp_path / "cells.h5ad")
    assert refusal(scnym.convert, [path], tmp_path / "cells.zarr") == ""
    assert "cell_type" not in scnym.open_store(tmp_path / "cells.zarr").annotations


def test_an_array_header_of_1e15_rows_is_refused_in_bounded_memory(refusal: Refused, tmp_path: Path):
    path, genes = tmp_path / "cells.npy", write_text(tmp_path / "genes.txt", "a\nb\n")
    np.save(path, np.zeros((3, 2)))
    path.write_bytes(path.read_bytes().replace(b"(3, 2), }              ", b"(1000000000000000, 2), }"[:23]))
    content = path.read_bytes()
    assert b"100000000000" in content
    said = refusal(scnym.convert, [path], tmp_path / "a.zarr", ConvertSettings(input_genes=str(genes)))
    assert "not an array of numbers, or a damaged one" in said


@pytest.mark.filterwarnings("ignore:Writing zarr v2", "ignore:Consolidated metadata")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_that_claims_a_billion_texts_is_refused_in_bounded_memory(
    zarr_format: int, refusal: Refused, tmp_path: Path
):
    path, claim = tmp_path / "cells.zarr", (10**9).to_bytes(4, "little") + bytes(60)
    with anndata.settings.override(zarr_write_format=zarr_format, auto_shard_zarr_v3=False):
        telling_adata().write_zarr(path)
    name = "obs/_index/0" if zarr_format == 2 else "obs/_index/c/0"
    (path / name).write_bytes(Zstd().encode(claim) if zarr_format == 3 else Blosc().encode(claim))
    assert "is said to hold 1,000,000,000 texts" in refusal(scnym.convert, [path], tmp_path / "a.zarr")


def _with_index(shard: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change the index of a shard with one chunk, and make its checksum right again."""
    content = shard.read_bytes()
    index = np.array(read_index(content[-index_bytes(1) :]))
    change(index)
    body = index.tobytes()
    shard.write_bytes(content[: -index_bytes(1)] + body + google_crc32c.value(body).to_bytes(4, "little"))


@pytest.mark.parametrize("place", [(0, 0), (0, 1)], ids=["offset", "length"])
@pytest.mark.parametrize("claim", [2**40, 2**62, 2**64 - 2])
def test_a_chunk_that_lies_outside_its_shard_is_refused_and_ends_no_process(
    place: tuple[int, int], claim: int, store: Path, refusal: Refused
):
    def lie(index: np.ndarray) -> None:
        index[place] = claim

    _with_index(store / "dataset_0/X/data/c/0", lie)
    assert "dataset_0/X/data/c/0: the index is damaged" in refusal(read_store, store)


def _zstd_claiming(n_bytes: int) -> bytes:
    """Return a frame of one empty block that claims to hold so much."""
    return b"\x28\xb5\x2f\xfd\xe0" + n_bytes.to_bytes(8, "little") + b"\1\0\0"


WHOLE_FRAME = Zstd().encode(bytes(8))
ZSTD_BOMBS = {
    "size": _zstd_claiming(10**13),
    "size of a second frame": WHOLE_FRAME + _zstd_claiming(10**13),
    "size behind what is skipped": b"\x50\x2a\x4d\x18\2\0\0\0ab" + _zstd_claiming(10**13),
    "blocks of no size": b"\x28\xb5\x2f\xfd\0\x70" + bytes(3 * 2**16) + b"\1\0\0",
    "no frame": b"what is this",
    "half a frame": WHOLE_FRAME[:-1],
}


@pytest.mark.parametrize("frame", ZSTD_BOMBS.values(), ids=ZSTD_BOMBS)
def test_a_chunk_in_a_shard_that_claims_terabytes_is_refused_and_ends_no_process(
    frame: bytes, refusal: Refused, tmp_path: Path
):
    settings = ConvertSettings(profile="small")
    store = scnym.convert([write_h5ad(tmp_path / "cells.h5ad")], tmp_path / "cells.zarr", settings)
    frame += google_crc32c.value(frame).to_bytes(4, "little")
    shard = store / "dataset_0/X/data/c/0"
    shard.write_bytes(frame + shard.read_bytes()[-index_bytes(1) :])

    def point(index: np.ndarray) -> None:
        index[0] = 0, len(frame)

    _with_index(shard, point)
    assert "claims more than it has" in refusal(read_store, store)


def test_a_chunk_of_blosc_in_a_shard_that_claims_gigabytes_is_refused_and_ends_no_process(
    store: Path, refusal: Refused
):
    shard = store / "dataset_0/X/data/c/0"
    content = bytearray(shard.read_bytes())
    content[BLOSC_CLAIM] = (2**31 - 17).to_bytes(4, "little")
    shard.write_bytes(content)
    assert "claims more than it has" in refusal(read_store, store)


def test_row_pointers_whose_differences_overflow_are_refused(store: Path):
    group: Any = zarr.open_group(store, mode="r+", use_consolidated=False)
    pointers = group["dataset_0/X/indptr"]
    n_values = int(pointers[-1])
    pointers[1:3] = [2**62, -(2**62) - 2]
    with pytest.raises(FormatError, match=rf"indptr does not match \d+ rows and {n_values} values"):
        read_store(store)


DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no scale": lambda parts: parts["dataset_0"]["attributes"].pop("scale"),
    "no index": lambda parts: parts["dataset_0/obs"]["attributes"].pop("_index"),
    "no columns": lambda parts: parts["dataset_0/obs"]["attributes"].pop("column-order"),
    "columns of another kind": lambda parts: parts["dataset_0/obs"]["attributes"].update({"column-order": 7}),
    "columns in one text": lambda parts: parts["dataset_0/obs"]["attributes"].update({"column-order": "/etc/passwd"}),
    "a column elsewhere": lambda parts: parts["dataset_0/obs"]["attributes"]["column-order"].append("../var/_index"),
    "a column that is not there": lambda parts: parts["dataset_0/obs"]["attributes"]["column-order"].append("age"),
    "no genes of counts": lambda parts: parts.pop("dataset_0/X/indices"),
    "no data set": lambda parts: [parts.pop(name) for name in list(parts) if name.startswith("dataset_0")],
    "genes that are no table": lambda parts: parts["dataset_0/var"]["attributes"].update({"encoding-type": "dict"}),
    "fewer sizes than cells": lambda parts: parts["dataset_0/obs/n_counts"].update(shape=[1]),
    "fewer classes than cells": lambda parts: parts["dataset_0/obs/cell_type/codes"].update(shape=[3]),
    "fewer names than cells": lambda parts: parts["dataset_0/obs/_index"].update(shape=[1]),
    "fewer pointers than cells": lambda parts: parts["dataset_0/X/indptr"].update(shape=[2]),
}


@pytest.mark.parametrize("change", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_store_whose_description_does_not_fit_is_refused(change: Callable[[Any], object], store: Path):
    document = json.loads((store / "zarr.json").read_text())
    change(document["consolidated_metadata"]["metadata"])
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        read_store(store)


def test_an_h5ad_whose_columns_lead_out_of_the_table_is_refused(tmp_path: Path):
    for columns in ("/etc/passwd", ["cell_type", "/X/data"], ["../var/_index"]):
        path = write_h5ad(tmp_path / "cells.h5ad")
        with h5py.File(path, "r+") as file:
            file["obs"].attrs["column-order"] = columns
        with pytest.raises(FormatError, match="the columns of obs are not named"):
            scnym.convert([path], tmp_path / "cells.zarr")


def test_an_hdf5_file_of_something_else_whose_names_are_no_text_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "cells.h5", "w") as file:
        file.create_group(b"\xff\xfe")
        file.create_group("other")
    with pytest.raises(FormatError, match="none of h5ad, loom or 10x"):
        scnym.convert([tmp_path / "cells.h5"], tmp_path / "cells.zarr")


@pytest.mark.parametrize("array", ["obs/n_counts", "obs/cell_type/codes", "X/indptr"])
@pytest.mark.parametrize("frame", ZSTD_BOMBS.values(), ids=ZSTD_BOMBS)
def test_a_chunk_of_a_store_that_claims_terabytes_is_refused(frame: bytes, array: str, store: Path, refusal: Refused):
    (store / "dataset_0" / array / "c/0").write_bytes(frame)
    assert f"a chunk of dataset_0/{array} claims more than it has" in refusal(scnym.open_store, store)


@pytest.mark.parametrize("array", ["obs/n_counts", "X/indptr", "X/data"])
def test_chunks_that_are_cut_far_larger_than_the_store_are_refused(array: str, store: Path, refusal: Refused):
    document = json.loads((store / "zarr.json").read_text())
    described = document["consolidated_metadata"]["metadata"][f"dataset_0/{array}"]
    described["chunk_grid"]["configuration"]["chunk_shape"] = [10**12]
    if array == "X/data":
        described["codecs"][0]["configuration"]["chunk_shape"] = [10**12]
    (store / "zarr.json").write_text(json.dumps(document))
    assert f"chunks of dataset_0/{array} are said to hold" in refusal(scnym.open_store, store)


def test_a_damaged_store_that_is_converted_again_is_refused(store: Path, tmp_path: Path):
    (store / "dataset_0/obs/n_counts/c/0").write_bytes(b"what is this")
    with pytest.raises(FormatError, match="a chunk of dataset_0/obs/n_counts claims more than it has"):
        scnym.convert([store], tmp_path / "again.zarr")


UNKNOWN_CUT = "dataset_0/X/data is cut into shards in a way that is not known"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda cut: cut["index_codecs"].pop(), UNKNOWN_CUT),
        (lambda cut: cut.update(index_location="start"), UNKNOWN_CUT),
        (lambda cut: cut.update(codecs=[{"name": "sharding_indexed", "configuration": cut.copy()}]), UNKNOWN_CUT),
        (
            lambda cut: cut["codecs"].insert(1, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}),
            "dataset_0/X/data is packed more than once",
        ),
    ],
    ids=["no checksum", "index in front", "shards in shards", "packed twice"],
)
def test_shards_that_are_cut_in_another_way_are_refused(
    change: Callable[[Any], None], says: str, store: Path, refusal: Refused
):
    document = json.loads((store / "zarr.json").read_text())
    change(document["consolidated_metadata"]["metadata"]["dataset_0/X/data"]["codecs"][0]["configuration"])
    (store / "zarr.json").write_text(json.dumps(document))
    assert says in refusal(scnym.open_store, store)


def test_shards_where_a_store_has_none_are_refused(store: Path, refusal: Refused):
    document = json.loads((store / "zarr.json").read_text())
    arrays = document["consolidated_metadata"]["metadata"]
    arrays["dataset_0/X/indptr"] = arrays["dataset_0/X/data"]
    (store / "zarr.json").write_text(json.dumps(document))
    assert "X/indptr is cut into shards" in refusal(scnym.open_store, store)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_an_anndata_in_shards_is_read_and_refused_where_a_chunk_lies_outside(refusal: Refused, tmp_path: Path):
    path = tmp_path / "cells.zarr"
    with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        telling_adata().write_zarr(path, convert_strings_to_categoricals=False)
    group: Any = zarr.open_group(path, mode="r+", use_consolidated=False)["X"]
    values = group["data"][:]
    del group["data"]
    group.create_array("data", data=values, chunks=(len(values),), shards=(len(values),))
    zarr.consolidate_metadata(path)
    write_text(path / "X/data/c/.DS_Store", "left by a file manager")
    assert scnym.open_store(scnym.convert([path], tmp_path / "whole.zarr")).n_cells == len(telling_adata())

    def lie(index: np.ndarray) -> None:
        index[0, 1] = 2**62

    _with_index(path / "X/data/c/0", lie)
    assert "X/data/c/0: the index is damaged" in refusal(scnym.convert, [path], tmp_path / "a.zarr")


@pytest.mark.parametrize("place", ["uns", "X"])
@pytest.mark.parametrize("kind", ["external link", "external storage", "virtual"])
def test_what_an_h5ad_reads_of_other_files_is_left_out_or_refused_where_it_is_needed(
    kind: str, place: str, tmp_path: Path
):
    path, secret = write_h5ad(tmp_path / "cells.h5ad"), tmp_path / "secret"
    secret.write_bytes(bytes(range(256)) * 8)
    with h5py.File(path, "r+") as file:
        group: Any = file[place]
        name = "x" if place == "uns" else "data"
        if name in group:
            del group[name]
        if kind == "external link":
            group[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        elif kind == "external storage":
            group.create_dataset(name, (8, 8), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
            group.create_virtual_dataset(name, layout)
    if place == "uns":
        store = scnym.convert([path], tmp_path / "cells.zarr")
        assert not any(secret.read_bytes() in one.read_bytes() for one in store.rglob("*") if one.is_file())
        assert not (store / "dataset_0/uns/x").exists()
    else:
        with pytest.raises(FormatError, match="another file"):
            open_source(path, ConvertSettings())


def put_into_itself(file: h5py.File) -> None:
    del file["obs/cell_type"]
    file["obs/cell_type"] = file["obs"]


def put_into_each_other(file: h5py.File) -> None:
    file["uns/x"], file["layers/y"] = h5py.SoftLink("/layers"), file["uns"]


def nest_deeply(file: h5py.File) -> None:
    file.create_group("uns" + "/a" * 300)


def link_twice_at_every_level(file: h5py.File) -> None:
    group: Any = file["uns"]
    for _ in range(40):
        group["b"] = group.create_group("a")
        group = group["a"]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (put_into_itself, "obs/cell_type is a link to a group that it lies in"),
        (put_into_each_other, "layers/y/x is a link to a group that it lies in"),
        (nest_deeply, "uns nests groups more than 64 deep"),
        (link_twice_at_every_level, "objects are linked so that they seem 2,199,023,"),
    ],
)
def test_groups_without_end_are_refused_before_anything_follows_them(
    link: Callable[[h5py.File], None], said: str, tmp_path: Path
):
    path = write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        link(file)
    with pytest.raises(FormatError, match=said):
        open_source(path, ConvertSettings())


def test_a_group_that_stands_in_two_places_is_read(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        file["uns/genes"], file["layers/counts"] = h5py.SoftLink("/var"), file["X"]
    assert open_source(path, ConvertSettings(layer="counts")).var.index[0] == "gene 0"


def test_a_part_that_is_not_sound_is_refused_by_any_of_its_names(refusal: Refused, tmp_path: Path):
    path = _with_huge("X/data", tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        file["layers/counts"] = h5py.SoftLink("/X")
    said = refusal(scnym.convert, [path], tmp_path / "cells.zarr", ConvertSettings(layer="counts"))
    assert "X/data is said to hold" in said


@pytest.mark.parametrize("file", [HASHES_FILE, "zarr.json"])
def test_json_nested_too_deeply_is_refused(file: str, store: Path):
    (store / file).write_text("[" * 100_000)
    with pytest.raises(FormatError, match=r"list of hashes cannot be read|not a Zarr store"):
        (scnym.verify if file == HASHES_FILE else scnym.open_store)(store)


def nasty_adata() -> anndata.AnnData:
    """Cells whose classes, ids and genes have such names."""
    adata = clustered_adata(240, n_genes=40, n_classes=len(NASTY))
    adata.obs["cell_type"] = [NASTY[int(label.split()[1])] for label in adata.obs["cell_type"]]
    adata.obs_names = [*NASTY, *adata.obs_names[len(NASTY) :]]
    adata.var_names = [*NASTY, *adata.var_names[len(NASTY) :]]
    return adata


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run on such cells, and predictions of them; with all that was printed."""
    folder = tmp_path_factory.mktemp("nasty") / "inside" / "deeper"
    folder.mkdir(parents=True)
    cells, out = write_h5ad(folder / "cells.h5ad", nasty_adata()), folder / "out"
    model = out / "tissue_independent"
    quick = ("--n_folds", 2, "--n_epochs", 2, "--n_hidden", 8, "--lower_group", "cell_type")
    given = ("--input_counts", cells, "--out_path", out)
    lines = [
        ("train_tissue_independent", *given, *quick),
        ("predict_cell_types", *given, "--model_path", model, "--write_h5ad", "--probabilities", "csv"),
        ("evaluate", out / "predictions/predictions.csv", cells, "--lower_group", "cell_type"),
        ("find_cell_type_markers", "--model_path", model, "--out_path", out, "--n_steps", 5, "--n_restarts", 2),
        ("inspect", model / "all_data/model.safetensors"),
        ("inspect", cells),
    ]  # fmt: skip
    printed = ""
    for line in lines:
        result = CliRunner().invoke(app, [str(argument) for argument in line])
        assert result.exit_code == 0, result.output
        printed += result.stdout + result.stderr
    return folder, printed


@pytest.mark.parametrize("number", ["1e2147483648", "1e4294967296", "1E+3000000000"])
def test_an_exponent_that_overflows_neither_ends_the_process_nor_passes(number: str, store: Path, tmp_path: Path):
    with get_context("spawn").Pool(1) as pool:  # pandas ends the process that parses it
        counts = write_text(tmp_path / "counts.csv", f"cell,a,b\nx,1,1.5\ny,2,{number}\n")
        said = pool.apply_async(_refusal, (scnym.convert, ([counts], tmp_path / "new.zarr"))).get(60)
        assert re.fullmatch(rf".*counts.csv, line 3: '{re.escape(number)}' in column b is infinite; .*", said)
        labels = {"cell_id": telling_adata().obs_names, "cell_type": "type 0", "confidence": number, "total": number}
        write_table(tmp_path / "labels.csv", pd.DataFrame(labels))
        said = pool.apply_async(_refusal, (scnym.evaluate, (tmp_path / "labels.csv", store))).get(60)
        assert f"confidence '{number}' of cell cell 0 is no number from 0 to 1" in said
        settings = ConvertSettings(training_metadata=str(tmp_path / "labels.csv"), library_size_column="total")
        cells, new = tmp_path / "cells.h5ad", tmp_path / "new.zarr"
        said = pool.apply_async(_refusal, (scnym.convert, ([cells], new, settings))).get(60)
        assert f"library size {number} of cell cell 0 is not a finite number" in said


def test_numbers_of_a_run_whose_exponents_overflow_are_none():
    column = pd.Series(["1", "1e2147483648", "x", "", "1e-300"])
    assert as_numbers(column).tolist()[0::4] == [1.0, 1e-300]
    assert as_numbers(column).isna().tolist() == [False, True, True, True, False]
    for wrong in ("x", "1e2147483648"):
        with pytest.raises(ValueError, match=wrong):
            as_numbers(pd.Series(["1", wrong]), errors="raise")
    assert as_numbers(pd.Series(["1e00005", "1E+0000000002"])).tolist() == [1e5, 100.0]


def test_an_error_does_not_repeat_a_value_of_a_million_characters(tmp_path: Path):
    ids = write_text(tmp_path / "ids.csv", f"cell,a\nx,1\n{'y' * 10**6},1\n{'y' * 10**6},2\n")
    number = write_text(tmp_path / "number.csv", f"cell,CD3E\nx,1\ny,{'9' * 10**5}z\n")
    for path, place in ((ids, "line 4: duplicate cell names 'yyy"), (number, "line 3: '999")):
        with pytest.raises(DataError, match=place) as refused:
            scnym.convert([path], tmp_path / "new.zarr")
        assert len(refused.value.message) < 1000


def _awkward(obs: h5py.Group) -> None:
    column = obs.create_group("odd")
    column.attrs.update({"encoding-type": "awkward-array", "encoding-version": "0.1.0", "length": 40, "form": "{}"})


def _sparse(obs: h5py.Group) -> None:
    write_elem(obs, "odd", sparse.csr_matrix(np.ones((40, 1))))


def _records(obs: h5py.Group) -> None:
    write_elem(obs, "odd", np.zeros(40, [("a", "f8"), ("b", "i4")]))


def _wide(obs: h5py.Group) -> None:
    write_elem(obs, "odd", np.zeros(40, np.longdouble))


@pytest.mark.parametrize("write", [_awkward, _sparse, _records, _wide])
def test_a_column_that_no_table_has_is_left_out(write: Callable[[h5py.Group], None], tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        obs: Any = file["obs"]
        write(obs)
        obs.attrs["column-order"] = ["cell_type", "odd"]
    remark = "left out: obs odd (is no column of numbers or text)"
    assert open_source(path, ConvertSettings()).remark == remark
    assert "odd" not in scnym.open_store(scnym.convert([path], tmp_path / "new.zarr")).annotations


def test_row_pointers_that_are_no_numbers_are_refused_without_a_warning(tmp_path: Path):
    path = write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        pointers = np.full(41, np.nan)
        del file["X/indptr"]
        file["X/indptr"] = pointers
    with pytest.raises(FormatError, match="X/indptr does not match"):
        scnym.convert([path], tmp_path / "new.zarr")


def test_what_is_printed_steers_no_terminal_and_is_no_markup(nasty: tuple[Path, str]):
    _, printed = nasty
    assert "\x1b" not in printed
    assert r"\x1b[2J" in printed
    assert "[red]markup[/red]" in printed


def test_nothing_is_written_outside_of_the_folder_that_was_named(nasty: tuple[Path, str]):
    folder, _ = nasty
    assert {path.name for path in folder.iterdir()} == {"cells.h5ad", "out"}
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.parent.parent.iterdir()) == [folder.parent]
    for path in folder.rglob("*"):
        assert not set(path.name) & set("\x1b<>|\\:"), path
        assert path.stem.upper() != "CON"


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A folder of someone else with a file in it."""
    folder = tmp_path / "treasure"
    folder.mkdir()
    write_text(folder / "gold.txt", "gold")
    return folder


def test_work_is_not_set_aside_behind_a_link(store: Path, treasure: Path):
    labels, work = store.with_name("labels.csv"), (".new.zarr.partial", "out/.evaluation.partial")
    write_table(labels, pd.DataFrame({"cell_id": telling_adata().obs_names, "cell_type": "type 0"}))
    (store.parent / "out").mkdir()
    for name in work:
        (store.parent / name).symlink_to(treasure)
    with pytest.raises(OutputExistsError, match="a link stands where the work is set aside"):
        scnym.convert([store.with_name("cells.h5ad")], store.with_name("new.zarr"))
    with pytest.raises(OutputExistsError, match="a link stands where the work is set aside"):
        scnym.evaluate(labels, store, out_path=store.with_name("out"))
    assert [path.name for path in treasure.iterdir()] == ["gold.txt"]


def test_what_an_earlier_run_left_has_no_links_in_it(store: Path, treasure: Path):
    work = store.with_name(".new.zarr.partial")
    work.mkdir()
    (work / "dataset_0.work").symlink_to(treasure)
    with pytest.raises(OutputExistsError, match=r"dataset_0\.work: a link stands"):
        scnym.convert([store.with_name("cells.h5ad")], store.with_name("new.zarr"))
    assert [path.name for path in treasure.iterdir()] == ["gold.txt"]


def test_a_link_at_the_name_of_an_unfinished_file_is_not_written_through(
    nasty: tuple[Path, str], store: Path, treasure: Path
):
    run = store.with_name("run")
    shutil.copytree(nasty[0] / "out/predictions", run)
    for name in (".new.h5ad.partial", "run/.report.html.partial", ".comparison.csv.partial"):
        (store.parent / name).symlink_to(treasure / "gold.txt")
    scnym.export(store, store.with_name("new.h5ad"))
    scnym.report(run)
    replace_own(store.with_name("comparison.csv"), pd.DataFrame({"a": [1]}))
    assert (treasure / "gold.txt").read_text() == "gold"
    assert h5py.is_hdf5(store.with_name("new.h5ad"))
    assert not (run / "report.html").is_symlink()


def test_no_page_is_written_into_a_folder_that_a_link_leads_to(nasty: tuple[Path, str], treasure: Path):
    run = treasure.with_name("run")
    shutil.copytree(nasty[0] / "out/predictions", run / "predictions")
    shutil.copytree(nasty[0] / "out/predictions", treasure / "theirs")
    (treasure / "theirs/report.html").unlink()
    (run / "linked").symlink_to(treasure)
    (run / "linked_too").symlink_to(treasure / "theirs")
    assert scnym.report(run) == [run / "predictions/report.html"]
    assert not (treasure / "theirs/report.html").exists()


def test_names_in_a_page_are_text(nasty: tuple[Path, str]):
    page = (nasty[0] / "out/tissue_independent/report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_no_cell_of_a_table_is_a_formula(nasty: tuple[Path, str]):
    tables = list((nasty[0] / "out").rglob("*.csv"))
    assert {"predictions.csv", "markers.csv", "celltype_label.csv", "probabilities.csv"} <= {one.name for one in tables}
    for path in tables:
        table = pd.read_csv(path, dtype=str, header=None, keep_default_na=False)
        cells = pd.Series(table.to_numpy().ravel(), dtype=str)
        suspicious = cells[cells.str.match(r"[=+\-@\t\r].")]
        assert pd.to_numeric(suspicious, errors="coerce").notna().all(), (path, list(suspicious))


def test_such_names_come_back_as_they_were(nasty: tuple[Path, str]):
    out, adata = nasty[0] / "out", nasty_adata()
    table = read_annotations(out / "predictions/predictions.csv", [].append)
    assert list(table["cell_id"]) == list(adata.obs_names)
    assert set(table["cell_type"]) <= set(NASTY)
    found = scnym.evaluate(out / "predictions/predictions.csv", nasty[0] / "cells.h5ad")
    assert found.scores.n_cells == 240
    assert set(found.scores.per_class.index) == set(NASTY)
    weights = next((out / "tissue_independent/all_data").glob("00_*.pkl"))
    genes = write_text(out / "genes.txt", "\n".join(adata.var_names))
    assert set(Snapshot.load(weights, genes).card.classes) == set(NASTY)
    assert set(anndata.read_h5ad(out / "predictions/predictions.h5ad").obs["scnym_cell_type"]) <= set(NASTY)


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@x", "'=x", "''=x", "\tx", "-1", "'-1", "'", "x=1", "", "-", "1e5"]
)
def test_a_guarded_name_comes_back(text: str):
    assert unguarded(guarded(text)) == text
    assert not str(guarded(text)).startswith(("=1", "+x", "-x", "@", "\t"))


def test_two_columns_of_one_name_are_written_as_they_are(tmp_path: Path):
    table = pd.DataFrame(np.eye(2), columns=["a", "cell_id"])  # a class that is called as the column of ids is
    table.insert(0, "cell_id", ["x", "=y"], allow_duplicates=True)
    write_table(tmp_path / "probabilities.csv", table)
    assert (tmp_path / "probabilities.csv").read_text() == "cell_id,a,cell_id\nx,1,0\n'=y,0,1\n"


def test_names_that_are_no_formulas_are_written_as_they_are():
    for text in ("B cell", "CD4+ T", "-1", "+1.5e-3", "-", "'quoted'", 3, None):
        assert guarded(text) == text


def test_an_error_steers_no_terminal(tmp_path: Path):
    path = write_text(tmp_path / "cells.csv", "cell,a\nx,\x1b[2J\x9b31m\n")
    with pytest.raises(DataError) as fault:
        scnym.convert([path], tmp_path / "cells.zarr")
    assert "\x1b" not in str(fault.value)
    assert displayed("a\x1b[2J\u202eb\n") == "a\\x1b[2J\\u202eb\n"


@pytest.mark.parametrize("where", ["cell", "gene", "label"])
def test_a_nul_byte_in_a_name_is_refused(where: str, tmp_path: Path):
    adata = telling_adata()
    path = write_csv(tmp_path / "cells.csv", adata)
    labels = write_text(
        tmp_path / "labels.csv",
        pd.DataFrame({"cell_id": adata.obs_names, "cell_type": list(adata.obs["cell_type"])}).to_csv(index=False),
    )
    old = {"cell": "cell 0", "gene": "gene 0", "label": "type 0"}[where]
    for table in (path, labels):
        table.write_text(table.read_text().replace(f"{old},", f"{old}\0x,").replace(f"{old}\n", f"{old}\0x\n"))
    settings = ConvertSettings(training_metadata=str(labels))
    with pytest.raises(UserError, match="NUL"):
        scnym.convert([path], tmp_path / "cells.zarr", settings)


def test_classes_beside_bare_weights_that_stand_twice_are_refused(tmp_path: Path):
    write_model(tmp_path / "run/model.safetensors")
    write_text(tmp_path / "run" / CLASSES_FILE, "code,cell_type\n0,B\n1,B\n")
    with pytest.raises(FormatError, match="names no cell_type, or one twice"):
        Snapshot.load(tmp_path / "run/weights.pkl", write_text(tmp_path / "genes.txt", "\n".join(GENES)))
