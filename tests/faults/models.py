"""Models that are not there, damaged, of another kind, or do not know the cells that they are given."""

import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from faults.bench import MODEL, cells
from faults.fault import Fault, as_it_is
from faults.files import cut
from faults.tables import write_text_at
from helpers import write_h5ad
from safetensors.torch import load_file, save_file

FILE = f"{MODEL}/all_data/model.safetensors"
WEIGHTS = f"{MODEL}/all_data/00_best_model_weights.pkl"
DEPENDENT = "run/tissue_dependent"
PREDICT = "predict_cell_types --input_counts cells.zarr --out_path out --model_path"
MARKERS = "find_cell_type_markers --out_path out --n_steps 5 --n_restarts 1 --model_path"
MODEL_FILE, BARE = "model file", "bare weights"
GENES = "".join(f"gene {k}\n" for k in range(12))


def _fault(
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
        yield _fault(
            "not there",
            MODEL_FILE,
            f"{command} model.safetensors",
            "model.safetensors: ",
            "there is no such model",
            "check --model_path",
        )
        yield _fault(
            "cut off half way",
            MODEL_FILE,
            f"{command} {FILE}",
            f"{FILE}: ",
            "not a model file, or a damaged one",
            "give the model.safetensors of a run",
            make=lambda folder: cut(folder / FILE),
            quotes=True,
        )
        yield _fault(
            "of a newer format",
            MODEL_FILE,
            f"{command} {FILE}",
            f"{FILE}: ",
            "a model of format 99, newer than the 2 known here",
            "update scnym",
            make=partial(_with_card, lambda card: card.update(format_version=99)),
        )
    yield _fault(
        "of a newer format",
        MODEL_FILE,
        f"inspect {FILE}",
        f"{FILE}: ",
        "a model of format 99, newer than the 2 known here",
        "update scnym",
        make=partial(_with_card, lambda card: card.update(format_version=99)),
    )
    yield _fault(
        "counts in its place",
        MODEL_FILE,
        f"{PREDICT} cells.h5ad",
        "cells.h5ad: ",
        "not a model file, or a damaged one",
        "give the model.safetensors of a run",
        needs=("cells.h5ad", "cells.zarr"),
        quotes=True,
    )
    yield _fault(
        "of another program",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "a safetensors file, but not a scnym model",
        "give one from a scnym run",
        make=_of_another_program,
    )
    yield _fault(
        "a description that lacks its classes",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the model's description is damaged",
        "update scnym, or train the model again",
        make=partial(_with_card, lambda card: card.pop("classes")),
    )
    yield _fault(
        "a gene too few for its weights",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the weights do not fit 11 genes, 3 classes and the layers named",
        "give weights with their own genes and classes",
        make=partial(_with_card, lambda card: card["genes"].pop()),
    )
    yield _fault(
        "weights that are not finite",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "weights that are not finite numbers",
        "train the model again",
        make=partial(_with_weights, _not_finite),
    )
    yield _fault(
        "a layer that is not in it",
        MODEL_FILE,
        f"{PREDICT} {FILE}",
        f"{FILE}: ",
        "the weights do not fit 12 genes",
        "give weights with their own genes",
        make=partial(_with_weights, lambda weights: weights.pop("first.weight")),
    )


def _folders() -> Iterator[Fault]:
    yield _fault(
        "a folder of several runs",
        "folder of a run",
        f"{PREDICT} run",
        "run: ",
        "there is no model in this folder",
        "give one of the folders in it: tissue_dependent, tissue_independent",
        needs=(MODEL, DEPENDENT, "cells.zarr"),
    )
    yield _fault(
        "a folder of other things",
        "folder of a run",
        f"{PREDICT} cells.zarr",
        "cells.zarr: ",
        "there is no model in this folder",
        "give the folder of a training run",
    )
    yield _fault(
        "a folder of several runs",
        "folder of a run",
        f"{MARKERS} run",
        "run: ",
        "no model of its own is in this folder",
        "give the folder of one training run",
    )
    yield _fault(
        "a summary of tissues that is another table",
        "folder of tissue-specific runs",
        f"{PREDICT} run/tissues",
        "run/tissues/summary.csv: ",
        "it lacks a column tissue or folder",
        "give the folder that train_tissue_specific wrote",
        needs=("run/tissues", "cells.zarr"),
        make=partial(write_text_at, "run/tissues/summary.csv", "a,b\n1,2\n"),
    )
    yield _fault(
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
    yield _fault(
        "no list of genes",
        BARE,
        f"{PREDICT} weights.pkl",
        "weights.pkl: ",
        "bare weights do not name their genes",
        "give --training_gene_names, or the model.safetensors",
        make=lambda folder: (folder / WEIGHTS).rename(folder / "weights.pkl"),
    )
    yield _fault(
        "a list of genes that is not there",
        BARE,
        line,
        "genes.txt: ",
        "there is no such genes file",
        "check --training_gene_names",
    )
    yield _fault(
        "a gene too few",
        BARE,
        line,
        f"{WEIGHTS}: ",
        "the weights do not fit 11 genes, 3 classes and the layers named",
        "give weights with their own genes and classes",
        make=partial(write_text_at, "genes.txt", GENES.removesuffix("gene 11\n")),
    )
    yield _fault(
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
    yield _fault(
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
        yield _fault(
            what,
            BARE,
            f"{PREDICT} weights.pkl --training_gene_names genes.txt",
            "weights.pkl: ",
            "not a file of plain weights; nothing in it was executed",
            "give a model.safetensors, or a .pkl written by scnym",
            make=lambda folder, content=content: (folder / "weights.pkl").write_bytes(content),
        )
    yield _fault(
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


def _strangers(genes: str, folder: Path) -> None:
    """Write cells of other genes, of which a stretch may be the model's."""
    adata = cells()
    adata.var_names = genes.split()
    write_h5ad(folder / "new.h5ad", adata)


def _cells() -> Iterator[Fault]:
    cached = ("out", "out/cache", "out/cache/new-*.zarr", "out/cache/new-*.zarr/*")
    new = PREDICT.replace("cells.zarr", "new.h5ad")
    other = " ".join(f"OTHER{k}" for k in range(12))
    for command in (new, f"{MARKERS.replace('--model_path', '--input_counts new.h5ad --model_path')}"):
        yield _fault(
            "no gene of the model",
            "h5ad",
            f"{command} {MODEL}",
            "new.h5ad: ",
            "has 0 of the model's 12 genes",
            "the data has 'OTHER0', 'OTHER1', 'OTHER2', the model 'gene 0'",
            make=partial(_strangers, other),
            leaves=cached,
        )
    yield _fault(
        "Ensembl ids, where the model has symbols",
        "h5ad",
        f"{new} {MODEL}",
        "new.h5ad: ",
        "has 0 of the model's 12 genes",
        "the data names genes by Ensembl id, the model by symbol",
        make=partial(_strangers, " ".join(f"ENSG000001234{k:02d}" for k in range(12))),
        leaves=cached,
    )
    yield _fault(
        "a tissue that the model does not know",
        "h5ad",
        f"{new} {DEPENDENT}",
        "new.h5ad, column tissue: ",
        "tissues that the model does not know: ",
        "it knows liver, lung",
        make=partial(_of_tissue, "kidney"),
        needs=(DEPENDENT,),
        leaves=cached,
    )
    yield _fault(
        "a tissue that has no model",
        "h5ad",
        f"{new} run/tissues",
        "new.h5ad, column tissue: ",
        "tissues that the model does not know: ",
        "it knows liver, lung",
        make=partial(_of_tissue, "kidney"),
        needs=("run/tissues",),
        leaves=cached,
    )
    yield _fault(
        "a column of tissues that is not there",
        "store",
        f"{PREDICT} {DEPENDENT} --upper_group organ",
        "cells.h5ad: ",
        "there is no column 'organ' among the cells' annotations",
        "give --upper_group one of cell_type, tissue, donor",
        needs=(DEPENDENT, "cells.zarr"),
    )
    yield _fault(
        "a column of clusters that is not there",
        "store",
        f"{PREDICT} {MODEL} --vote_by leiden",
        "cells.h5ad: ",
        "there is no column 'leiden' among the cells' annotations",
        "give --vote_by one of cell_type, tissue, donor",
    )
    yield Fault(
        what="one sample of two that cannot be read",
        form="manifest of files",
        line=f"predict_cell_types --input_counts files.csv --out_path out --model_path {MODEL} --by_sample",
        needs=(MODEL, "cells.h5ad"),
        make=_one_of_two,
        where="bad.h5ad: ",
        says="the file is damaged: it is not HDF5",
        way_out="copy or write it again",
        leaves=("out", "out/*"),
        prints=True,
    )
    yield _fault(
        "a class that the model does not know",
        "option",
        f"{MARKERS} {MODEL} --classes 'type 0,NK'",
        "--classes: ",
        "the model has no class 'NK'",
        "its 3 classes are 'type 0', 'type 1', 'type 2'",
    )
    yield _fault(
        "labels of which the model knows none",
        "store",
        f"{MARKERS} {MODEL} --input_counts cells.zarr --lower_group donor",
        "cells.zarr: ",
        "column 'donor' has none of the model's classes: it has 'donor 0', 'donor 1', 'donor 2'",
        "name another --lower_group; the model knows 'type 0', 'type 1', 'type 2'",
    )


def _one_of_two(folder: Path) -> None:
    write_text_at("files.csv", "path\ncells.h5ad\nbad.h5ad\n", folder)
    write_text_at("bad.h5ad", "text", folder)


def _of_tissue(tissue: str, folder: Path) -> None:
    adata = cells()
    adata.obs["tissue"] = tissue
    write_h5ad(folder / "new.h5ad", adata)


FAULTS = (*_files(), *_folders(), *_bare_weights(), *_cells())
