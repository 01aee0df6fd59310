"""How fast batches come from a store, beside annbatch and scDataset, and what that takes.

Each figure is a process of its own; all take turns, round by round. Writes ``results/stream.md``. Needs the rivals
(`make bench-rivals`). All batches have 256 cells; all but scDataset by its defaults read 16,384 rows at once.

C cells of a store, K classes, B cells of a batch.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from atlas import AtlasSettings
from fixtures import atlas_files, store_of
from harness import (
    ROOT,
    Figure,
    Line,
    Rounds,
    growth_lines,
    machine,
    measured,
    passes_timed,
    ratio_line,
    run_step,
    table,
    take_turns,
    work_folder,
    work_options,
    write_results,
)
from rivals import ANNBATCH, SCDATASET

import scnym

LABEL = "cell_type"
BATCH_ROWS = 256
N_PASSES = 2
BLOCK_ROWS = (64, 256)
SCDATASET_DRAWS = 32_768
SCDATASET_FETCHES = {"its defaults": (8, 16), "16,384 rows a fetch": (1, 64)}
"""Rows per block, and batches per fetch."""
TENFOLD = {"atlas": "natural", "clustered": "uniform"}
"""Which store is streamed in which balance on the larger atlas."""
Plan = dict[str, Callable[[], Figure]]

OURS = partial(measured, Path(__file__), "stream")
ANNBATCH_READ = partial(measured, ROOT / "benchmarks" / "annbatch_steps.py", "read", python=ANNBATCH.python)
SCDATASET_READ = partial(measured, ROOT / "benchmarks" / "scdataset_steps.py", "balanced", python=SCDATASET.python)


def stream(arguments: Sequence[str]) -> tuple[float, float]:
    """Stream shuffled batches of all genes: STORE, class balance, layout, rows per block, passes."""
    path, balance, layout, block_rows, n_passes = arguments
    batches = batches_of(Path(path), balance, layout, int(block_rows))
    return passes_timed(lambda: sum(len(batch.rows) for batch in batches), int(n_passes))


def batches_of(path: Path, balance: str, layout: str, block_rows: int = 64) -> scnym.StreamDataset:
    """Open a store and stream it, on all genes that any of its sources has."""
    store = scnym.open_store(path)
    genes = scnym.gene_list(store.datasets, "outer")
    settings = scnym.StreamSettings(batch_size=BATCH_ROWS, class_balance=balance, block_rows=block_rows)
    return scnym.training_stream(store, labels_of(store), genes, settings, layout="csr" if layout == "csr" else "dense")


def labels_of(store: scnym.Store) -> np.ndarray:
    """Class codes of all cells, shape (C,)."""
    return store.column(LABEL).cat.codes.to_numpy()


def label_entropy(batches: Iterable[np.ndarray]) -> float:
    """Mean entropy of the labels in a batch, in nats."""
    shares = [np.unique(codes_B, return_counts=True)[1] / len(codes_B) for codes_B in batches]
    return float(np.mean([-np.sum(share * np.log(share)) for share in shares]))


def random_batches(codes_C: np.ndarray, balance: str) -> Iterator[np.ndarray]:
    """Labels of batches of true random rows; when balanced, every class is equally likely."""
    random = np.random.default_rng(0)
    drawn_from = np.unique(codes_C) if balance == "uniform" else codes_C
    for _ in range(4 * len(codes_C) // BATCH_ROWS):
        yield random.choice(drawn_from, BATCH_ROWS)


def entropy_line(path: Path, balance: str) -> Line:
    """Compare how mixed the batches of a clustered store are with true random ones."""
    batches = batches_of(path, balance, "csr")
    ours = label_entropy(batch.labels.numpy() for _ in range(2) for batch in batches)
    best = label_entropy(random_batches(labels_of(scnym.open_store(path)), balance))
    what = f"label entropy of a batch, {balance}, store clustered by class"
    return Line(what, f"within 1 % of random rows, {best:.3f} nats", f"{ours:.3f} nats", abs(ours / best - 1) <= 0.01)


def plan_of(stores: dict[str, Path], atlas: Path, collection: Path) -> Plan:
    """Name everything that is timed on the smaller atlas."""
    plan: Plan = {}
    for rows in BLOCK_ROWS:
        plan[f"scnym, blocks of {rows}"] = partial(OURS, stores["atlas"], "natural", "csr", rows, N_PASSES)
        for whose, path in (("scnym's store", stores["atlas"]), ("its own collection", collection)):
            plan[f"annbatch on {whose}, blocks of {rows}"] = partial(ANNBATCH_READ, path, rows, "csr", N_PASSES)
        plan[f"scnym, dense, blocks of {rows}"] = partial(OURS, stores["atlas"], "natural", "dense", rows, N_PASSES)
        for kind in ("dense", "ln_cpm"):
            plan[f"annbatch, {kind}, blocks of {rows}"] = partial(ANNBATCH_READ, stores["atlas"], rows, kind, N_PASSES)
    plan["scnym, balanced"] = partial(OURS, stores["clustered"], "uniform", "csr", 64, N_PASSES)
    for name, fetch in SCDATASET_FETCHES.items():
        plan[f"scDataset, {name}"] = partial(SCDATASET_READ, atlas, *fetch, SCDATASET_DRAWS)
    for genes in ("same", "different"):
        plan[f"scnym, three sources, {genes} genes"] = partial(OURS, stores[genes], "natural", "csr", 64, N_PASSES)
    return plan


def tenfold_plan(small: dict[str, Path], large: dict[str, Path], atlas: Path) -> Plan:
    """Name what is timed on the larger atlas, and beside it on the smaller."""
    plan: Plan = {}
    for kind, balance in TENFOLD.items():
        plan[f"scnym, small, {balance}"] = partial(OURS, small[kind], balance, "csr", 64, 4)
        plan[f"scnym, large, {balance}"] = partial(OURS, large[kind], balance, "csr", 64, 1)
    plan["annbatch, large"] = partial(ANNBATCH_READ, large["atlas"], 64, "csr", 1)
    for name, fetch in SCDATASET_FETCHES.items():
        plan[f"scDataset, large, {name}"] = partial(SCDATASET_READ, atlas, *fetch, SCDATASET_DRAWS)
    return plan


def speed_lines(figures: dict[str, Rounds]) -> list[Line]:
    """Hold the figures of the smaller atlas against their bars."""

    def beside(what: str, wanted: float, ours: str, *rivals: str) -> Line:
        return ratio_line(what, wanted, figures[ours], {rival: figures[rival] for rival in rivals})

    lines = []
    for rows in BLOCK_ROWS:
        end = f"blocks of {rows}"
        sparse = [f"annbatch on {whose}, {end}" for whose in ("scnym's store", "its own collection")]
        lines += [
            beside(f"shuffled, sparse, {end} rows", 1, f"scnym, {end}", *sparse),
            beside(f"shuffled, dense, {end} rows", 1.5, f"scnym, dense, {end}", f"annbatch, dense, {end}"),
            beside("the same, rival normalised too", 1.5, f"scnym, dense, {end}", f"annbatch, ln_cpm, {end}"),
        ]
    clustered = "balanced, sparse, store clustered by class"
    lines.append(beside(clustered, 0.85, "scnym, balanced", "scnym, blocks of 64"))
    lines += [beside(clustered, 10, "scnym, balanced", f"scDataset, {name}") for name in SCDATASET_FETCHES]
    three = "scnym, three sources"
    lines.append(beside("three sources, different genes", 0.85, f"{three}, different genes", f"{three}, same genes"))
    return lines


def tenfold_lines(figures: dict[str, Rounds], n_small: int, n_large: int) -> list[Line]:
    """Compare the larger atlas with the smaller, and with the rival."""
    lines = []
    for balance in TENFOLD.values():
        small, large = figures[f"scnym, small, {balance}"], figures[f"scnym, large, {balance}"]
        lines += growth_lines(f"{balance}, sparse, {n_large:,} cells beside {n_small:,}", small, large)
    rival = {"annbatch, large": figures["annbatch, large"]}
    lines.append(ratio_line(f"shuffled, sparse, {n_large:,} cells", 1, figures["scnym, large, natural"], rival))
    for name in (f"scDataset, large, {fetch}" for fetch in SCDATASET_FETCHES):
        ours = figures["scnym, large, uniform"]
        lines.append(ratio_line(f"balanced, sparse, {n_large:,} cells", 10, ours, {name: figures[name]}))
    return lines


def prepared(work: Path, n_cells: int) -> tuple[dict[str, Path], Path, Path]:
    """Make the stores, and annbatch's collection, of an atlas; also give its h5ad."""
    stores, atlas = both_stores(work, n_cells)
    name = f"atlas_{n_cells}"
    for genes, share in (("same", 1.0), ("different", 0.9)):
        three = f"{name}_{genes}"
        settings = AtlasSettings(n_cells=n_cells, n_sources=3, source_genes=share)
        stores[genes] = store_of(atlas_files(work, three, settings), work / f"{three}.zarr")
    collection = work / f"{name}_annbatch.zarr"
    if not collection.exists():
        measured(ROOT / "benchmarks" / "annbatch_steps.py", "create", atlas, collection, python=ANNBATCH.python)
    return stores, atlas, collection


