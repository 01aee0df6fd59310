"""What is fuzzed: for each kind of file a small valid one, ways to damage it, and how scnym opens and reads it."""

import gzip
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
import typer
from fuzz.hdf5_damage import wrong_hdf5
from fuzz.mutations import damaged, wrong_document, wrong_json
from fuzz.readings import GENES_OPTION, read_folder_of, read_model, read_source, read_store
from fuzz.seeds import FEW, write_10x_folder, write_10x_h5, write_model, write_safetensors
from helpers import dense, write_csv, write_h5ad, write_loom, write_text
from safetensors import safe_open
from safetensors.torch import load
from scipy import sparse

from cli.click_names import ClickException
from cli.main import app
from scnym import convert, evaluate
from scnym.base.errors import ScnymError, SettingsError
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import read_table
from scnym.disk.features import gene_naming, read_genes
from scnym.disk.inputs import gather
from scnym.model.snapshot import METADATA_KEY
from scnym.runs.checkpoints import UNFINISHED, Checkpoints

Execute = Callable[[Random], None]
"""Damages a file in its own way, and reads it as scnym does."""
Change = Callable[[Random, bytes], bytes]
MANY, SOME, FEWER = 100_000, 20_000, 10_000
"""How often a target is executed: as fast as it is."""


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    prepare: Callable[[Path], Execute]
    """Writes what it needs into a folder; gives what is executed again and again."""
    executions: int = MANY
    """How often it is executed in `make fuzz`, unless something else is asked for."""


def attempt(execute: Execute, random: Random) -> bool:
    """Execute once; whether the file was read. A refusal is a good answer, anything else raised a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            execute(random)
        except ScnymError as refusal:
            if isinstance(refusal.__cause__, MemoryError | RecursionError):
                raise refusal.__cause__ from refusal
            return False
        return True


def _of_file(path: Path, change: Change, read: Callable[[Path], None] = read_source) -> Execute:
    """Damage one file anew each time."""
    content = path.read_bytes()

    def execute(random: Random) -> None:
        changed = change(random, content)
        path.unlink(missing_ok=True)  # HDF5 takes the same inode for the same file, if another is still open
        path.write_bytes(changed)
        read(path)

    return execute


def _of_folder(folder: Path, wanted: Callable[[Path], bool], change: Change, read: Callable[[Path], None]) -> Execute:
    """Damage one of a folder's files each time, or take it away; then put it back."""
    contents = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and wanted(path)}

    top = [path for path in contents if path.parent == folder]  # which say what the others are

    def execute(random: Random) -> None:
        path = random.choice(top if top and random.randrange(2) else list(contents))
        if random.randrange(30):
            path.write_bytes(change(random, contents[path]))
        else:
            path.unlink()
        try:
            read(folder)
        finally:
            path.write_bytes(contents[path])

    return execute


def _csv(folder: Path) -> Execute:
    return _of_file(write_csv(folder / "cells.csv", FEW), damaged)


def _csv_gz(folder: Path) -> Execute:
    def change(random: Random, packed: bytes) -> bytes:
        if random.randrange(2):
            return gzip.compress(damaged(random, gzip.decompress(packed)), 1)
        return damaged(random, packed)

    return _of_file(write_csv(folder / "cells.csv.gz", FEW), change)


def _genes_by_cells(folder: Path) -> Execute:
    settings = ConvertSettings(csv_orientation="genes_by_cells")
    path = write_csv(folder / "genes.tsv", FEW.T)
    path.write_text(path.read_text().replace(",", "\t"))
    return _of_file(path, damaged, lambda changed: read_source(changed, settings))


def _h5ad(folder: Path) -> Execute:
    return _of_file(write_h5ad(folder / "cells.h5ad", FEW), wrong_hdf5)


