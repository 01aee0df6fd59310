"""Models that are not there, damaged, of another kind, or do not know the cells that they are given."""

import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from faults.bench import MODEL
from faults.fault import Fault, as_it_is
from faults.files import cut
from faults.tables import write_text_at
from safetensors.torch import load_file, save_file

FILE = f"{MODEL}/all_data/model.safetensors"
WEIGHTS = f"{MODEL}/all_data/00_best_model_weights.pkl"
DEPENDENT = "run/tissue_dependent"
PREDICT = "predict_cell_types --input_counts cells.zarr --out_path out --model_path"
MARKERS = "find_cell_type_markers --out_path out --n_steps 5 --n_restarts 1 --model_path"
MODEL_FILE, BARE = "model file", "bare weights"
GENES = "".join(f"gene {k}\n" for k in range(12))


def fault_of(
    what: str,
    form: str,
    line: str,
    where: str,
    says: str,
    way_out: str,
    *,
    make: Callable[[Path], object] = as_it_is,
    needs: tuple[str, ...] = (MODEL, "cells.zarr"),
    quotes: bool = False,
    leaves: tuple[str, ...] = (),
) -> Fault:
    return Fault(
        what=what,
        form=form,
        line=line,
        where=where,
        says=says,
        way_out=way_out,
        make=make,
        needs=needs,
        quotes=quotes,
        leaves=leaves,
    )


def _with_card(change: Callable[[dict], object], folder: Path) -> None:
    """Change the model's description."""
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="pt") as file:
        card = json.loads(file.metadata()["scnym"])
    change(card)
    save_file(load_file(folder / FILE), folder / FILE, metadata={"scnym": json.dumps(card)})


def _with_weights(change: Callable[[dict[str, torch.Tensor]], object], folder: Path) -> None:
    """Change the model's weights."""
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(folder / FILE)
    change(weights)
    save_file(weights, folder / FILE, metadata=metadata)


def _of_another_program(folder: Path) -> None:
    save_file({"weight": torch.zeros(3)}, folder / FILE)


def _not_finite(weights: dict[str, torch.Tensor]) -> None:
    weights["first.weight"][0, 0] = float("nan")


def _files() -> Iterator[Fault]:
    for command in (PREDICT, MARKERS):
        yield fault_of(
            "not there",
            MODEL_FILE,
            f"{command} model.safetensors",
            "model.safetensors: ",
            "there is no such model",
            "check --model_path",
        )
        yield fault_of(
            "cut off half way",
            MODEL_FILE,
            f"{command} {FILE}",
            f"{FILE}: ",
            "not a model file, or a damaged one",
            "give the model.safetensors of a run",
            make=lambda folder: cut(folder / FILE),
            quotes=True,
        )
        yield fault_of(
            "of a newer format",
            MODEL_FILE,
            f"{command} {FILE}",
            f"{FILE}: ",
            "a model of format 99, newer than the 3 known here",
            "update scnym",
            make=partial(_with_card, lambda card: card.update(format_version=99)),
        )
    yield fault_of(
        "of a newer format",
        MODEL_FILE,
        f"inspect {FILE}",
        f"{FILE}: ",
        "a model of format 99, newer than the 3 known here",
        "update scnym",
        make=partial(_with_card, lambda card: card.update(format_version=99)),
    )
    yield fault_of(
        "counts in its place",
        MODEL_FILE,
        f"{PREDICT} cells.h5ad",
        "cells.h5ad: ",
        "not a model file, or a damaged one",
        "give the model.safetensors of a run",
        needs=("cells.h5ad", "cells.zarr"),
        quotes=True,
    )
    yield fault_of(
        "of another program",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "a safetensors file, but not a scnym model",
        "give one from a scnym run",
        make=_of_another_program,
    )
    yield fault_of(
        "a description that lacks its classes",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the model's description is damaged",
        "update scnym, or train the model again",
        make=partial(_with_card, lambda card: card.pop("classes")),
    )
    yield fault_of(
        "a gene too few for its weights",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the weights do not fit 11 genes, 3 classes and the layers named",
        "give weights with their own genes and classes",
        make=partial(_with_card, lambda card: card["genes"].pop()),
    )
    yield fault_of(
        "weights that are not finite",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "weights that are not finite numbers",
        "train the model again",
        make=partial(_with_weights, _not_finite),
    )
    yield fault_of(
        "a layer that is not in it",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the weights do not fit 12 genes",
        "give weights with their own genes",
        make=partial(_with_weights, lambda weights: weights.pop("first.weight")),
    )


