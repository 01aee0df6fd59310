"""Markers of models that have just been trained: are the known genes found, does the network need them, what it takes.

Three sets: a generated atlas whose marker genes are known, and pbmc3k and pbmc_facs (``SCNYM_DATA``, default
``../shared/data``). Each search is a process of its own; models have the default settings and are trained on all cells
but those that choose the epoch. Writes ``results/markers.md`` and ``.json``.
"""

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from atlas import AtlasSettings
from fixtures import atlas_files, store_of
from harness import (
    ROOT,
    Line,
    Rounds,
    Step,
    machine,
    measured,
    run_step,
    table,
    take_turns,
    timed,
    work_folder,
    work_options,
    write_results,
)

import scnym
from scnym.model.network import CellTypeNetwork
from scnym.model.snapshot import Card

DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
ATLAS = AtlasSettings(n_cells=10_000, n_classes=20)
KNOWN = {
    "B": ("MS4A1", "CD79A"),
    "NK": ("GNLY", "NKG7"),
    "CD14+ Mono": ("LYZ", "S100A8"),
    "Platelet": ("PPBP", "PF4"),
}
SETS = ("atlas", "pbmc3k", "pbmc_facs")
LARGE_CLASSES, LARGE_GENES, LARGE_STEPS = 100, 60_000, 10
LARGE_CAP = 1.5e9


def search(arguments: Sequence[str]) -> tuple[float, float]:
    """Search with all cells, or with none if no store is given; give classes and seconds, libraries loaded before."""
    model, out, *stores = arguments
    find, cells = scnym.find_markers, stores[0] if stores else None
    summary, seconds = timed(lambda: find(model, out, input_counts=cells, overwrite=True))
    return len(summary.top_genes), seconds


def search_large(arguments: Sequence[str]) -> tuple[float, float]:
    """Search a network of many genes and classes for a few steps; give classes and seconds."""
    model, out = arguments
    settings = scnym.MarkerSettings(n_steps=LARGE_STEPS)
    summary, seconds = timed(lambda: scnym.find_markers(model, out, settings, overwrite=True))
    return len(summary.top_genes), seconds


STEPS: dict[str, Step] = {"search": search, "search_large": search_large}


def prepare(work: Path, name: str) -> None:
    """Make a set's store and model, if they are not there."""
    source = DATA / name / f"{name}.h5ad" if name != "atlas" else atlas_files(work, name, ATLAS)[0]
    store = store_of([source], work / f"{name}.zarr")
    if not model_of(work, name).exists():
        settings = scnym.RunSettings(label_column="cell_type", split=scnym.SplitSettings(n_folds=0))
        scnym.train(store, work / name, settings)


def prepare_large(work: Path) -> Path:
    """Write a model of untrained weights with many genes and classes."""
    torch.manual_seed(0)
    network = CellTypeNetwork(LARGE_GENES, LARGE_CLASSES, scnym.NetworkSettings())
    card = Card(
        genes=tuple(f"gene {k}" for k in range(LARGE_GENES)),
        classes=tuple(f"type {k}" for k in range(LARGE_CLASSES)),
        label_column="cell_type",
        network=scnym.NetworkSettings(),
        training=scnym.TrainSettings(),
        stream=scnym.StreamSettings(),
        temperature=1.0,
        best_epoch=1,
        data_hash="none",
        metrics={},
    )
    path = work / "large.safetensors"
    path.write_bytes(scnym.Snapshot(card, network).to_bytes())
    return path


def model_of(work: Path, name: str) -> Path:
    """Return where a set's model is."""
    return work / name / "tissue_independent" / "all_data" / "model.safetensors"


def markers_of(out: Path) -> pd.DataFrame:
    """Read a search's markers."""
    return pd.read_csv(out / "tissue_ind_class_optimums" / "markers.csv")


def recovered(work: Path, out: Path) -> dict[str, float]:
    """Return for each class of the atlas the share of its known markers among its first 20."""
    marker_of = scnym.open_store(work / "atlas.zarr").datasets[0].var["marker_of"].astype(object)
    known = {str(name): set(genes.index) for name, genes in marker_of.groupby(marker_of)}
    first = markers_of(out).groupby("class").head(20).groupby("class")["gene"].agg(set)
    return {str(name): len(genes & known[str(name)]) / len(known[str(name)]) for name, genes in first.items()}


def recovery_line(work: Path, out: Path, what: str, *, judged: bool = True) -> Line:
    """Return how many of the known markers are found."""
    shares = list(recovered(work, out).values())
    median, least = statistics.median(shares), min(shares)
    figure = f"median {median:.0%}, least {least:.0%}"
    return Line(
        f"atlas: known markers in the first 20, {what}", "80 %, median", figure, median >= 0.8 if judged else None
    )


