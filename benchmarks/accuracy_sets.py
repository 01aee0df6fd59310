"""Every labelled set at hand as tasks: parts to learn from, and parts held out, as files that all methods read.

C cells.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import h5py
import loompy
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.model_selection import GroupKFold, StratifiedKFold

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
COARSE: dict[str, dict[str, str]] = json.loads((ROOT / "data" / "coarse_types.json").read_text(encoding="utf-8"))
LABEL = "cell_type"
N_FOLDS = 5
TECHNOLOGIES = {"3pv1": "3' v1", "3pv2": "3' v2", "5p": "5'"}


@dataclass(frozen=True)
class Task:
    """Cells to learn from and cells to label, in one or more splits that are judged together."""

    name: str
    splits: Callable[[], Iterator[tuple[anndata.AnnData, anndata.AnnData]]]
    """Returns the two parts of each split, on the same genes."""
    coarse: dict[str, str] = field(default_factory=dict)
    """From each type to the one that is judged; empty for as they are."""

    def write(self, folder: Path) -> int:
        """Write ``train_K.h5ad`` and ``test_K.h5ad`` of each split, the latter without labels; give their number."""
        folder.mkdir(parents=True, exist_ok=True)
        truth = []
        for number, (learn, others) in enumerate(self.splits()):
            judge = others[others.obs[LABEL].isin(self._known(learn))].copy()
            truth.append(pd.DataFrame({"split": number, "cell_type": judge.obs[LABEL].astype(str).to_numpy()}))
            judge.obs = judge.obs[[]]
            learn.write_h5ad(folder / f"train_{number}.h5ad")
            judge.write_h5ad(folder / f"test_{number}.h5ad")
        pd.concat(truth).to_csv(folder / "truth.csv", index=False)
        return len(truth)

    def _known(self, learn: anndata.AnnData) -> set[str]:
        """Types that can be judged: those of the part to learn from."""
        seen = set(learn.obs[LABEL].astype(str))
        return {self.coarse[name] for name in seen if name in self.coarse} if self.coarse else seen


def all_tasks() -> list[Task]:
    """List the tasks: inside data sets, then from one part of the world to another."""
    inside: dict[str, Callable[[], anndata.AnnData]] = {
        "pbmc_facs": lambda: facs("train"),
        "pbmc3k": lambda: h5ad("pbmc3k/pbmc3k"),
        "pbmc68k_reduced": pbmc68k,
        "pbmc_scvijl": lambda: h5ad("pbmc_scvijl/pbmc"),
        "10X_PBMC_top2000": lambda: nameless("10X_PBMC_top2000"),
        "worm neurons": lambda: nameless("worm_neuron_cell"),
        "mca_gut_subset": lambda: h5ad("mca_gut_subset/mca_gut_subset"),
        "pollen": lambda: h5ad("pollen/pollen"),
        "CEL-Seq2, 5 lines": lambda: mixology("sc_celseq2_5cl_p1"),
        "mouse brain": lambda: loom("mouse_brain_toy_loom/mouseBrain_toy", "CellType"),
        "STARmap": lambda: loom("spatial_native/mpfc-starmap", "Clusters"),
        "osmFISH": lambda: h5ad("spatial_native/smfish", "str_labels"),
    }
    return [
        *(Task(name, lambda read=read: folds(read())) for name, read in inside.items()),
        Task("pbmc_facs, its test split", lambda: whole(facs("train"), facs("test"))),
        Task("pbmc_facs -> pbmc3k", lambda: onto("pbmc3k", facs(), h5ad("pbmc3k/pbmc3k")), COARSE["pbmc_facs"]),
        Task("pbmc3k -> pbmc_facs", lambda: onto("pbmc_facs", h5ad("pbmc3k/pbmc3k"), facs()), COARSE["pbmc3k"]),
        Task("CEL-Seq2 -> Drop-seq", lambda: whole(mixology("sc_celseq2"), mixology("sc_dropseq"))),
        *(Task(f"pbmc_3tech, {TECHNOLOGIES[out]} held out", lambda out=out: technology(out)) for out in TECHNOLOGIES),
        Task("onek1k_subset, donors held out", donors),
    ]


def folds(cells: anndata.AnnData) -> Iterator[tuple[anndata.AnnData, anndata.AnnData]]:
    """Cross-validate over the types with enough cells."""
    sizes = cells.obs[LABEL].value_counts()
    cells = cells[cells.obs[LABEL].isin(sizes.index[sizes >= N_FOLDS])].copy()
    splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    for rest, held_out in splitter.split(np.arange(cells.n_obs), cells.obs[LABEL]):
        yield cells[rest].copy(), cells[held_out].copy()


def whole(learn: anndata.AnnData, judge: anndata.AnnData) -> Iterator[tuple[anndata.AnnData, anndata.AnnData]]:
    """Yield one split, on the genes that both parts have."""
    genes = learn.var_names.intersection(judge.var_names)
    yield learn[:, genes].copy(), judge[:, genes].copy()


def onto(
    name: str, learn: anndata.AnnData, judge: anndata.AnnData
) -> Iterator[tuple[anndata.AnnData, anndata.AnnData]]:
    """Return one split whose judged cells have the coarse types of a set."""
    judge.obs[LABEL] = judge.obs[LABEL].map(COARSE[name])
    return whole(learn, judge)


def technology(held_out: str) -> Iterator[tuple[anndata.AnnData, anndata.AnnData]]:
    """Learn from two technologies, label the cells of the third."""
    cells = h5ad("pbmc_3tech/pbmc_3tech")
    is_out = (cells.obs["technology"] == held_out).to_numpy()
    learn = cells[~is_out]
    sizes = learn.obs[LABEL].value_counts()
    return whole(learn[learn.obs[LABEL].isin(sizes.index[sizes >= 2])].copy(), cells[is_out].copy())


def donors() -> Iterator[tuple[anndata.AnnData, anndata.AnnData]]:
    """Hold out every donor once, eight at a time."""
    cells = h5ad("onek1k_subset/onek1k_subset")
    for rest, held_out in GroupKFold(N_FOLDS).split(np.arange(cells.n_obs), groups=cells.obs["donor"]):
        yield cells[rest].copy(), cells[held_out].copy()


def facs(split: str | None = None) -> anndata.AnnData:
    """Read sorted cells, all or those of a split."""
    cells = h5ad("pbmc_facs/pbmc_facs")
    return cells if split is None else cells[cells.obs["split"] == split].copy()


def h5ad(path: str, label: str = LABEL) -> anndata.AnnData:
    """Read an h5ad."""
    cells = anndata.read_h5ad(DATA / f"{path}.h5ad")
    return labelled(cells.X, cells.obs[label], cells.var_names, cells.obs)


def loom(path: str, label: str) -> anndata.AnnData:
    """Read a loom."""
    with loompy.connect(str(DATA / f"{path}.loom"), "r", validate=False) as file:
        return labelled(file[:, :].T, np.ravel(file.ca[label]), np.ravel(file.ra["Gene"]))


def nameless(name: str) -> anndata.AnnData:
    """Read a set without names of genes, cells or types."""
    with h5py.File(DATA / "scdcc_h5" / f"{name}.h5") as file:
        counts: Any = np.asarray(file["X"])
        codes = np.asarray(file["Y"]).astype(int)
    return labelled(counts, codes, [f"gene {number}" for number in range(counts.shape[1])])


def pbmc68k() -> anndata.AnnData:
    """Read the counts that lie beside an h5ad of scaled values."""
    folder = DATA / "pbmc68k_reduced"
    cells = anndata.read_h5ad(folder / "pbmc68k_reduced.h5ad")
    return labelled(np.load(folder / "pbmc68k_reduced_counts.npy"), cells.obs["bulk_labels"], cells.var_names)


def mixology(name: str) -> anndata.AnnData:
    """Read a table of genes x cells, labelled by genotype."""
    folder = DATA / "sc_mixology"
    counts = pd.read_csv(folder / f"{name}.count.csv.gz", index_col=0)
    table = pd.read_csv(folder / f"{name}.metadata.csv.gz", index_col=0)
    return labelled(counts.to_numpy().T, table["cell_line_demuxlet"], counts.index)


def labelled(counts: Any, labels: Any, genes: Any, obs: Any = None) -> anndata.AnnData:
    """Put a set together without the cells that have no label."""
    names = pd.Series(np.asarray(labels, dtype=object)).astype("string")
    has_label = (names.notna() & (names != "NA")).to_numpy()
    table = (pd.DataFrame(index=range(len(names))) if obs is None else obs.reset_index(drop=True)).copy()
    table[LABEL] = names.to_numpy(dtype=object)
    table.index = pd.Index([f"cell {number}" for number in range(len(names))])
    matrix = sparse.csr_matrix(counts, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        var = pd.DataFrame(index=pd.Index(np.asarray(genes, dtype=object)).astype(str))
        return anndata.AnnData(matrix, obs=table, var=var)[has_label].copy()
