"""Training in one process of two threads, and in two processes of one thread: cells/s on a generated atlas.

Each figure is a run by torchrun of its own. Of its epochs the fastest counts, with selection left out: start-up and
compiling are in the first one. Writes ``results/processes.md``.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
from atlas import AtlasSettings
from fixtures import atlas_files, store_of
from harness import Figure, Line, Rounds, machine, table, take_turns, work_folder, work_options, write_results

N_CELLS = 20_000
N_EPOCHS = 3
CORES = 2
BATCH_SIZES = (256, 1024)
TRAINING = (
    *("-m", "scnym.cli.main", "train_tissue_independent", "--lower_group", "cell_type", "--n_folds", "0"),
    *("--n_epochs", str(N_EPOCHS), "--refit_cells", "0", "--device", "cpu", "--overwrite"),
)


def train(store: Path, out: Path, batch_size: int, n_processes: int) -> Figure:
    """Train by so many processes, which share the cores."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n_processes))
    options = ("--input_counts", store, "--out_path", out, "--batch_size", str(batch_size))
    environment = {**os.environ, "OMP_NUM_THREADS": str(CORES // n_processes)}
    subprocess.run([sys.executable, *torchrun, *TRAINING, *options], env=environment, check=True, capture_output=True)
    log = pd.read_csv(out / "tissue_independent" / "all_data" / "all_data_log.csv")
    return Figure(cells=float(log["cells_per_second"].max()), seconds=1, peak_bytes=0)


def lines_of(found: dict[str, Rounds]) -> list[Line]:
    """Return one line for each batch size."""
    lines = []
    for size in BATCH_SIZES:
        one, two = (found[f"{size} by {n}"] for n in (1, 2))
        said = f"{one.rate:,.0f} and {two.rate:,.0f} cells/s: {two.times(one):.2f} x"
        lines.append(Line(f"batches of {size:,} cells, by one process and by two", "", said, None))
    return lines


def main() -> None:
    """Measure, and write the table."""
    options = work_options(__doc__ or "").parse_args()
    with work_folder(options.work) as work:
        store = store_of(atlas_files(work, "processes", AtlasSettings(n_cells=N_CELLS)), work / "processes.zarr")
        ways = [(size, n) for size in BATCH_SIZES for n in (1, 2)]
        plan = {f"{size} by {n}": partial(train, store, work / f"run_{size}_{n}", size, n) for size, n in ways}
        found = take_turns(plan, options.rounds)
    lines = lines_of(found)
    text = (
        f"# Several processes\n\nTraining on a generated atlas of {N_CELLS:,} cells, default network: one process of\n"
        f"{CORES} threads, two of {CORES // 2}. Medians of {options.rounds} rounds; of each run the fastest of\n"
        f"{N_EPOCHS} epochs.\n"
        f"{machine()}. Written by `make bench-processes`.\n\n{table(lines)}\n"
    )
    write_results("processes", text, lines, found)


if __name__ == "__main__":
    main()