def _folders() -> Iterator[Fault]:
    yield fault_of(
        "a folder of several runs",
        "folder of a run",
        f"{PREDICT} run",
        "run: ",
        "there is no model in this folder",
        "give one of the folders in it: tissue_dependent, tissue_independent",
        needs=(MODEL, DEPENDENT, "cells.zarr"),
    )
    yield fault_of(
        "a folder of other things",
        "folder of a run",
        f"{PREDICT} cells.zarr",
        "cells.zarr: ",
        "there is no model in this folder",
        "give the folder of a training run",
    )
    yield fault_of(
        "a folder of several runs",
        "folder of a run",
        f"{MARKERS} run",
        "run: ",
        "no model of its own is in this folder",
        "give the folder of one training run",
    )
    yield fault_of(
        "a summary of tissues that is another table",
        "folder of tissue-specific runs",
        f"{PREDICT} run/tissues",
        "run/tissues/summary.csv: ",
        "it lacks a column tissue or folder",
        "give the folder that train_tissue_specific wrote",
        needs=("run/tissues", "cells.zarr"),
        make=partial(write_text_at, "run/tissues/summary.csv", "a,b\n1,2\n"),
    )
    yield fault_of(
        "tissues without models",
        "folder of tissue-specific runs",
        f"{PREDICT} run/tissues",
        "run/tissues: ",
        "no tissue has a model",
        "train with more cells",
        needs=("run/tissues", "cells.zarr"),
        make=partial(write_text_at, "run/tissues/summary.csv", "tissue,folder\nlung,\n"),
    )


def _bare_weights() -> Iterator[Fault]:
    line = f"{PREDICT} {WEIGHTS} --training_gene_names genes.txt"
    yield fault_of(
        "no list of genes",
        BARE,
        f"{PREDICT} weights.pkl",
        "weights.pkl: ",
        "bare weights do not name their genes",
        "give --training_gene_names, or the model.safetensors",
        make=lambda folder: (folder / WEIGHTS).rename(folder / "weights.pkl"),
    )
    yield fault_of(
        "a list of genes that is not there",
        BARE,
        line,
        "genes.txt: ",
        "there is no such genes file",
        "check --training_gene_names",
    )
    yield fault_of(
        "a gene too few",
        BARE,
        line,
        f"{WEIGHTS}: ",
        "the weights do not fit 11 genes, 3 classes and the layers named",
        "give weights with their own genes and classes",
        make=partial(write_text_at, "genes.txt", GENES.removesuffix("gene 11\n")),
    )
    yield fault_of(
        "no table of classes beside them",
        BARE,
        f"{PREDICT} weights.pkl --training_gene_names genes.txt",
        "weights.pkl: ",
        "there is no celltype_label.csv beside these weights",
        "put it back, it names each cell_type",
        make=lambda folder: (
            write_text_at("genes.txt", GENES, folder),
            (folder / WEIGHTS).rename(folder / "weights.pkl"),
        ),
    )
    yield fault_of(
        "a table of classes without their names",
        BARE,
        line,
        f"{MODEL}/celltype_label.csv: ",
        "not a table with a column cell_type",
        "put back the one that the run wrote",
        make=lambda folder: (
            write_text_at("genes.txt", GENES, folder),
            write_text_at(f"{MODEL}/celltype_label.csv", "code,name\n0,B\n", folder),
        ),
    )
    for what, content in (("text", b"hello"), ("empty", b""), ("a pickle of a function", pickle.dumps(print))):
        yield fault_of(
            what,
            BARE,
            f"{PREDICT} weights.pkl --training_gene_names genes.txt",
            "weights.pkl: ",
            "not a file of plain weights; nothing in it was executed",
            "give a model.safetensors, or a .pkl written by scnym",
            make=lambda folder, content=content: (folder / "weights.pkl").write_bytes(content),
        )
    yield fault_of(
        "of another kind of network",
        BARE,
        f"{PREDICT} weights.pkl --training_gene_names genes.txt",
        "weights.pkl: ",
        "weights of another kind of network",
        "give weights written by this version of scnym",
        make=lambda folder: (
            write_text_at("genes.txt", GENES, folder),
            write_text_at("celltype_label.csv", "cell_type\nB\nT\n", folder),
            torch.save({"weight": torch.zeros(3)}, folder / "weights.pkl"),
        ),
    )


FAULTS = (*_files(), *_folders(), *_bare_weights())
