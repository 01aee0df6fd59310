"""Whether two checkouts write the same files: stores, models, predictions and markers of one seed, byte by byte.

Every command runs in a process of its own, with the same arguments in both. Log files and pages with times in them are
named if they differ, and decide nothing.

    .venv/bin/python benchmarks/same_bytes.py OTHER_CHECKOUT
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from atlas import AtlasSettings
from fixtures import atlas_files, csv_table
from harness import ROOT

ATLAS = AtlasSettings(n_cells=3_000, n_genes=1_200, n_classes=6, n_tissues=2, n_donors=3, values_per_cell=150)
SHORT = ["--n_epochs", "2", "--n_folds", "2", "--seed", "7", "--refit_cells", "100000"]
RUN = "from cli.main import app; app()"
TIMED = {"cost.json", "report.html", "summary.csv"}
TIMED_ENDINGS = ("_log.csv", "atlas.h5ad/summary.json")
COMMANDS = (
    "convert atlas.h5ad plain.zarr",
    "convert atlas.h5ad by_class.zarr --cluster_by cell_type --max_memory 100MB",
    "convert table.csv table.zarr",
    "train_tissue_independent --input_counts plain.zarr --lower_group cell_type --out_path out --baseline",
    "train_tissue_dependent --input_counts by_class.zarr --lower_group cell_type --upper_group tissue --out_path out "
    "--cv_group donor",
    "train_tissue_specific --input_counts atlas.h5ad --lower_group cell_type --upper_group tissue --out_path out",
    "predict_cell_types --input_counts atlas.h5ad --model_path out/tissue_independent --out_path one --write_h5ad "
    "--probabilities csv --smooth_k 5",
    "predict_cell_types --input_counts plain.zarr --model_path out/tissue_dependent --out_path two --embedding",
    "predict_cell_types --input_counts plain.zarr --model_path out/tissues --out_path three --by_sample",
    "find_cell_type_markers --input_counts plain.zarr --lower_group cell_type --model_path out/tissue_independent "
    "--out_path out --n_steps 50",
    "export plain.zarr back.h5ad",
    "compare out",
)


def files_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each file below a folder with the SHA-256 of what is in it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def run_all(checkout: Path, work: Path) -> dict[str, str]:
    """Run every command with the code of a checkout; return the hashes of all that it wrote."""
    settings = os.environ | {"PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "PASSIVE"}
    for command in COMMANDS:
        arguments = command.split() + (SHORT if command.startswith("train") else [])
        done = subprocess.run(
            [sys.executable, "-c", RUN, *arguments], cwd=work, env=settings, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{checkout}: {command}\n{done.stderr}")
    return dict(files_of(work))


def main() -> None:
    """Compare this checkout with another; end with status 1 if any other file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    other = parser.parse_args().other.resolve()
    with tempfile.TemporaryDirectory() as folder:
        inputs, work = Path(folder) / "inputs", Path(folder) / "work"
        inputs.mkdir()
        atlas_files(inputs, "atlas", ATLAS)
        csv_table(inputs / "table.csv", AtlasSettings(n_cells=200, n_genes=300, values_per_cell=60))
        found = []
        for checkout in (ROOT, other):
            shutil.copytree(inputs, work)  # with the times of its files, which name a cached store
            found.append(run_all(checkout, work))
            work.rename(Path(folder) / f"done_{len(found)}")
    mine, theirs = found
    differ = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    timed = [name for name in differ if Path(name).name in TIMED or name.endswith(TIMED_ENDINGS)]
    print(f"{len(mine)} files, {len(mine) - len(differ)} the same; with times in them: {', '.join(timed) or 'none'}")
    if rest := [name for name in differ if name not in timed]:
        raise SystemExit("different: " + ", ".join(rest))


if __name__ == "__main__":
    main()
