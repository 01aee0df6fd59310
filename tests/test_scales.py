"""What values are found to be, for many kinds of counts and all that may have been done to them.

C cells, G genes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ln_cpm
from scipy import sparse

from scnym.base.errors import DataError
from scnym.base.schema import LOGARITHMS
from scnym.base.settings import CountsAs
from scnym.disk.parts import Part, PartsInMemory, ValueRange
from scnym.disk.values.library_size import is_likely, library_sizes
from scnym.disk.values.scales import Reading, reading_of
from scnym.disk.values.transforms import TRANSFORMS

Array = np.ndarray
N_PARTS = 3


def counts_of(kind: str, n_cells: int = 120, seed: int = 0) -> Array:
    """Counts as a technology gives them: cells of very different depth, most values of UMIs one, reads far above."""
    random = np.random.default_rng(seed)
    n_genes, depth, spread = {"umis": (400, 600, 1.0), "reads": (300, 60_000, 1.6), "panel": (24, 60, 0.7)}[kind]
    share_G = random.dirichlet(random.gamma(0.4, size=n_genes) + 0.02)
    depth_C1 = depth * np.exp(random.normal(scale=0.6, size=(n_cells, 1)))
    rates_CG = depth_C1 * share_G * np.exp(random.normal(scale=spread, size=(n_cells, n_genes)) - spread**2 / 2)
    counts_CG = random.poisson(rates_CG)
    counts_CG[:, 0] += counts_CG.sum(axis=1) == 0
    counts_CG[:, -1] = 1 + random.integers(2, size=n_cells)  # one count, which nearly every cell has somewhere
    return counts_CG.astype(float)


def normalised(values_CG: Array, total: float = 1e4) -> Array:
    """Every cell brought to one total."""
    return values_CG / np.maximum(values_CG.sum(axis=1, keepdims=True), 1e-9) * total


DO: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "ln": np.log1p,
    "log2": lambda x: np.log2(x + 1),
    "log10": lambda x: np.log10(x + 1),
    "sqrt": np.sqrt,
    "arcsinh": np.arcsinh,
}
SCALED: dict[str, Callable[[Array], Array]] = {
    "counts": lambda x: x,
    "corrected by one factor": lambda x: x * 0.97,
    "CP10k": normalised,
    "CPM": partial(normalised, total=1e6),
    "their median": lambda x: normalised(x, float(np.median(x.sum(axis=1)))),
}
NORMALISED = ("CP10k", "CPM", "their median")


@dataclass(frozen=True)
class Cells:
    """A source, as far as its values do not tell."""

    path: Path
    var: pd.DataFrame


def parts_of(values_CG: Array) -> PartsInMemory:
    """Set aside as a conversion does: 32-bit floats, or whole numbers where all of a part are."""
    parts = PartsInMemory()
    for some_CG in np.array_split(values_CG, N_PARTS):
        matrix = sparse.csr_matrix(some_CG.astype(np.float32))
        is_whole = np.array_equal(matrix.data, np.rint(matrix.data))
        values_N = matrix.data.astype(np.uint32) if is_whole else matrix.data
        parts.append(Part(values_N, matrix.indices, np.diff(matrix.indptr)))
    return parts


def read(values_CG: Array, totals_C: Array | None = None, counts_as: CountsAs = "auto") -> tuple[Reading, Array]:
    """Return what values are found to be, and ln(CPM+1) as the stream computes it."""
    parts = parts_of(values_CG)
    single_CG = values_CG.astype(np.float32)
    values = ValueRange(high=float(single_CG.max()), integral=np.array_equal(single_CG, np.rint(single_CG)))
    var = pd.DataFrame(index=pd.RangeIndex(values_CG.shape[1]))
    reading = reading_of(Cells(Path("cells"), var), parts, values, counts_as)
    obs = pd.DataFrame({"batch": "a"}, index=[f"c{k}" for k in range(len(values_CG))])
    column = None
    if totals_C is not None:
        obs, column = obs.assign(n_counts=totals_C), "n_counts"
    libraries_C = library_sizes(obs, column, reading, parts, Path("cells"))
    stored_CG = np.zeros_like(values_CG)
    stored_CG[values_CG > 0] = np.concatenate([reading.stored(part).values_N for part in parts])
    undone_CG = np.expm1(stored_CG) if reading.scale in LOGARITHMS else stored_CG
    return reading, ln_cpm(undone_CG, libraries_C)


def part_of_genes(values_CG: Array) -> Array:
    """Which genes are left after some were taken out."""
    return np.arange(values_CG.shape[1]) % 5 > 0


@pytest.mark.parametrize("kind", ["umis", "reads", "panel"])
@pytest.mark.parametrize("transform", DO)
@pytest.mark.parametrize("scaled", SCALED)
def test_what_can_be_undone_is_read_as_the_counts_themselves(kind: str, transform: str, scaled: str):
    counts_CG = counts_of(kind)
    reading, found_CG = read(DO[transform](SCALED[scaled](counts_CG)))
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)
    if scaled in NORMALISED:
        assert (reading.scale in LOGARITHMS) == (transform == "ln")
        assert reading.scale != "counts"
    plain = (scaled, transform) in {("counts", "linear"), ("CP10k", "ln"), ("CPM", "ln")}
    assert (reading.remark is None) == plain, reading.remark


@pytest.mark.parametrize("kind", ["umis", "reads"])
@pytest.mark.parametrize("transform", DO)
@pytest.mark.parametrize("scaled", SCALED)
def test_of_some_genes_the_total_counts_make_up_for_the_others(kind: str, transform: str, scaled: str):
    counts_CG = counts_of(kind)
    kept_G = part_of_genes(counts_CG)
    _, found_CG = read(DO[transform](SCALED[scaled](counts_CG))[:, kept_G], counts_CG.sum(axis=1))
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG)[:, kept_G], atol=1e-4)


@pytest.mark.parametrize("transform", DO)
@pytest.mark.parametrize("scaled", NORMALISED)
def test_some_genes_of_normalised_cells_are_refused_without_their_totals(transform: str, scaled: str):
    values_CG = DO[transform](SCALED[scaled](counts_of("umis")))
    words = "counts normalised in each cell, with totals from" if transform == "linear" else TRANSFORMS[transform].words
    with pytest.raises(DataError, match="genes were taken out afterwards, or each cell had a factor") as fault:
        read(values_CG[:, part_of_genes(values_CG)])
    assert words in fault.value.what
    assert "--library_size" in fault.value.way_out


def test_genes_left_out_of_the_total_need_the_column_or_the_word_of_the_user():
    counts_CG = counts_of("umis")
    share_CG = counts_CG / counts_CG.sum(axis=1, keepdims=True)
    high_G = (share_CG > 0.05).any(axis=0)
    values_CG = np.log1p(counts_CG / counts_CG[:, ~high_G].sum(axis=1, keepdims=True) * 1e4)
    with pytest.raises(DataError, match=r"ln\(x\+1\) of counts normalised in each cell"):
        read(values_CG)
    for found_CG in (read(values_CG, counts_CG.sum(axis=1))[1], read(values_CG, counts_as="ln")[1]):
        np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)


def test_a_factor_for_each_cell_needs_the_column_or_the_word_of_the_user():
    counts_CG = counts_of("umis")
    factors_C1 = np.exp(np.random.default_rng(1).normal(scale=0.4, size=(len(counts_CG), 1)))
    told: dict[str, CountsAs] = {"log2": "log2", "linear": "estimated"}
    for transform, counts_as in told.items():
        values_CG = DO[transform](counts_CG / factors_C1 / counts_CG.mean())
        with pytest.raises(DataError, match=f"--counts_as {counts_as}"):
            read(values_CG)
        for found_CG in (read(values_CG, counts_CG.sum(axis=1))[1], read(values_CG, counts_as=counts_as)[1]):
            np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)


@pytest.mark.parametrize("kind", ["umis", "panel"])
def test_a_correction_with_a_factor_for_each_cell_leaves_counts(kind: str):
    counts_CG = counts_of(kind)
    left_C1 = np.random.default_rng(3).uniform(0.8, 1, size=(len(counts_CG), 1))
    reading, found_CG = read(counts_CG * left_C1)
    assert reading.scale == "counts"
    assert "a factor of each cell's own" in reading.words
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)


def test_samples_may_each_have_a_total_of_their_own():
    counts_CG = counts_of("umis")
    halves = np.array_split(counts_CG, 2)
    reading, found_CG = read(np.log1p(np.concatenate([normalised(halves[0], 300), normalised(halves[1], 777)])))
    assert reading.remark is not None
    assert "300 or 777 in each cell" in reading.remark
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)


@pytest.mark.parametrize(("n_digits", "precise"), [(2, 0.05), (3, 0.005), (4, 5e-4)])
def test_rounded_values_are_read_as_well_as_they_can_be(n_digits: int, precise: float):
    counts_CG = counts_of("umis")
    for values_CG in (np.log1p(normalised(counts_CG)), np.log2(normalised(counts_CG, 1e6) + 1)):
        _, found_CG = read(np.round(values_CG, n_digits))
        np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=precise)
    assert read(np.log1p(normalised(counts_CG)).astype(np.float16).astype(float))[0].scale == "ln_cp10k"


@pytest.mark.parametrize("n_cells", [1, 2, 3])
def test_few_cells_are_read_too(n_cells: int):
    counts_CG = counts_of("umis", n_cells)
    for values_CG in (np.log1p(normalised(counts_CG)), np.log1p(normalised(counts_CG, 1e6)), normalised(counts_CG)):
        np.testing.assert_allclose(read(values_CG)[1], ln_cpm(counts_CG), atol=1e-4)


def test_cells_without_counts_stay_empty():
    counts_CG = counts_of("umis")
    counts_CG[::7] = 0
    reading, found_CG = read(np.log1p(normalised(counts_CG, 500)))
    assert reading.total == pytest.approx(500, rel=1e-5)
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-4)


def soup(counts_CG: Array) -> Array:
    """As ambient RNA is subtracted."""
    ambient_G = counts_CG.sum(axis=0) / counts_CG.sum()
    return np.maximum(counts_CG - 0.1 * counts_CG.sum(axis=1, keepdims=True) * ambient_G, 0)


def corrected(counts_CG: Array) -> Array:
    """Each value by a factor of its own."""
    return counts_CG * np.random.default_rng(2).uniform(0.75, 1, counts_CG.shape)


def shared_out(counts_CG: Array) -> Array:
    """Some values in part, as reads of several genes are shared out."""
    random = np.random.default_rng(3)
    return np.where(
        random.random(counts_CG.shape) < 0.3, counts_CG * random.uniform(0.1, 1, counts_CG.shape), counts_CG
    )


def per_length(counts_CG: Array) -> Array:
    """Divided by lengths of genes, in kilobases."""
    return counts_CG / np.random.default_rng(4).lognormal(0.5, 0.7, counts_CG.shape[1])


def fpkm(counts_CG: Array) -> Array:
    return per_length(counts_CG) / counts_CG.sum(axis=1, keepdims=True) * 1e6


def tpm(counts_CG: Array) -> Array:
    return normalised(per_length(counts_CG), 1e6)


@pytest.mark.parametrize("kind", ["umis", "reads", "panel"])
@pytest.mark.parametrize("estimate", [soup, corrected, shared_out])
def test_estimates_of_counts_are_taken_for_counts_and_said_to_be(kind: str, estimate: Callable[[Array], Array]):
    estimates_CG = estimate(counts_of(kind))
    reading, found_CG = read(estimates_CG)
    assert (reading.scale, reading.remark) == ("counts", "not whole numbers: taken for estimates of counts")
    np.testing.assert_allclose(found_CG, ln_cpm(estimates_CG), atol=1e-4)


def test_small_estimates_are_read_as_large_ones_are():
    counts_CG = np.minimum(counts_of("umis"), 18)
    assert read(corrected(counts_CG))[0] == read(corrected(counts_of("umis")))[0]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tpm, "add up to 1,000,000, and are no multiples of one count: TPM"),
        (lambda x: np.log2(tpm(x) + 1), r"log2\(x\+1\) undone, add up to 1,000,000, and are no multiples"),
        (lambda x: np.log2(tpm(x) / 10 + 1), r"log2\(x\+1\) undone, add up to 100,000, and are no multiples"),
        (fpkm, "they look like TPM, FPKM"),
        (lambda x: tpm(x)[:, part_of_genes(x)], "they look like TPM, FPKM"),
        (lambda x: np.log1p(fpkm(x)), "they look like logarithms of TPM, FPKM"),
        (lambda x: np.log2(tpm(x)[:, part_of_genes(x)] + 1), "they look like logarithms of TPM, FPKM"),
        (lambda x: np.log1p(normalised(corrected(x))[:, part_of_genes(x)]), "they look like logarithms"),
        (lambda x: normalised(soup(x)), "add up to 10,000, and are no multiples of one count"),
        (lambda x: 2 * np.sqrt(x + 3 / 8), "zeros have become 1.225"),
        (lambda x: np.sqrt(x) + np.sqrt(x + 1), "zeros have become 1,"),
        (lambda x: normalised(x + 0.1 + 0.1 * corrected(x + 1)), "add up to 10,000, and are no multiples"),
        (lambda x: x + 0.05 * corrected(x + 1) + 0.013, "nearly every gene has a value in nearly every cell"),
    ],
)
def test_what_are_no_counts_is_refused_with_what_it_looks_like(made: Callable[[Array], Array], words: str):
    with pytest.raises(DataError, match=words) as fault:
        read(made(counts_of("umis")))
    assert "--counts_as" in fault.value.way_out


def test_a_user_who_knows_better_is_believed():
    counts_CG = counts_of("umis")
    np.testing.assert_allclose(read(tpm(counts_CG), counts_as="estimated")[1], ln_cpm(tpm(counts_CG)), atol=1e-4)
    reading, found_CG = read(np.log2(tpm(counts_CG) + 1), counts_as="log2")
    np.testing.assert_allclose(found_CG, ln_cpm(tpm(counts_CG)), atol=1e-4)
    assert reading.words == "log2(x+1) of counts, as --counts_as says, undone"
    with pytest.raises(DataError, match=r"value .* is no log10\(x\+1\) of a count"):
        read(fpkm(counts_CG), counts_as="log10")


def by_sd(values_CG: Array) -> Array:
    """Each gene divided by its standard deviation, as sc.pp.scale(zero_center=False) does."""
    sd_G = values_CG.std(axis=0)
    return np.divide(values_CG, sd_G, out=np.zeros_like(values_CG), where=sd_G > 0)


def scaled_to(values_CG: Array, high: float) -> Array:
    """Each gene scaled to a range."""
    return values_CG / np.maximum(values_CG.max(axis=0), 1e-9) * high


def clr_by_gene(counts_CG: Array) -> Array:
    """Centred log-ratio of each gene over cells."""
    return np.log1p(counts_CG / np.exp(np.log1p(counts_CG).mean(axis=0)))


def rarity(counts_CG: Array) -> Array:
    """Logarithm of the share of cells with each gene, inverse."""
    return np.log(1 + len(counts_CG) / np.maximum((counts_CG > 0).sum(axis=0), 1))


def residuals(counts_CG: Array) -> Array:
    """Pearson residuals, clipped at 0 and at the root of the number of cells."""
    mean_CG = counts_CG.sum(axis=1, keepdims=True) * counts_CG.sum(axis=0) / counts_CG.sum()
    mean_CG = np.maximum(mean_CG, 1e-9)
    return np.clip((counts_CG - mean_CG) / np.sqrt(mean_CG + mean_CG**2 / 100), 0, np.sqrt(len(counts_CG)))


OF_GENES = {
    "TF-IDF": (lambda x: normalised(x, 1) * rarity(x), "no value is above 0|on average, where one count is one"),
    "TF-IDF times 10": (
        lambda x: normalised(x, 10) * rarity(x),
        "on average, where one count is one|smaller in cells with more genes",
    ),
    "TF-IDF as logarithm": (
        lambda x: np.log1p(normalised(x, 1e4) / np.maximum(x.mean(axis=0), 1e-9)),
        "smaller in genes of more cells|each gene was divided by",
    ),
    "CLR": (clr_by_gene, r"ln\(x\+1\) of counts of which each gene was divided by a number of its own"),
    "counts by deviation": (by_sd, "the values are counts of which each gene was divided by a number of its own"),
    "counts by length": (per_length, "the values are counts of which each gene was divided by a number of its own"),
    "logarithms by deviation": (lambda x: by_sd(np.log1p(normalised(x))), "smaller in genes of more cells"),
    "clipped logarithms by deviation": (
        lambda x: np.minimum(by_sd(np.log1p(normalised(x))), 10),
        "smaller in genes of more cells",
    ),
    "residuals": (residuals, "smaller in genes of more cells|as after clipping"),
    "ln from 0 to 1": (lambda x: scaled_to(np.log1p(x), 1), "no value is above 1: shares, weights"),
    "ln from 0 to 10": (lambda x: scaled_to(np.log1p(x), 10), "smaller in genes of more cells"),
    "ln of six cells from 0 to 1": (lambda x: scaled_to(np.log1p(x[:6]), 1), "no value is above 1: shares, weights"),
}


@pytest.mark.parametrize("kind", ["umis", "panel"])
@pytest.mark.parametrize("name", OF_GENES)
def test_values_that_were_scaled_for_each_gene_are_refused(name: str, kind: str):
    made, words = OF_GENES[name]
    with pytest.raises(DataError, match=words) as fault:
        read(made(counts_of(kind)))
    assert "--counts_as" in fault.value.way_out


@pytest.mark.parametrize("name", ["CLR", "counts by deviation", "residuals", "ln from 0 to 1"])
def test_reads_that_were_scaled_for_each_gene_are_refused(name: str):
    made, words = OF_GENES[name]
    with pytest.raises(DataError, match=words):
        read(made(counts_of("reads")))


def test_values_of_cells_brought_to_length_one_are_no_roots():
    counts_CG = counts_of("umis")
    with pytest.raises(DataError, match="counts normalised in each cell, with totals from"):
        read(counts_CG / np.sqrt(np.square(counts_CG).sum(axis=1, keepdims=True)))


def decimal(counts_CG: Array) -> Array:
    """Small, and with one digit behind the point."""
    return np.round(np.minimum(counts_CG, 18) * np.random.default_rng(5).uniform(0.6, 1, counts_CG.shape), 1)


def shared_equally(counts_CG: Array) -> Array:
    """Half of the values divided by 2, 3 or 4, as alevin shares molecules out."""
    random = np.random.default_rng(6)
    return np.where(random.random(counts_CG.shape) < 0.5, counts_CG / random.integers(2, 5, counts_CG.shape), counts_CG)


def shared_with_next(counts_CG: Array) -> Array:
    """A part of each value with the next gene, as kallisto shares reads out."""
    part_CG = counts_CG * np.random.default_rng(7).beta(0.5, 0.5, counts_CG.shape)
    return part_CG + np.roll(counts_CG - part_CG, 1, axis=1)


def decontaminated(counts_CG: Array) -> Array:
    """Without a third of each value, more or less, as of cells with much ambient RNA."""
    return counts_CG * (1 - np.random.default_rng(8).beta(2, 4, counts_CG.shape))


@pytest.mark.parametrize("depth", ["as it is", "shallow"])
@pytest.mark.parametrize("kind", ["umis", "panel"])
@pytest.mark.parametrize("estimate", [decimal, shared_equally, shared_with_next, decontaminated])
def test_shallow_and_rounded_estimates_are_taken(kind: str, depth: str, estimate: Callable[[Array], Array]):
    counts_CG = counts_of(kind)
    if depth == "shallow":
        counts_CG = np.random.default_rng(9).binomial(counts_CG.astype(int), 0.3).astype(float)
    reading, _ = read(estimate(counts_CG))
    assert reading.words.startswith("not whole numbers: taken for estimates of counts")


@pytest.mark.parametrize("n_cells", [1, 3, 6])
def test_estimates_of_few_cells_are_taken_if_many_are_whole(n_cells: int):
    assert read(shared_equally(counts_of("umis", n_cells)))[0].scale == "counts"


def bulk(n_samples: int, spread: float, seed: int, n_genes: int = 400) -> Array:
    """Estimated counts of bulk samples, none of them whole."""
    random = np.random.default_rng(seed)
    share_G = random.dirichlet(random.gamma(0.3, size=n_genes) + 0.001)
    depth_S1 = 50_000 * np.exp(random.normal(scale=spread, size=(n_samples, 1)))
    noise_SG = np.exp(random.normal(scale=0.5, size=(n_samples, n_genes)))
    return random.poisson(depth_S1 * normalised(share_G * noise_SG, 1)) * random.uniform(0.8, 1, (n_samples, n_genes))


@pytest.mark.parametrize("n_samples", [12, 24, 48, 96])
@pytest.mark.parametrize("spread", [0.03, 0.05, 0.1, 0.2])
def test_estimated_counts_of_even_depth_are_taken(n_samples: int, spread: float):
    for seed in range(3):
        estimates_SG = bulk(n_samples, spread, seed)
        reading, found_SG = read(estimates_SG)
        assert reading.words.startswith("not whole numbers: taken for estimates of counts")
        np.testing.assert_allclose(found_SG, ln_cpm(estimates_SG), atol=1e-4)


def test_what_even_depth_decided_is_said():
    estimates_SG = bulk(48, 0.0, 1)
    n_genes_S1 = (estimates_SG > 0).sum(axis=1, keepdims=True)
    factors_S1 = (np.median(n_genes_S1) / n_genes_S1) ** 4
    reading, _ = read(normalised(estimates_SG, 50_000) * factors_S1)  # the more genes, the fewer counts
    assert reading.words == "not whole numbers: taken for estimates of counts, of cells of about the same depth"


def test_estimates_of_equal_depth_need_the_word_of_the_user():
    estimates_SG = bulk(24, 0.0, 2)
    equal_SG = normalised(estimates_SG, 45_678) * np.linspace(0.996, 1.004, 24)[:, None]
    with pytest.raises(DataError, match=r"add up to nearly the same \(4\.55e\+04 to|nearly the same") as fault:
        read(equal_SG)
    assert "--counts_as estimated takes them" in fault.value.way_out
    assert read(equal_SG, counts_as="estimated")[0].scale == "counts"


@pytest.mark.parametrize("kind", ["umis", "reads", "panel"])
@pytest.mark.parametrize("total", [1e4, 1e5, 1e6, 4321])
def test_whole_numbers_with_one_total_are_taken_with_a_warning(kind: str, total: float):
    reading, _ = read(np.rint(normalised(counts_of(kind), total)))
    assert reading.scale == "counts"
    assert reading.words.startswith("WARNING: whole numbers, so taken for counts, but the values of each cell add up")
    assert f"about {total:,.0f}"[:8] in reading.words
    assert read(np.rint(normalised(counts_of(kind), total)), counts_as="estimated")[0].remark is None


def test_whole_numbers_of_other_totals_or_few_cells_are_counts_without_a_word():
    for values_CG in (counts_of("umis"), np.rint(normalised(counts_of("umis", 7))), np.ones((20, 30))):
        assert read(values_CG)[0] == Reading(scale="counts")


def test_whole_numbers_are_no_logarithms():
    counts_CG = counts_of("umis")
    for counts_as in ("ln", "log2", "log10", "sqrt", "arcsinh"):
        with pytest.raises(DataError, match="all values are whole numbers, as counts are") as fault:
            read(counts_CG, counts_as=counts_as)
        assert fault.value.mend == {"--counts_as": None}
    assert read(np.minimum(counts_CG, 1), counts_as="log2")[0] == Reading(scale="counts")


def test_cells_of_which_all_are_whole_but_for_rounding_are_counts():
    counts_CG = np.minimum(counts_of("umis"), 1) * 1.0005
    assert read(counts_CG)[0] == Reading(scale="counts", remark="counts; whole but for rounding")


def test_values_that_are_nearly_zero_are_not_whole():
    small_CG = normalised(corrected(counts_of("umis")), 1e-3)
    assert small_CG.max() < 1e-3
    with pytest.raises(DataError, match="no multiples of one count"):
        read(small_CG)
    with pytest.raises(DataError, match="no value is above"):
        read(small_CG[:, part_of_genes(small_CG)])


def test_ln_of_normalised_estimates_is_read_as_before_and_said():
    counts_CG = counts_of("umis")
    reading, found_CG = read(np.log1p(normalised(soup(counts_CG))))
    assert reading.scale == "ln_cp10k"
    assert "no multiples of one count" in reading.words
    np.testing.assert_allclose(found_CG, ln_cpm(soup(counts_CG)), atol=1e-4)


def test_raw_counts_beside_logarithms_are_refused():
    halves = np.array_split(counts_of("umis"), 2)
    with pytest.raises(DataError):
        read(np.concatenate([halves[0], np.log1p(normalised(halves[1]))]))


def test_counts_with_the_noise_of_arithmetic_are_counts():
    counts_CG = counts_of("umis")
    reading, found_CG = read(counts_CG * (1 + 1e-6 * np.random.default_rng(5).normal(size=counts_CG.shape)))
    assert reading.words == "counts; whole but for rounding"
    np.testing.assert_allclose(found_CG, ln_cpm(counts_CG), atol=1e-3)


def test_total_counts_that_cannot_be_true_are_refused():
    counts_CG = counts_of("umis")
    values_CG = np.log1p(normalised(counts_CG))[:, part_of_genes(counts_CG)]
    with pytest.raises(DataError, match=r"library size .* of cell c0 is below the \d+ counts that the file holds"):
        read(values_CG, counts_CG.sum(axis=1) * 0.3)
    with pytest.raises(DataError, match="total counts do not tell their libraries"):
        read(np.log1p(normalised(soup(counts_CG))), counts_CG.sum(axis=1))


def test_names_of_total_counts_are_known():
    usual = "n_counts total_counts nCount_RNA nUMI n_umi n_umis UMIs umi_count library_size libsize LibSize sum total "
    usual += "total_umis n_reads nReads counts total.counts nCount_SCT num_molecules Total.UMIs n_counts_all ncounts"
    others = "n_genes percent_mito batch age nFeature_RNA sizeFactor total_genes total_counts_mt log1p_total_counts"
    others += " n_genes_by_counts pct_counts_mt summary"
    assert [name for name in usual.split() if not is_likely(name)] == []
    assert [name for name in others.split() if is_likely(name)] == []
