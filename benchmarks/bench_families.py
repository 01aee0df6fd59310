"""Which family of models is best for which tissue: mca_gut_subset (mouse, 2 tissues x 22 types), default settings.

Writes ``results/families.md``. Types with fewer cells than folds are left out, in each tissue for the specific family.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch loads

import pandas as pd
from harness import RESULTS, ROOT, machine

import scnym

DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
SETTINGS = scnym.RunSettings(label_column="cell_type", split=scnym.SplitSettings(min_cells_per_class=5))
FAMILIES: tuple[Callable[..., Any], ...] = (
    scnym.train,
    scnym.train_tissue_dependent,
    scnym.train_tissue_specific,
)


def compared(cells: Path) -> scnym.Comparison:
    """Train every family, and compare them."""
    with tempfile.TemporaryDirectory() as folder:
        for train in FAMILIES:
            train(cells, folder, SETTINGS)
        return scnym.compare(folder)


def markdown(table: pd.DataFrame) -> str:
    """Format the comparison."""
    lines = ["| cells of | family | cells | accuracy | macro-F1 | |", "|---|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        where = row["tissue"] if row["scope"] == "tissue" else "all tissues"
        verdict = "best" if row["winner"] else "within the spread" if row["within_spread"] else ""
        figures = (f"{row[name]:.3f} ({row[f'{name}_sd']:.3f})" for name in ("accuracy", "macro_f1"))
        lines.append(f"| {where} | {row['family']} | {row['n_cells']} | {' | '.join(figures)} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    found = compared(DATA / "mca_gut_subset" / "mca_gut_subset.h5ad")
    remarks = "\n".join(f"- {remark}" for remark in found.remarks)
    text = f"""# Families of models, by tissue

mca_gut_subset, 5-fold cross-validation, default settings, one seed; held-out cells, mean (standard deviation) over
folds. {machine()}. Written by `make bench-families`.

{markdown(found.table)}

{remarks}
"""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "families.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
