"""Cells that a model does not know: of other genes, other tissues, other classes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from faults.bench import MODEL, cells
from faults.fault import Fault
from faults.models import DEPENDENT, MARKERS, PREDICT, fault_of
from faults.tables import write_text_at
from helpers import write_h5ad


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
        yield fault_of(
            "no gene of the model",
            "h5ad",
            f"{command} {MODEL}",
            "new.h5ad: ",
            "has 0 of the model's 12 genes",
            "the data has 'OTHER0', 'OTHER1', 'OTHER2', the model 'gene 0'",
            make=partial(_strangers, other),
            leaves=cached,
        )
    yield fault_of(
        "Ensembl ids, where the model has symbols",
        "h5ad",
        f"{new} {MODEL}",
        "new.h5ad: ",
        "has 0 of the model's 12 genes",
        "the data names genes by Ensembl id, the model by symbol",
        make=partial(_strangers, " ".join(f"ENSG000001234{k:02d}" for k in range(12))),
        leaves=cached,
    )
    yield fault_of(
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
    yield fault_of(
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
    yield fault_of(
        "a column of tissues that is not there",
        "store",
        f"{PREDICT} {DEPENDENT} --upper_group organ",
        "cells.h5ad: ",
        "there is no column 'organ' among the cells' annotations",
        "give --upper_group one of cell_type, tissue, donor",
        needs=(DEPENDENT, "cells.zarr"),
    )
    yield fault_of(
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
    yield fault_of(
        "a class that the model does not know",
        "option",
        f"{MARKERS} {MODEL} --classes 'type 0,NK'",
        "--classes: ",
        "the model has no class 'NK'",
        "its 3 classes are 'type 0', 'type 1', 'type 2'",
    )
    yield fault_of(
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


FAULTS = tuple(_cells())
