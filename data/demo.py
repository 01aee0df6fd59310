"""The main job on real cells: train, cross-validate, label cells the model has not seen, and say how well it went.

Run by ``make demo``. Everything is written to the folder given, or ``demo_out``.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy
from rich.console import Console
from scipy import sparse
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).parent.parent
OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "demo_out"
CONSOLE = Console(highlight=False, soft_wrap=True)
COARSE_TYPES: dict[str, dict[str, str]] = json.loads((ROOT / "data" / "coarse_types.json").read_text())


@dataclass(frozen=True)
class Demo:
    """Cells to learn from, cells to label, and what their labels have in common."""

    train: Path
    label_column: str
    new: Path
    truth: pd.Series
    """Label of each new cell in the words of `coarse`; NaN where there is none."""
    coarse: Mapping[str, str]
    """From predicted types to the words of the truth; a type that is not listed stands for itself."""
    extra: tuple[str, ...] = ()
    """Options that both commands need."""


def facs_to_pbmc3k(folder: Path) -> Demo:
    """Sorted cells of one donor, and cells of another."""
    facs = anndata.read_h5ad(folder / "pbmc_facs" / "pbmc_facs.h5ad")
    train = OUT / "pbmc_facs_train.h5ad"
    facs[facs.obs["split"] == "train"].copy().write_h5ad(train)
    new = folder / "pbmc3k" / "pbmc3k.h5ad"
    truth = anndata.read_h5ad(new, backed="r").obs["cell_type"].astype(object).map(COARSE_TYPES["pbmc3k"])
    return Demo(train, "cell_type", new, truth, COARSE_TYPES["pbmc_facs"])


def pbmc68k_in_two() -> Demo:
    """Cells that ship with scanpy: most to learn from, a fifth to label, with their genes in another order."""
    scaled = scanpy.datasets.pbmc68k_reduced()
    counts_CG, residual = recovered_counts(scaled)
    CONSOLE.print(
        "The set holds ln(CP10k+1) rounded to three decimals; its counts come back as whole numbers to within "
        f"{residual:.3f} of one count."
    )
    obs = pd.DataFrame({name: scaled.obs[name] for name in ("bulk_labels", "n_counts")})
    counts = sparse.csr_matrix(counts_CG.astype(np.float32))
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=scaled.var_names))
    train, new = train_test_split(np.arange(len(obs)), test_size=0.2, random_state=0, stratify=obs["bulk_labels"])
    paths = OUT / "pbmc68k_train.h5ad", OUT / "pbmc68k_new.h5ad"
    genes = np.random.default_rng(0).permutation(adata.n_vars)
    adata[np.sort(train)].copy().write_h5ad(paths[0])
    adata[np.sort(new), genes].copy().write_h5ad(paths[1])
    truth = obs["bulk_labels"].iloc[np.sort(new)].astype(object)
    return Demo(paths[0], "bulk_labels", paths[1], truth, {}, ("--library_size", "n_counts"))


def recovered_counts(adata: anndata.AnnData) -> tuple[np.ndarray, float]:
    """Undo ln(CP10k+1) with the cells' full libraries; give whole counts, and how far from whole they were at most."""
    logged = adata.raw.to_adata().to_df().to_numpy(dtype=np.float64)
    exact = np.expm1(logged) * adata.obs["n_counts"].to_numpy()[:, None] / 1e4
    counts = np.round(exact)
    return counts, float(np.abs(exact - counts).max())


def larger_sets() -> Path | None:
    """Return the folder of larger sets, if there is one; SCNYM_DATA names it, and nothing in SCNYM_DATA means none."""
    given = os.environ.get("SCNYM_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    needed = [folder / "pbmc_facs" / "pbmc_facs.h5ad", folder / "pbmc3k" / "pbmc3k.h5ad"]
    if given != "" and all(path.is_file() for path in needed):
        return folder
    if given:
        sys.exit(f"SCNYM_DATA={given}: there is no pbmc_facs/pbmc_facs.h5ad and pbmc3k/pbmc3k.h5ad in it")
    return None


def run(*arguments: str) -> None:
    """Run a scnym command as a user would, showing it first."""
    program = Path(sysconfig.get_path("scripts")) / "scnym"
    CONSOLE.print(f"\n[bold]$ scnym {' '.join(arguments)}[/bold]")
    finished = subprocess.run([program, *arguments], cwd=ROOT, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def agreement(predictions: pd.DataFrame, demo: Demo) -> str:
    """Compare predictions with the truth of the cells that have one."""
    predicted = predictions.set_index("cell_id")["cell_type"].replace(dict(demo.coarse))
    truth = demo.truth.dropna()
    predicted = predicted.loc[truth.index]
    table = pd.crosstab(truth.rename("true"), predicted.rename("predicted"))
    accuracy = float((predicted == truth).mean())
    balanced = recall_score(truth, predicted, labels=sorted(truth.unique()), average="macro")
    return (
        f"{table.to_string()}\n\naccuracy {accuracy:.3f}   balanced accuracy {balanced:.3f}   on {len(truth):,} cells"
    )


def main() -> None:
    """Prepare, train, label, compare."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    folder = larger_sets()
    demo = pbmc68k_in_two() if folder is None else facs_to_pbmc3k(folder)
    out, label = shown(OUT), demo.label_column
    run(
        "train_tissue_independent", "--input_counts", shown(demo.train), "--lower_group", label, "--out_path", out,
        *demo.extra,
    )  # fmt: skip
    model = f"{out}/tissue_independent/all_data/model.safetensors"
    run("predict_cell_types", "--input_counts", shown(demo.new), "--model_path", model, "--out_path", out, *demo.extra)
    predictions = pd.read_csv(OUT / "predictions" / "predictions.csv")
    CONSOLE.print("\n[bold]New cells: true types by predicted ones[/bold]")
    CONSOLE.print(agreement(predictions, demo), markup=False)
    CONSOLE.print(f"\nDone in {time.monotonic() - started:.0f} s. Results: {out}/tissue_independent/report.html,")
    CONSOLE.print(f"{out}/predictions/predictions.csv")


def shown(path: Path) -> str:
    """Return a path relative to the repository where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else os.path.relpath(path, ROOT)


if __name__ == "__main__":
    main()
