"""A synthetic atlas of any size, streamed to an uncompressed CSR h5ad in bounded memory.

Genes have log-normal means; classes and tissues change some of them by log-normal factors; libraries are log-normal;
classes are unevenly common, and stand in random order, as in a file from a laboratory. Every class has marker genes,
named in ``var["marker_of"]``. Counts are float32, genes int32, row pointers int64, as most such files hold them.

Block k of the cells depends on (seed, k) alone: a larger atlas begins with the cells of a smaller one.

C cells of a block, G genes, K classes, T tissues, P = K * T profiles, N stored values.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import h5py
import numba
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse
from scipy.optimize import brentq

BLOCK_CELLS = 4_096
H5_CHUNK = 2**20
"""Elements per chunk of the h5ad: larger than HDF5's chunk cache, so that slices are read straight into place."""
GENE_MEAN_SIGMA = 2.0
LIBRARY_SIGMA = 0.5
CHANGED_GENES = 0.05
"""Share of the genes whose mean a class, or a tissue, changes."""
CLASS_SIGMA, TISSUE_SIGMA = 1.2, 0.6
MARKER_FOLD = 60.0
"""How much more of a marker its class has than the others, which have about as much as of the median gene."""
MOST_LIBRARY = 500_000
_OF_ATLAS, _OF_BLOCK, _OF_SOURCE = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class AtlasSettings:
    """What the atlas is like."""

    n_cells: int = 100_000
    """Cells, in all sources together."""
    n_genes: int = 20_000
    """Genes of the atlas; a source has about `source_genes` of them."""
    n_classes: int = 50
    """Cell types; the k-th most common has a share in proportion to 1 / k."""
    n_tissues: int = 5
    """Tissues, each with its own composition."""
    n_donors: int = 20
    """Donors, equally common."""
    n_markers: int = 10
    """Marker genes of each class."""
    values_per_cell: float = 1_900.0
    """Stored values of a cell, on average."""
    n_sources: int = 1
    """Files; with more than one, each has other cells and other genes."""
    source_genes: float = 0.9
    """Share of the genes that each source has, when there are several."""
    seed: int = 0
    """Decides everything."""


@dataclass(frozen=True)
class Block:
    """Consecutive cells."""

    counts_CG: sparse.csr_matrix
    classes_C: np.ndarray
    tissues_C: np.ndarray
    donors_C: np.ndarray


