"""The files that the benchmarks measure on, made once in a work folder."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from atlas import Atlas, AtlasSettings, write_atlas

import scnym


def atlas_files(work: Path, name: str, settings: AtlasSettings) -> list[Path]:
    """Return the h5ad files of an atlas, written if they are not there."""
    n = settings.n_sources
    paths = [work / f"{name}.h5ad"] if n == 1 else [work / f"{name}_{source}.h5ad" for source in range(n)]
    return paths if all(path.exists() for path in paths) else write_atlas(work / f"{name}.h5ad", settings)


def store_of(inputs: Sequence[Path], target: Path, **settings: Any) -> Path:
    """Return the store of some files, converted if it is not there."""
    return target if target.exists() else scnym.convert(inputs, target, scnym.ConvertSettings(**settings))


def csv_table(path: Path, settings: AtlasSettings) -> Path:
    """Return an atlas as a wide CSV of cells x genes, gzipped if its name says so, written if it is not there."""
    if path.exists():
        return path
    atlas = Atlas(settings)
    aside = path.with_name(f"partial_{path.name}")
    with gzip.open(aside, "wt", compresslevel=6) if path.suffix == ".gz" else aside.open("w") as file:
        file.write(",".join(["cell_id", *atlas.gene_names()]) + "\n")
        for number in range(atlas.n_blocks):
            for row, counts_G in enumerate(atlas.block(number).counts_CG.astype(np.int32)):
                file.write(f"cell_{number}_{row}," + ",".join(map(str, counts_G.toarray()[0].tolist())) + "\n")
    aside.rename(path)
    return path