def _h5ad_groups(folder: Path) -> Execute:
    """Execute on an h5ad with more than counts, and names with a mask."""
    rich: Any = FEW.copy()
    rich.obs_names = pd.Index(pd.array(list(FEW.obs_names), dtype="string"))
    rich.obs["age"] = pd.array([1, None, 3, 4, 5, 6], dtype="Int64")
    rich.obsm["near"], rich.obsm["pca"] = sparse.csr_matrix(np.eye(6)), np.ones((6, 2))
    rich.uns["ranks"] = {"names": np.array([("a", 1.0)], dtype=[("B", "U2"), ("T", "f4")]), "title": "text"}
    with anndata.settings.override(allow_write_nullable_strings=True):
        return _of_file(write_h5ad(folder / "rich.h5ad", rich), wrong_hdf5)


def _h5ad_other(folder: Path) -> Execute:
    """Execute on CSC or on dense and compressed counts."""
    csc = FEW.copy()
    csc.X = sparse.csc_matrix(dense(FEW))
    full = FEW.copy()
    full.X = dense(FEW)
    full.write_h5ad(folder / "dense.h5ad", compression="gzip")
    both = [_of_file(path, wrong_hdf5) for path in (write_h5ad(folder / "csc.h5ad", csc), folder / "dense.h5ad")]
    return lambda random: random.choice(both)(random)


def _loom(folder: Path) -> Execute:
    return _of_file(write_loom(folder / "cells.loom", FEW), wrong_hdf5)


def _tenx_h5(folder: Path) -> Execute:
    return _of_file(write_10x_h5(folder / "cells.h5"), wrong_hdf5)


def _tenx_folder(folder: Path) -> Execute:
    return _of_folder(write_10x_folder(folder / "sample"), Path.is_file, damaged, read_source)


def _anndata_zarr(folder: Path) -> Execute:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AnnData says which format it will write one day
        FEW.write_zarr(folder / "cells.zarr")

    def change(random: Random, content: bytes) -> bytes:
        return wrong_json(random, content) if content.startswith(b"{") else damaged(random, content)

    return _of_folder(folder / "cells.zarr", Path.is_file, change, read_source)


def _npy(folder: Path) -> Execute:
    settings = ConvertSettings(input_genes=str(write_text(folder / "genes.txt", "a\nb\nc\n")))
    np.save(folder / "cells.npy", np.arange(12).reshape(4, 3))
    return _of_file(folder / "cells.npy", damaged, lambda path: read_source(path, settings))


def _store_metadata(folder: Path) -> Execute:
    store = convert([write_h5ad(folder / "cells.h5ad", FEW)], folder / "cells.zarr")
    return _of_folder(store, lambda path: path.suffix == ".json", wrong_json, read_store)


def _store_chunks(folder: Path) -> Execute:
    store = convert([write_h5ad(folder / "cells.h5ad", FEW)], folder / "cells.zarr")
    return _of_folder(store, lambda path: path.suffix != ".json", damaged, read_store)


def _model(folder: Path) -> Execute:
    """Execute on model files whose card, or whose bytes, are damaged."""
    path = write_model(folder / "model.safetensors")
    content = path.read_bytes()
    weights = load(content)
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()[METADATA_KEY])

    def change(random: Random, whole: bytes) -> bytes:
        if random.randrange(3) == 0:
            return damaged(random, whole)
        return write_safetensors(weights, json.dumps(wrong_document(random, card)))

    return _of_file(path, change, read_model)


def _weights(folder: Path) -> Execute:
    """Execute on bare weights, or the table of classes beside them."""
    write_model(folder / "run/model.safetensors")
    write_text(folder / GENES_OPTION, "".join(f"gene {k}\n" for k in range(5)))
    return _of_folder(folder / "run", lambda path: path.suffix in {".pkl", ".csv"}, damaged, read_folder_of)


def _checkpoint(folder: Path) -> Execute:
    path = folder / f"fold00{UNFINISHED}"
    torch.save({"epoch": 3, "losses": [0.5], "weights": {"a": torch.zeros(3)}, "name": "x"}, path)
    checkpoints = Checkpoints(folder)
    return _of_file(path, damaged, lambda _: dict(checkpoints.unfinished("fold00") or {}).clear())