class Atlas:
    """The distributions of an atlas, and its cells block by block.

    Parameters
    ----------
    settings
        What it is like.
    """

    def __init__(self, settings: AtlasSettings) -> None:
        self.settings = settings
        random = _keyed(settings.seed, _OF_ATLAS)
        shares_K = 1.0 / np.arange(1, settings.n_classes + 1)
        self.class_shares_K = shares_K / shares_K.sum()
        tissue_shares_KT = random.dirichlet(np.full(settings.n_tissues, 2.0), settings.n_classes)
        self.profile_shares_P = (self.class_shares_K[:, None] * tissue_shares_KT).ravel()
        means_G = random.lognormal(sigma=GENE_MEAN_SIGMA, size=settings.n_genes)
        self.marker_of_G = np.full(settings.n_genes, -1)
        markers = random.permutation(settings.n_genes)[: settings.n_classes * settings.n_markers]
        self.marker_of_G[markers] = np.arange(len(markers)) % settings.n_classes
        means_G[markers] = np.median(means_G)
        self.profiles_PG = self._profiles(means_G, random)

    @property
    def n_blocks(self) -> int:
        """Blocks, the last of which may be shorter."""
        return -(-self.settings.n_cells // BLOCK_CELLS)

    @cached_property
    def median_library(self) -> float:
        """Counts of the median cell, such that the mean cell has the stored values that are asked for."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(5)
        spread = np.exp(LIBRARY_SIGMA * nodes)
        common = np.argsort(-self.profile_shares_P)[:20]
        shares, profiles = self.profile_shares_P[common], self.profiles_PG[common]

        def surplus(library: float) -> float:
            # A gene is stored unless its Poisson count is zero.
            stored = [-np.expm1(-library * factor * profiles).sum(axis=1) @ shares for factor in spread]
            mean = np.dot(weights, stored) / weights.sum() / shares.sum()
            return float(mean) - self.settings.values_per_cell

        return cast("float", brentq(surplus, 1, MOST_LIBRARY, rtol=1e-3))

    def gene_names(self) -> list[str]:
        """Return unique symbols in families, such as ``KRB7``."""
        random = _keyed(self.settings.seed, _OF_ATLAS, 1)
        letters = np.array(list("ABCDEFGHIKLMNPRSTVWZ"))
        names: dict[str, None] = {}
        while len(names) < self.settings.n_genes:
            family = "".join(random.choice(letters, random.integers(3, 5)))
            members = range(1, 1 + min(int(random.geometric(0.15)), self.settings.n_genes - len(names)))
            names.update(dict.fromkeys(f"{family}{member}" for member in members))
        return list(names)

    def block(self, number: int) -> Block:
        """Draw the cells of one block."""
        settings = self.settings
        random = _keyed(settings.seed, _OF_BLOCK, number)
        # A short last block is cut from a whole one, so that its cells are those of a larger atlas.
        profile_C = random.choice(len(self.profile_shares_P), BLOCK_CELLS, p=self.profile_shares_P)
        donors_C = random.integers(0, settings.n_donors, BLOCK_CELLS)
        spread_C = random.lognormal(sigma=LIBRARY_SIGMA, size=BLOCK_CELLS)
        library_C = np.clip(np.rint(self.median_library * spread_C), 1, MOST_LIBRARY).astype(np.int64)
        keys_C = random.integers(0, 2**64, BLOCK_CELLS, dtype=np.uint64)
        n_cells = min(BLOCK_CELLS, settings.n_cells - number * BLOCK_CELLS)
        parts = draw_counts(keys_C[:n_cells], library_C[:n_cells], profile_C[:n_cells], *self._alias_tables)
        counts_CG = sparse.csr_matrix(parts, shape=(n_cells, settings.n_genes))
        classes_C, tissues_C = np.divmod(profile_C[:n_cells], settings.n_tissues)
        return Block(counts_CG, classes_C, tissues_C, donors_C[:n_cells])

    def blocks(self, numbers: range | None = None) -> Iterator[Block]:
        """Draw some blocks, all by default, one after the other."""
        for number in numbers if numbers is not None else range(self.n_blocks):
            yield self.block(number)

    def source_genes(self, source: int) -> np.ndarray:
        """Return the genes that a source has, ascending: all when there is one source."""
        settings = self.settings
        if settings.n_sources == 1:
            return np.arange(settings.n_genes)
        random = _keyed(settings.seed, _OF_SOURCE, source)
        return np.flatnonzero(random.random(settings.n_genes) < settings.source_genes)

    def source_blocks(self, source: int) -> range:
        """Return the blocks whose cells a source has."""
        bounds = np.arange(self.settings.n_sources + 1) * self.n_blocks // self.settings.n_sources
        return range(int(bounds[source]), int(bounds[source + 1]))

    @cached_property
    def _alias_tables(self) -> tuple[np.ndarray, np.ndarray]:
        tables = [alias_table(profile_G) for profile_G in self.profiles_PG]
        return np.stack([cutoff_G for cutoff_G, _ in tables]), np.stack([other_G for _, other_G in tables])

    def _profiles(self, means_G: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Share of each gene in the counts of every class in every tissue; shape (P, G)."""
        settings = self.settings
        class_folds_KG = _folds(settings.n_classes, settings.n_genes, CLASS_SIGMA, random)
        tissue_folds_TG = _folds(settings.n_tissues, settings.n_genes, TISSUE_SIGMA, random)
        markers = np.flatnonzero(self.marker_of_G >= 0)
        class_folds_KG[:, markers] = 1.0
        class_folds_KG[self.marker_of_G[markers], markers] = MARKER_FOLD
        profiles_KTG = means_G * class_folds_KG[:, None, :] * tissue_folds_TG[None, :, :]
        profiles_PG = profiles_KTG.reshape(-1, settings.n_genes)
        return profiles_PG / profiles_PG.sum(axis=1, keepdims=True)


def write_atlas(target: Path, settings: AtlasSettings) -> list[Path]:
    """Write the atlas; with several sources ``NAME_0.h5ad``, ``NAME_1.h5ad`` and so on.

    Returns
    -------
    list of Path
        The files.
    """
    atlas = Atlas(settings)
    n_sources = settings.n_sources
    targets = [target] if n_sources == 1 else [target.with_stem(f"{target.stem}_{s}") for s in range(n_sources)]
    for source, path in enumerate(targets):
        aside = path.with_suffix(".partial")
        with h5py.File(aside, "w") as file:
            _write_source(file, atlas, source)
        aside.rename(path)
    return targets


def _write_source(file: h5py.File, atlas: Atlas, source: int) -> None:
    genes = atlas.source_genes(source)
    numbers = atlas.source_blocks(source)
    matrix = file.create_group("X")
    values, indices = (
        matrix.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(H5_CHUNK,), dtype=dtype)
        for name, dtype in (("data", "<f4"), ("indices", "<i4"))
    )
    lengths, classes, tissues, donors = [np.zeros(1, np.int64)], [], [], []
    for block in atlas.blocks(numbers):
        counts_CG = block.counts_CG if len(genes) == atlas.settings.n_genes else block.counts_CG[:, genes]
        _append(values, counts_CG.data)
        _append(indices, counts_CG.indices)
        lengths.append(np.diff(counts_CG.indptr))
        classes.append(block.classes_C)
        tissues.append(block.tissues_C)
        donors.append(block.donors_C)
    indptr = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    matrix["indptr"] = indptr
    shape = np.array([len(indptr) - 1, len(genes)])
    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    first_cell = numbers.start * BLOCK_CELLS
    obs = pd.DataFrame(
        {
            "cell_type": _categories(np.concatenate(classes), "type", atlas.settings.n_classes),
            "tissue": _categories(np.concatenate(tissues), "tissue", atlas.settings.n_tissues),
            "donor": _categories(np.concatenate(donors), "donor", atlas.settings.n_donors),
        },
        index=pd.Index([f"cell_{first_cell + k:08d}" for k in range(shape[0])], dtype=object),
    )
    marker_of = _categories(atlas.marker_of_G[genes], "type", atlas.settings.n_classes)
    var = pd.DataFrame({"marker_of": marker_of}, index=pd.Index(np.array(atlas.gene_names(), object)[genes]))
    _write_frames(file, obs, var)


