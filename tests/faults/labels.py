"""Classes, groups, tissues and genes that cannot be learnt from."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anndata
from faults.bench import QUICK, cells
from faults.fault import Fault
from faults.tables import write_text_at
from helpers import write_h5ad

import scnym

TRAIN = f"--input_counts cells.h5ad --out_path out {QUICK}"
CACHED = ("out", "out/cache", "out/cache/cells-*.zarr", "out/cache/cells-*.zarr/*")
"""The counts are converted, once, before their labels are known to be of no use."""


def _labelled(change: Callable[[anndata.AnnData], object], folder: Path) -> None:
    adata = cells()
    change(adata)
    write_h5ad(folder / "cells.h5ad", adata)


def _column(name: str, values: Any, adata: anndata.AnnData) -> None:
    adata.obs[name] = values


def _fault(
    what: str,
    more: str,
    where: str,
    says: str,
    way_out: str,
    *,
    command: str = "train_tissue_independent",
    change: Callable[[anndata.AnnData], object] = lambda _: None,
    leaves: tuple[str, ...] = CACHED,
) -> Fault:
    return Fault(
        what=what,
        form="h5ad",
        line=f"{command} {TRAIN} {more}".strip(),
        make=partial(_labelled, change),
        where=where,
        says=says,
        way_out=way_out,
        leaves=leaves,
    )


def _classes() -> Iterator[Fault]:
    yield _fault(
        "a column of classes that is not there",
        "--lower_group cell_typ",
        "cells.h5ad: ",
        "there is no column 'cell_typ' among the cells' annotations",
        "give --lower_group one of 'cell_type', 'tissue', 'donor'",
    )
    yield _fault(
        "no cell with a label",
        "--lower_group empty",
        "cells.h5ad: ",
        "column 'empty' holds no labels",
        "name another --lower_group",
        change=partial(_column, "empty", [float("nan")] * 72),
    )
    yield _fault(
        "one class only",
        "--lower_group kind",
        "--lower_group: ",
        "one class only ('cell')",
        "give a column with two or more",
        change=partial(_column, "kind", "cell"),
    )
    yield _fault(
        "a class for each cell",
        "--lower_group own",
        "--lower_group: ",
        "each of the 72 classes has one cell only, so none is left to choose or judge a model by",
        "give a column whose classes have several cells",
        change=partial(_column, "own", [f"type {k}" for k in range(72)]),
    )
    yield _fault(
        "no class with so many cells",
        "--min_cells_per_class 1000",
        "cells.h5ad: ",
        "no class of column 'cell_type' has 1,000 cells",
        "give --min_cells_per_class ",
    )
    yield _fault(
        "a column that scnym writes",
        "--lower_group n_counts",
        "cells.h5ad: ",
        "'n_counts' is a column that scnym writes",
        "if the input had one of this name, it is now n_counts_input",
    )


def _groups() -> Iterator[Fault]:
    yield _fault(
        "a column of groups that is not there",
        "--cv_group patient",
        "cells.h5ad: ",
        "there is no column 'patient' among the cells' annotations",
        "give --cv_group one of 'cell_type', 'tissue', 'donor'",
    )
    yield _fault(
        "cells without a group",
        "--cv_group donor",
        "cells.h5ad: ",
        "2 labelled cells have no group in column 'donor': 'cell 0', 'cell 1'",
        "give them one, or take their label away",
        change=partial(_column, "donor", [None, None] + ["a", "b"] * 35),
    )
    yield _fault(
        "fewer groups than folds",
        "--cv_group donor --n_folds 5",
        "--cv_group: ",
        "3 groups with labelled cells are fewer than 5 folds",
        "give --n_folds 3",
    )

    yield _fault(
        "groups that have no class in common",
        "--cv_group own",
        "--cv_group: ",
        "no fold has both a cell to hold out and two classes to learn from",
        "give a column whose groups have classes in common, or --n_folds 0",
        change=lambda adata: (
            _column("own", ["a"] * 36 + ["b"] * 36, adata),
            _column("cell_type", ["B"] * 36 + ["T"] * 36, adata),
        ),
    )


def _tissues() -> Iterator[Fault]:
    for command in ("train_tissue_dependent", "train_tissue_specific"):
        yield _fault(
            "a column of tissues that is not there",
            "--upper_group organ",
            "cells.h5ad: ",
            "there is no column 'organ' among the cells' annotations",
            "give --upper_group one of 'cell_type', 'tissue', 'donor'",
            command=command,
        )
        yield _fault(
            "no cell with a tissue",
            "--upper_group organ",
            "cells.h5ad: ",
            "column 'organ' names no tissue",
            "name another --upper_group",
            command=command,
            change=partial(_column, "organ", [float("nan")] * 72),
        )
    yield _fault(
        "one tissue only",
        "--upper_group organ",
        "--upper_group: ",
        "one organ only ('lung')",
        "train without it, with scnym train_tissue_independent",
        command="train_tissue_dependent",
        change=partial(_column, "organ", "lung"),
    )
    yield _fault(
        "no tissue that can have a model",
        "--upper_group cell_type",
        "--upper_group: ",
        "no cell_type can have a model of its own",
        "train one model for all with scnym train_tissue_independent",
        command="train_tissue_specific",
    )


def _genes() -> Iterator[Fault]:
    for what, text, says, way_out in (
        (
            "genes to use of which none is there",
            "ACTB\nGAPDH\n",
            "none of these genes is in the counts",
            "the list has",
        ),
        ("a list of genes to use without a gene", "\n", "it names no gene", "write one gene name a line"),
        (
            "a gene to use that stands twice",
            "gene 1\ngene 1\n",
            "duplicate gene names 'gene 1'",
            "name every gene once",
        ),
        ("genes to use that are not there", "", "there is no such genes file", "check --genes_to_use"),
    ):
        yield Fault(
            what=what,
            form="list of genes",
            line=f"train_tissue_independent --input_counts cells.zarr --out_path out {QUICK} --genes_to_use genes.txt",
            needs=("cells.zarr",),
            make=partial(write_text_at, "genes.txt" if text else "other.txt", text),
            where="genes.txt: ",
            says=says,
            way_out=way_out,
        )


def _sources() -> Iterator[Fault]:
    yield Fault(
        what="sources that share no gene",
        form="store",
        line=f"train_tissue_independent --input_counts both.zarr --out_path out {QUICK}",
        make=_without_common_genes,
        where="both.zarr: ",
        says="the sources share no gene",
        way_out="convert them apart",
    )


def _without_common_genes(folder: Path) -> None:
    one, other = cells(), cells()
    other.var_names = [f"other {k}" for k in range(12)]
    scnym.convert([one, other], folder / "both.zarr")


FAULTS = (*_sources(), *_classes(), *_groups(), *_tissues(), *_genes())
