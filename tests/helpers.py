"""Small inputs whose values betray a misplaced cell or gene."""

import gzip
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scnym.base.progress import COST_FILE


def telling_counts(n_cells: int = 40, n_genes: int = 12) -> np.ndarray:
    """Counts that name their own place: about half are zero, the others are 1 + row * n_genes + column."""
    rows, columns = np.indices((n_cells, n_genes))
    counts = 1 + rows * n_genes + columns
    return np.where((rows + 2 * columns) % 5 < 2, 0, counts)


def telling_adata(n_cells: int = 40, n_genes: int = 12, n_classes: int = 3) -> anndata.AnnData:
    """An AnnData of telling counts with a label column."""
    obs = pd.DataFrame(
        {"cell_type": [f"type {k % n_classes}" for k in range(n_cells)]}, index=[f"cell {k}" for k in range(n_cells)]
    )
    var = pd.DataFrame(index=[f"gene {k}" for k in range(n_genes)])
    counts = telling_counts(n_cells, n_genes).astype(np.float32)
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def clustered_adata(
    n_cells: int = 300, n_genes: int = 60, n_classes: int = 3, *, seed: int = 0, shares: list[float] | None = None
) -> anndata.AnnData:
    """Poisson counts of classes that are easy to tell apart: each has its own block of marker genes."""
    random = np.random.default_rng(seed)
    codes = random.choice(n_classes, n_cells, p=shares)
    codes[: 12 * n_classes] = np.repeat(np.arange(n_classes), 12)[:n_cells]
    means = np.full((n_classes, n_genes), 0.5)
    width = n_genes // n_classes
    for code in range(n_classes):
        means[code, code * width : code * width + width // 2] = 2.2
    counts = random.poisson(means[codes]).astype(np.float32)
    obs = pd.DataFrame({"cell_type": [f"type {c}" for c in codes]}, index=[f"cell {k}" for k in range(n_cells)])
    var = pd.DataFrame(index=[f"gene {k}" for k in range(n_genes)])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def write_h5ad(path: Path, adata: anndata.AnnData | None = None) -> Path:
    """Write an h5ad."""
    (adata if adata is not None else telling_adata()).write_h5ad(path)
    return path


def write_csv(path: Path, adata: anndata.AnnData | None = None) -> Path:
    """Write a CSV, gzipped if the name says so."""
    adata = adata if adata is not None else telling_adata()
    table = pd.DataFrame(dense(adata).astype(int), index=adata.obs_names, columns=adata.var_names)
    table.to_csv(path, index_label="cell_id")
    return path


def write_loom(path: Path, adata: anndata.AnnData | None = None) -> Path:
    """Write a loom."""
    import loompy

    adata = adata if adata is not None else telling_adata()
    columns = {name: adata.obs[name].astype(str).to_numpy() for name in adata.obs}
    cells = {"CellID": adata.obs_names.to_numpy(dtype=str), **columns}
    loompy.create(str(path), dense(adata).T, {"Gene": adata.var_names.to_numpy(dtype=str)}, cells)
    return path


WRITERS = {"h5ad": write_h5ad, "csv": write_csv, "csv.gz": write_csv, "loom": write_loom}


def dense(adata: anndata.AnnData) -> np.ndarray:
    """The counts as a plain array."""
    counts: Any = adata.X
    return np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts)


def write_text(path: Path, text: str) -> Path:
    """Write a text file, gzipped if the name says so."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def ln_cpm(counts_CG: np.ndarray, library_C: np.ndarray | None = None, to: float = 1e6) -> np.ndarray:
    """ln(CPM+1), written down plainly, to check the kernel against."""
    totals_C: np.ndarray = counts_CG.sum(axis=1) if library_C is None else library_C
    return np.log1p(counts_CG * to / np.maximum(totals_C, 1e-300)[:, None])


def assert_frozen(one: Any) -> None:
    """Check that no field of a dataclass can be set."""
    for field in fields(one):
        with pytest.raises(FrozenInstanceError):
            setattr(one, field.name, getattr(one, field.name))


COST = re.compile(rb'<section id="cost">.*?</section>', re.DOTALL)
"""Time and memory on the page of a run."""


def bytes_but_cost(path: Path) -> bytes:
    """Return what is in a file of a run; what the run cost, in time and memory, is never twice the same."""
    content = b"" if path.name == COST_FILE else path.read_bytes()
    return COST.sub(b"", content) if path.suffix == ".html" else content