def _write_frames(file: h5py.File, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    write_elem(file, "obs", obs)
    write_elem(file, "var", var)
    for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
        write_elem(file, name, {})
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def _append(dataset: h5py.Dataset, elements: np.ndarray) -> None:
    first = len(dataset)
    dataset.resize(first + len(elements), axis=0)
    dataset[first:] = elements


def _categories(codes: np.ndarray, name: str, n: int) -> Any:
    width = len(str(n - 1))
    return pd.Categorical.from_codes(
        codes.tolist(), dtype=pd.CategoricalDtype([f"{name}_{k:0{width}d}" for k in range(n)])
    )


def _folds(n: int, n_genes: int, sigma: float, random: np.random.Generator) -> np.ndarray:
    folds = random.lognormal(sigma=sigma, size=(n, n_genes))
    return np.where(random.random((n, n_genes)) < CHANGED_GENES, folds, 1.0)


def _keyed(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


@numba.njit
def alias_table(shares_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make the table that draws a gene in constant time (Walker 1977, in Vose's form of 1991).

    Returns
    -------
    cutoff_G, other_G
        A drawn gene is kept when 32 random bits are below its cutoff, else its other one is taken.
    """
    n_genes = len(shares_G)
    left_G = shares_G * n_genes
    cutoff_G = np.full(n_genes, 2**32 - 1, np.uint32)
    other_G = np.arange(n_genes).astype(np.int32)
    small, large = list(np.flatnonzero(left_G < 1.0)), list(np.flatnonzero(left_G >= 1.0))
    while small and large:
        low, high = small.pop(), large[-1]
        cutoff_G[low] = np.uint32(left_G[low] * (2**32 - 1))
        other_G[low] = high
        left_G[high] -= 1.0 - left_G[low]
        if left_G[high] < 1.0:
            small.append(large.pop())
    return cutoff_G, other_G


@numba.njit(inline="always")
def _mixed(state):  # noqa: ANN001, ANN202 - compiled
    """Return 64 random bits for a counter (SplitMix64: Steele, Lea and Flood 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@numba.njit(parallel=True)
def draw_counts(
    keys_C: np.ndarray, library_C: np.ndarray, profile_C: np.ndarray, cutoff_PG: np.ndarray, other_PG: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw every cell's counts from its profile: values, genes ascending in each row, and row pointers."""
    n_cells, n_genes = len(keys_C), cutoff_PG.shape[1]
    room_C = np.minimum(library_C, n_genes)
    first_C = np.cumsum(room_C) - room_C
    loose_values, loose_genes = np.empty(room_C.sum(), np.float32), np.empty(room_C.sum(), np.int32)
    lengths_C = np.empty(n_cells, np.int64)
    n_groups = 64
    for group in numba.prange(n_groups):
        counts_G = np.zeros(n_genes, np.int32)
        for cell in range(group, n_cells, n_groups):
            cutoff_G, other_G = cutoff_PG[profile_C[cell]], other_PG[profile_C[cell]]
            state = keys_C[cell]
            for _ in range(library_C[cell]):
                state += np.uint64(0x9E3779B97F4A7C15)
                bits = _mixed(state)
                gene = np.int64(((bits >> np.uint64(32)) * np.uint64(n_genes)) >> np.uint64(32))
                kept = np.uint32(bits & np.uint64(0xFFFFFFFF)) < cutoff_G[gene]
                counts_G[gene if kept else other_G[gene]] += 1
            at = first_C[cell]
            for gene in range(n_genes):
                if counts_G[gene]:
                    loose_values[at], loose_genes[at] = counts_G[gene], gene
                    counts_G[gene] = 0
                    at += 1
            lengths_C[cell] = at - first_C[cell]
    indptr = np.zeros(n_cells + 1, np.int64)
    indptr[1:] = np.cumsum(lengths_C)
    values, genes = np.empty(indptr[-1], np.float32), np.empty(indptr[-1], np.int32)
    for cell in numba.prange(n_cells):
        loose, length = first_C[cell], lengths_C[cell]
        values[indptr[cell] : indptr[cell + 1]] = loose_values[loose : loose + length]
        genes[indptr[cell] : indptr[cell + 1]] = loose_genes[loose : loose + length]
    return values, genes, indptr


def main() -> None:
    """Write an atlas from the command line."""
    parser = argparse.ArgumentParser(description="Write a synthetic atlas as h5ad.")
    parser.add_argument("out", type=Path, metavar="OUT.h5ad")
    for field in fields(AtlasSettings):
        kind = cast("type", field.type)
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, metavar=kind.__name__.upper())
    options = vars(parser.parse_args())
    started = time.perf_counter()
    settings = AtlasSettings(**{name: value for name, value in options.items() if name != "out"})
    for path in write_atlas(options["out"], settings):
        print(path)
    seconds = time.perf_counter() - started
    print(f"{settings.n_cells:,} cells in {seconds:.1f} s, {settings.n_cells / seconds:,.0f} cells/s", file=sys.stderr)


if __name__ == "__main__":
    main()
