"""Whether values that are not whole look like estimates of counts, or like what they are not.

C cells, G genes, N stored values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scnym.disk.parts import Part
from scnym.disk.values.transforms import LINEAR, LN, NEAR_WHOLE, CellFigures, Precision, figures_of, is_whole

TAKEN = "not whole numbers: taken for estimates of counts"
WHOLE = "counts; whole but for rounding"
LEAST_SHARE_WHOLE = 0.2
"""Share of whole numbers among estimates of counts of which reads were shared out between genes; of other values, even
if rounded to one digit, at most a tenth are whole."""
LARGEST_SCALED = 1.05
"""Largest of values that were scaled to a range, or are shares or weights."""
LEAST_MEAN = 0.4
"""Mean value of a cell's genes in the cell in the middle: 0.6 and more in corrected counts of shallow cells."""
LEAST_SHARE_SCALED, MOST_DEVIATION = 0.5, 0.01
"""Share of the genes whose values are whole multiples of a number of their own if genes were scaled, and by how much
of it they may be off, on average."""
NEAR_DECIMAL = 0.05
"""How near to a whole number the unit of a gene is that nobody scaled."""
GENE_CORRELATION = -0.3
"""Correlation, over genes, of the mean value and the number of cells, both as logarithms. In counts, genes of more
cells have larger values: 0.4 to 0.8 in ten data sets, 0.2 if divided by lengths. Scaled genes, residuals and TF-IDF
show the contrary."""
LEAST_CLIPPED, LEAST_SHARE_CLIPPED, TIMES_CLIPPED = 10, 1e-3, 5
"""How often the largest value occurs, at least, if values were clipped: also as a share of all, and as a multiple of
how often the next one does."""
DEPTH_CORRELATION = -0.5
"""Correlation, over cells, of the mean value and the number of genes, both as logarithms. In counts, cells with more
genes have larger values: 0.0 to 0.95 in ten data sets, corrected in five ways. Normalised values show the contrary:
-0.66 to -1.0, also as logarithms and of part of the genes."""
EVEN_DEPTH, EVEN_GENES, EQUAL_DEPTH = 0.3, 0.2, 0.01
"""Spread (standard deviation of the logarithms) of the totals, and of the numbers of genes, below which that
correlation says nothing: of cells normalised from different depths the number of genes differs by 0.22 to 0.54, of bulk
samples by 0.01. Spread of totals that are equal."""
FRACTION, MOST_FRACTIONS = 0.5, 0.2
"""Value below which an estimate is not of one whole count, and the share of the values that may be."""
LARGEST_ONE = 1.05
"""Of most cells the smallest value is an estimate of one count, or of less."""
LEAST_CELLS = 8
"""Cells, or genes, from which a correlation means something."""
LINEAR_SLOPE = -0.75
"""Of the regression behind `DEPTH_CORRELATION`: -0.8 to -1.1 for normalised values, -0.6 for their square roots, mostly
above for logarithms."""
LARGEST_LOG = float(np.log2(1e6 + 1)) + 0.1
"""No logarithm of counts per million is larger, to whatever usual base."""
MOST_FILLED, MOST_ALIKE = 0.99, 0.99
"""Share of genes with a value, on average over cells, above which zeros have been filled in; and of the cells that have
the same smallest value, if all zeros have become one."""
SAY_IT = "if they are estimates of counts, --counts_as estimated takes them"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether values are taken for estimates of counts."""

    words: str
    """What they are taken for, or why they are not."""
    is_taken: bool = False
    way_out: str = "or say what they are with --counts_as"


def judge(figures: CellFigures, sample: Sequence[Part], high: float, n_genes: int, precision: Precision) -> Judgement:
    """Return whether values look like estimates of counts.

    Parameters
    ----------
    figures
        What the values of each cell show, as they are.
    sample
        Some whole cells.
    high
        Largest value of all.
    n_genes
        Genes, those without a value among them.
    precision
        How exact the values are.
    """
    cells_C = ~figures.is_whole_C
    if not cells_C.any():
        return Judgement(WHOLE, is_taken=True)
    n_values_C, stored_C, units_C = (
        one_C[cells_C] for one_C in (figures.n_values_C, figures.stored_C, figures.units_C)
    )
    if _is_filled(n_values_C, n_genes) and np.mean(np.isclose(units_C, np.median(units_C))) >= MOST_ALIKE:
        return Judgement(f"zeros have become {np.median(units_C):.4g}, by a transform that cannot be undone")
    values_N = np.concatenate([part.values_N for part in sample]).astype(np.float64)
    if has_whole(sample, precision):
        return Judgement(TAKEN, is_taken=True)
    return (
        _fault_of_values(n_values_C, stored_C, high, n_genes)
        or _fault_of_genes(sample, high, n_genes, precision)
        or _of_depths(n_values_C, stored_C, units_C, values_N, high)
    )


def has_whole(sample: Sequence[Part], precision: Precision) -> bool:
    """Return whether many values are whole numbers, but for cells that have no others.

    The largest value does not count: scaling to a range, and clipping, give it over and over, and it may be whole.
    """
    figures = figures_of(sample, LINEAR, precision)
    values_N = np.concatenate([part.values_N for part in sample]).astype(np.float64)
    values_N = values_N[np.repeat(~figures.is_whole_C, figures.n_values_C)]
    values_N = values_N[values_N < values_N.max(initial=0)]
    return len(values_N) > 0 and bool(np.mean(is_whole(values_N)) >= LEAST_SHARE_WHOLE)


def _fault_of_values(n_values_C: np.ndarray, stored_C: np.ndarray, high: float, n_genes: int) -> Judgement | None:
    """Return what is wrong with how large, or how many, the values of a cell are; None if nothing is."""
    if high <= LARGEST_SCALED:
        return Judgement(f"no value is above {high:.4g}: shares, weights, or values scaled to a range")
    if _is_filled(n_values_C, n_genes):
        return Judgement(
            "nearly every gene has a value in nearly every cell, as after smoothing, imputation or integration"
        )
    mean = float(np.median(stored_C / n_values_C))
    if mean < LEAST_MEAN:
        return Judgement(
            f"the values are no counts: those of a cell's genes are {mean:.2g} on average, where one count is one; "
            "they look like weights (TF-IDF), shares or scaled values"
        )
    return None


def _is_filled(n_values_C: np.ndarray, n_genes: int) -> bool:
    return n_genes >= LEAST_CELLS and bool(n_values_C.mean() > MOST_FILLED * n_genes)


def _fault_of_genes(sample: Sequence[Part], high: float, n_genes: int, precision: Precision) -> Judgement | None:
    """Return what shows that each gene was scaled, or that values were clipped; None if nothing does."""
    by_gene = _by_gene(sample, n_genes)
    genes = figures_of([by_gene], LINEAR, precision)
    for transform in (LINEAR, LN) if high <= LARGEST_LOG else (LINEAR,):
        seen = genes if transform is LINEAR else figures_of([by_gene], transform, precision)
        if _share_scaled(seen) >= LEAST_SHARE_SCALED:
            of = "" if transform is LINEAR else f" {transform.words} of"
            return Judgement(
                f"the values are{of} counts of which each gene was divided by a number of its own, such as its "
                "standard deviation, its length or its mean"
            )
    correlation, _ = _depth(by_gene.row_lengths_C, genes.stored_C)
    n_cells = sum(len(part.row_lengths_C) for part in sample)
    if n_cells >= LEAST_CELLS and correlation is not None and correlation < GENE_CORRELATION:
        return Judgement(
            "the values are no counts: they are smaller in genes of more cells, as scaled values, residuals and TF-IDF "
            "are"
        )
    values, n_each = np.unique(by_gene.values_N, return_counts=True)
    if n_each[-1] >= max(LEAST_CLIPPED, LEAST_SHARE_CLIPPED * n_each.sum(), TIMES_CLIPPED * n_each[-2:][0]):
        return Judgement(
            f"the values are no counts: {n_each[-1]:,} are {values[-1]:.4g}, and none is larger, as after clipping"
        )
    return None


def _by_gene(sample: Sequence[Part], n_genes: int) -> Part:
    """Return the same values with genes for cells."""
    lengths_C = np.concatenate([part.row_lengths_C for part in sample])
    values_N = np.concatenate([part.values_N.astype(np.float64) for part in sample])
    indices_N = np.concatenate([part.indices_N for part in sample])
    starts = np.concatenate([[0], np.cumsum(lengths_C)])
    turned = sparse.csr_matrix((values_N, indices_N, starts), (len(lengths_C), n_genes)).tocsc()
    return Part(turned.data, turned.indices, np.diff(turned.indptr))


def _share_scaled(genes: CellFigures) -> float:
    """Return the share of the genes whose values are multiples of a number that no rounding explains."""
    telling_G = (genes.n_tested_C >= 2) & ~genes.is_whole_C
    if np.count_nonzero(telling_G) < LEAST_CELLS:
        return 0.0
    units_G = genes.units_C[telling_G]
    is_exact_G = genes.deviations_C[telling_G] <= MOST_DEVIATION * genes.n_tested_C[telling_G]
    is_own_G = np.abs(units_G - np.rint(units_G)) > np.minimum(NEAR_DECIMAL, NEAR_DECIMAL * units_G)
    is_own_G &= np.abs(10 * units_G - np.rint(10 * units_G)) > NEAR_WHOLE
    return float(np.mean(genes.has_unit_C[telling_G] & is_exact_G & is_own_G))


def _of_depths(
    n_values_C: np.ndarray, stored_C: np.ndarray, units_C: np.ndarray, values_N: np.ndarray, high: float
) -> Judgement:
    """Return what cells of different depth tell."""
    correlation, slope = _depth(n_values_C, stored_C)
    if correlation is None:
        return Judgement("the values are not whole, and there are too few cells or genes to tell what they are")
    smallest = float(np.nanmedian(units_C))
    if smallest > LARGEST_ONE:
        return Judgement(
            f"the values are no counts: the smallest of a cell is mostly about {smallest:.3g}, where an "
            f"estimate of one count is about one; they look like {_looks_like(high, slope)}"
        )
    if correlation >= DEPTH_CORRELATION:
        return Judgement(TAKEN, is_taken=True)
    filled_C = n_values_C > 0
    totals_C = np.log(stored_C[filled_C])
    if np.ptp(totals_C) <= 2 * EQUAL_DEPTH:
        return Judgement(
            f"the values of each cell add up to nearly the same ({stored_C[filled_C].min():,.4g} to "
            f"{stored_C.max():,.4g}): normalised values, or estimates of counts of equal depth",
            way_out=SAY_IT,
        )
    is_even = totals_C.std() < EVEN_DEPTH and np.log(n_values_C[filled_C]).std() < EVEN_GENES
    if is_even and high > LARGEST_LOG and np.mean(values_N < FRACTION) <= MOST_FRACTIONS:
        return Judgement(f"{TAKEN}, of cells of about the same depth", is_taken=True)
    return Judgement(
        "the values are no counts: they are smaller in cells with more genes, as normalised ones are; they "
        f"look like {_looks_like(high, slope)}",
        way_out=SAY_IT,
    )


def _depth(n_values_C: np.ndarray, sums_C: np.ndarray) -> tuple[float | None, float]:
    """Return how the mean value goes with the number of genes: correlation and slope of their logarithms."""
    filled_C = n_values_C > 0
    genes_C, means_C = np.log(n_values_C[filled_C]), np.log(sums_C[filled_C] / n_values_C[filled_C])
    if len(genes_C) < LEAST_CELLS or np.ptp(genes_C) == 0:
        return None, 0.0
    if np.ptp(means_C) == 0:
        return 0.0, 0.0
    return float(np.corrcoef(genes_C, means_C)[0, 1]), float(np.polyfit(genes_C, means_C, 1)[0])


def _looks_like(high: float, slope: float) -> str:
    """Return words for normalised values of which little is known."""
    normalised = "TPM, FPKM or other normalised values, of which genes may have been taken out"
    of = "logarithms of " if high <= LARGEST_LOG and slope > LINEAR_SLOPE else ""
    return of + normalised