def _config(folder: Path) -> Execute:
    lines = ("input_counts: a.h5ad", "out_path: out", "model_path: model", "batch_size: 32", "min_confidence: 0.5")
    path = write_text(folder / "config.yaml", "\n".join([*lines, "embedding: true", "seed: 7", "layer: null"]))
    group: Any = typer.main.get_command(app)

    def read(config: Path) -> None:
        given = ["predict_cell_types", "--config", str(config), "--input_counts", "a", "--out_path", "b"]
        try:
            with group.make_context("scnym", given, resilient_parsing=False) as context:
                command = group.commands["predict_cell_types"]
                command.make_context("predict_cell_types", given[1:], parent=context)
        except ClickException as usage:  # which the command line puts into words as it does our own
            raise SettingsError(usage.format_message()) from usage

    tokens = (
        *(
            f"{sign}\n".encode()
            for sign in ("&a", "*a", "!!x", "- ", "? ", "| ", "> ", "{", "[", "#", "%", "@", "<<: ")
        ),
        b"!!python/name:os.system ",
    )

    def change(random: Random, content: bytes) -> bytes:
        return damaged(random, content, tokens) if random.randrange(3) else damaged(random, content)

    return _of_file(path, change, read)


def _tables(folder: Path) -> Execute:
    """Execute on tables of predictions and of the truth, and on lists of genes and of samples."""
    cells = "".join(f"cell {k},type {k % 2},0.{k + 1}\n" for k in range(6))
    given = write_text(folder / "predictions.csv", f"cell_id,cell_type,confidence\n{cells}")
    truth = write_text(folder / "truth.csv", given.read_text())
    genes = write_text(folder / "genes.txt", "ENSG00000000001.2\nActb\nGapdh\n")
    samples = write_text(folder / "samples.csv", f"path,sample,donor\n{given},a,1\n{truth},b,2\n")
    write_csv(folder / "counts.csv", FEW)
    executions = [
        _of_file(given, damaged, lambda path: _evaluated(path, truth)),
        _of_file(truth, damaged, lambda path: _evaluated(given, path)),
        _of_file(genes, damaged, lambda path: gene_naming(read_genes(path, "--input_genes")) and None),
        _of_file(samples, damaged, lambda path: gather([path]) and None),
    ]
    originals = {path: path.read_bytes() for path in (given, truth, genes, samples)}

    def execute(random: Random) -> None:
        for path, content in originals.items():
            path.write_bytes(content)
        random.choice(executions)(random)

    return execute


def _evaluated(given: Path, truth: Path) -> None:
    evaluate(given, truth)
    read_table(given, "")


def _conversion(folder: Path) -> Execute:
    """Execute the whole way: damaged input, store, its cells."""
    target = folder / "converted.zarr"

    def read(path: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        read_store(convert([path], target))

    ways = [
        _of_file(write_h5ad(folder / "cells.h5ad", FEW), wrong_hdf5, read),
        _of_file(write_loom(folder / "cells.loom", FEW), wrong_hdf5, read),
        _of_file(write_10x_h5(folder / "cells.h5"), wrong_hdf5, read),
        _of_file(write_csv(folder / "cells.csv", FEW), damaged, read),
    ]
    return lambda random: random.choice(ways)(random)


TARGETS = {
    target.name: target
    for target in (
        Target("csv", _csv),
        Target("csv_gz", _csv_gz),
        Target("genes_by_cells", _genes_by_cells),
        Target("h5ad", _h5ad, SOME),
        Target("h5ad_other", _h5ad_other, SOME),
        Target("h5ad_groups", _h5ad_groups, SOME),
        Target("loom", _loom, SOME),
        Target("tenx_h5", _tenx_h5, SOME),
        Target("tenx_folder", _tenx_folder),
        Target("anndata_zarr", _anndata_zarr, FEWER),
        Target("npy", _npy),
        Target("store_metadata", _store_metadata, FEWER),
        Target("store_chunks", _store_chunks, FEWER),
        Target("model", _model, SOME),
        Target("weights", _weights, SOME),
        Target("checkpoint", _checkpoint),
        Target("config", _config),
        Target("tables", _tables, SOME),
        Target("conversion", _conversion, FEWER),
    )
}