def both_stores(work: Path, n_cells: int) -> tuple[dict[str, Path], Path]:
    """Make the store of an atlas, and the one clustered by class; also give its h5ad."""
    name = f"atlas_{n_cells}"
    (atlas,) = atlas_files(work, name, AtlasSettings(n_cells=n_cells))
    clustered = store_of([atlas], work / f"{name}_clustered.zarr", cluster_by=LABEL)
    return {"atlas": store_of([atlas], work / f"{name}.zarr"), "clustered": clustered}, atlas


def main() -> None:
    """Measure, print, write."""
    parser = work_options("Measure the stream beside its rivals.")
    parser.add_argument(
        "--cells", type=int, nargs="+", default=[100_000], help="cells of the atlas, and of a larger one"
    )
    options = parser.parse_args()
    with work_folder(options.work) as work:
        stores, atlas, collection = prepared(work, options.cells[0])
        figures = take_turns(plan_of(stores, atlas, collection), options.rounds)
        lines = speed_lines(figures)
        lines += [entropy_line(stores["clustered"], balance) for balance in ("uniform", "natural")]
        for n_large in options.cells[1:2]:
            tenfold = take_turns(tenfold_plan(stores, *both_stores(work, n_large)), options.rounds)
            lines += tenfold_lines(tenfold, options.cells[0], n_large)
            figures |= tenfold
    text = f"""# The stream, beside its rivals

A synthetic atlas of {options.cells[0]:,} cells x 20,000 genes with 1,900 values a cell, page cache warm, batches of
{BATCH_ROWS}. scnym normalises while it fills a batch, sparse or dense; annbatch gives raw counts unless it says
ln_cpm. {options.rounds} rounds in which all take turns; medians of rates and of the ratios inside a round. Each figure
is a process of its own, whose peak memory is given. {ANNBATCH.requirements[0]}, {SCDATASET.requirements[0]}.
{machine()}. Written by `make bench-stream`.

{table(lines)}
"""
    write_results("stream", text, lines, figures)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "stream":
        run_step({"stream": stream}, sys.argv[1:])
    else:
        main()