def known_line(out: Path, what: str, *, judged: bool = True) -> Line:
    """Return a line with the ranks of well-known marker genes."""
    ranks = markers_of(out).set_index(["class", "gene"])["rank"].to_dict()
    found = {gene: ranks.get((name, gene), 10**6) for name, genes in KNOWN.items() for gene in genes}
    figure = ", ".join(f"{gene} {rank}" for gene, rank in found.items())
    passed = max(found.values()) <= 50 if judged else None
    return Line(
        f"pbmc3k: ranks of genes known for B, NK, CD14+ Mono and Platelet, {what}", "in the first 50", figure, passed
    )


def deletions(out: Path) -> pd.DataFrame:
    """Read a search's deletion test."""
    return pd.read_csv(out / "tissue_ind_class_optimums" / "deletion.csv")


def deletion_line(name: str, out: Path) -> Line:
    """Return a line: for how many classes zeroing the top 50 lowers the accuracy more than zeroing 50 random genes."""
    found = deletions(out)
    below = found["accuracy_without_markers"] < found["accuracy_without_random"]
    medians = found.median(numeric_only=True)
    figure = (
        f"{below.sum()} of {len(found)}; median accuracy {medians['accuracy']:.2f}, "
        f"{medians['accuracy_without_markers']:.2f} without the top 50, "
        f"{medians['accuracy_without_random']:.2f} without 50 random"
    )
    others = found["class"][~below].tolist()
    return Line(
        f"{name}: accuracy falls more than at random",
        "every class",
        figure + "".join(f"; not {other}" for other in others),
        not others,
    )


def deletion_table(out: Path) -> str:
    """Format a deletion test as Markdown."""
    lines = ["| class | cells | accuracy | without top 50 | without 50 random | probability | without top 50 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row['class']} | {row['n_cells']} | {row['accuracy']:.3f} | {row['accuracy_without_markers']:.3f} | "
        f"{row['accuracy_without_random']:.3f} | {row['probability']:.3f} | {row['probability_without_markers']:.3f} |"
        for row in deletions(out).to_dict("records")
    ]
    return "\n".join(lines)


def cost_lines(rounds: Mapping[str, Rounds]) -> list[Line]:
    """Return what the searches took."""
    seconds = {name: figures.figures[0].cells / figures.rate for name, figures in rounds.items()}
    what = "pbmc_facs: 10 classes x 10 restarts x 16,791 genes"
    alone, with_cells = "pbmc_facs without cells", "pbmc_facs"
    return [
        *(
            Line(
                f"{what}, {words}",
                "under 60 s",
                f"{seconds[name]:.1f} s, peak {rounds[name].peak_bytes / 1e6:,.0f} MB",
                seconds[name] < 60,
            )
            for name, words in ((alone, "alone"), (with_cells, "and cells"))
        ),
        Line(
            f"{LARGE_CLASSES} classes x 10 restarts x {LARGE_GENES:,} genes, {LARGE_STEPS} steps: peak memory",
            f"at most {LARGE_CAP / 1e6:,.0f} MB",
            f"{rounds['large'].peak_bytes / 1e6:,.0f} MB",
            rounds["large"].peak_bytes <= LARGE_CAP,
        ),
    ]


def main() -> None:
    """Measure everything, print and write the tables."""
    options = work_options(__doc__ or "").parse_args()
    script = Path(__file__)
    with work_folder(options.work) as work:
        plan = {}
        for name in SETS:
            prepare(work, name)
            model, store = model_of(work, name), work / f"{name}.zarr"
            plan[name] = partial(measured, script, "search", model, work / f"out_{name}", store)
            plan[f"{name} without cells"] = partial(measured, script, "search", model, work / f"out_{name}_alone")
        plan["large"] = partial(measured, script, "search_large", prepare_large(work), work / "out_large")
        rounds = take_turns(plan, options.rounds)
        lines = [
            recovery_line(work, work / "out_atlas", "with cells"),
            recovery_line(work, work / "out_atlas_alone", "optimised inputs alone", judged=False),
            known_line(work / "out_pbmc3k", "with cells"),
            known_line(work / "out_pbmc3k_alone", "optimised inputs alone", judged=False),
            *(deletion_line(name, work / f"out_{name}") for name in SETS),
            *cost_lines(rounds),
        ]
        deleted = "\n\n".join(f"{name}:\n\n{deletion_table(work / f'out_{name}')}" for name in SETS)
    text = (
        "# Markers\n\n"
        f"Atlas: {ATLAS.n_cells:,} generated cells x {ATLAS.n_genes:,} genes, {ATLAS.n_classes} classes of "
        f"{ATLAS.n_markers} known markers each. Seconds without\nloading libraries; peak memory of the whole process; "
        f"medians over rounds, of which there were {options.rounds}. {machine()}.\nWritten by `make bench-markers`.\n\n"
        f"{table(lines)}\n\n## Deletion\n\n{deleted}\n"
    )
    write_results("markers", text, lines, rounds)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STEPS:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
