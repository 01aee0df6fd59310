"""Genes find their places whatever their order and spelling, and are never guessed."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from helpers import assert_frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from scnym.disk.store import Dataset
from scnym.feed.checks import matches_in_words, mismatch_advice
from scnym.feed.genes import aliases_of, gene_list, map_datasets, map_genes

IDS = [f"ENSG{number:011d}" for number in range(1, 7)]
SYMBOLS = ["CD3E", "MS4A1", "LYZ", "NKG7", "PPBP", "CST3"]


def sources(*orders: list[str]) -> list[Dataset]:
    return cast("list[Dataset]", [source(order) for order in orders])


def source(genes: list[str], columns: dict[str, Any] | None = None) -> Any:
    """A source, and in columns what else its genes are called."""
    return SimpleNamespace(genes=tuple(genes), var=pd.DataFrame(columns or {}, index=genes))


def test_coverage_counts_the_models_genes():
    found = map_genes(["a", "b", "c"], ["c", "x", "a", "y"])
    np.testing.assert_array_equal(found.table_S, [2, -1, 0])
    np.testing.assert_array_equal(found.present_G, [True, False, True, False])
    assert found.coverage == 0.5
    assert found.matched_by == {"name": 2}
    assert (found.is_whole, found.is_monotone) == (False, False)


def test_a_map_says_whether_it_is_whole_in_order_and_the_same():
    whole, turned, part = (map_genes(genes, ["a", "b", "c"]) for genes in (["a", "b", "c"], ["b", "a"], ["a", "c"]))
    assert (whole.is_whole, whole.is_identity, whole.is_monotone, whole.coverage) == (True, True, True, 1.0)
    assert (turned.is_whole, turned.is_identity, turned.is_monotone) == (True, False, False)
    assert (part.is_whole, part.is_identity, part.is_monotone) == (True, False, True)
    assert map_genes(["a"], []).coverage == 0.0
    assert map_genes(["a"], []).table_S.dtype == np.int32
    assert not map_genes(["x", "a"], ["a"]).is_whole
    assert_frozen(whole)


def test_of_two_columns_that_name_genes_the_one_with_more_of_them_counts_first():
    var = pd.DataFrame({"few": ["B", None, "x"], "many": ["A", "B", "C"]}, index=["i", "j", "k"])
    found = map_genes(["i", "j", "k"], ["A", "B", "C"], var)
    np.testing.assert_array_equal(found.table_S, [0, 1, 2])
    assert found.matched_by == {"var column 'many'": 3}


def test_matches_by_a_column_of_another_source_count_in_both_directions():
    aliases = {"symbol": pd.Series({IDS[0]: "LYZ", IDS[1]: "MS4A1"})}
    found = map_genes([IDS[0], "MS4A1"], ["LYZ", IDS[1]], aliases=aliases)
    np.testing.assert_array_equal(found.table_S, [0, 1])
    assert found.matched_by == {"var column 'symbol' of another source": 2}


def test_versions_of_ensembl_ids_do_not_count_but_dots_in_symbols_do():
    found = map_genes([f"{IDS[0]}.7", IDS[1], "RP11-34P13.7"], [IDS[0], f"{IDS[1]}.3", "RP11-34P13.8"])
    np.testing.assert_array_equal(found.table_S, [0, 1, -1])
    assert found.matched_by == {"name without version": 2}


@pytest.mark.parametrize("turned", [False, True])
def test_a_column_of_var_translates_between_ids_and_symbols(turned: bool):
    names, others = (SYMBOLS, IDS) if turned else (IDS, SYMBOLS)
    var = pd.DataFrame(
        {"chromosome": ["1", "2"] * 3, "length": range(6), "other": pd.Categorical([None, *others[1:]])}, index=names
    )
    found = map_genes(names, others[::-1], var)
    np.testing.assert_array_equal(found.table_S, [-1, 4, 3, 2, 1, 0])
    assert found.matched_by == {"var column 'other'": 5}


def test_case_does_not_count_at_last():
    found = map_genes(["Cd3e", "LYZ", "nkg7"], SYMBOLS)
    np.testing.assert_array_equal(found.table_S, [0, 2, 3])
    assert found.matched_by == {"name": 1, "name in other case": 2}


def test_marks_do_not_count_where_r_or_seurat_has_changed_them():
    model = ["HLA-DRA", "7SK", "RP11-54O7.3", "Y_RNA", "CD3E"]
    found = map_genes(["CD3E", "Y-RNA", "RP11.54O7.3", "X7SK", "HLA.DRA"], model)
    np.testing.assert_array_equal(found.table_S, [4, 3, 2, 1, 0])
    assert found.matched_by == {"name": 1, "name with other marks": 4}
    np.testing.assert_array_equal(map_genes(["A-1", "A.1", "A_1"], ["A:1", "A.1"]).table_S, [-1, 1, -1])


def test_a_gene_that_could_be_two_is_none():
    assert map_genes([f"{IDS[0]}.1", f"{IDS[0]}.2"], [IDS[0]]).coverage == 0
    assert map_genes(["Lyz", "LyZ"], ["LYZ"]).coverage == 0
    assert map_genes(["lyz"], ["LYZ", "Lyz"]).coverage == 0
    twice = pd.DataFrame({"symbol": ["LYZ", "LYZ"]}, index=IDS[:2])
    assert map_genes(IDS[:2], ["LYZ"], twice).coverage == 0


def test_a_rung_leaves_alone_what_those_above_have_matched():
    var = pd.DataFrame({"alias": ["LYZ", "CD3E"]}, index=["CD3E", "other"])
    found = map_genes(["CD3E", "other"], ["CD3E", "LYZ"], var)
    np.testing.assert_array_equal(found.table_S, [0, -1])


names = st.lists(st.sampled_from([*IDS, *(f"{gene}.1" for gene in IDS), *SYMBOLS, "Lyz", "cd3e"]), unique=True)


@given(source=names, model=names, column=st.lists(st.sampled_from([*IDS, *SYMBOLS, None]), min_size=20, max_size=20))
def test_no_two_genes_share_a_place_and_all_that_can_keep_their_own(source, model, column):
    var = pd.DataFrame({"other": pd.Series(column[: len(source)], dtype=object).to_numpy()}, index=source)
    found = map_genes(source, model, var)
    places = found.table_S[found.table_S >= 0]
    assert len(places) == len(set(places)) == sum(found.matched_by.values())
    np.testing.assert_array_equal(np.flatnonzero(found.present_G), np.sort(places))
    for gene in set(source) & set(model):
        assert found.table_S[source.index(gene)] == model.index(gene)


shared_order = st.permutations([f"g{k}" for k in range(12)])
subsets = st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4)


@given(order=shared_order, chosen=subsets, how=st.sampled_from(["inner", "outer"]))
def test_genes_stand_in_an_order_that_suits_all_sources_that_agree(order, chosen, how):
    orders = [[gene for k, gene in enumerate(order) if k in some] for some in chosen]
    genes = gene_list(sources(*orders), how)
    combine = set.union if how == "outer" else set.intersection
    assert set(genes) == combine(*map(set, orders))
    assert len(genes) == len(set(genes))
    assert all(map_genes(mine, genes).is_monotone for mine in orders)
    assert genes == gene_list(sources(*orders), how)


def test_sources_that_disagree_give_the_first_ones_order_and_then_the_rest():
    both = sources(["a", "b", "c"], ["d", "b", "a"])
    assert gene_list(both, "outer") == ("a", "b", "c", "d")
    assert gene_list(both, "inner") == ("a", "b")
    assert gene_list(both, ["x", "a"]) == ("x", "a")


def places(datasets: list[Dataset], genes: tuple[str, ...]) -> list[list[str | None]]:
    """Under which name each gene of each source is streamed."""
    tables = [found.table_S for found in map_datasets(datasets, genes)]
    return [[None if place < 0 else genes[place] for place in table] for table in tables]


def test_versions_and_case_do_not_keep_sources_apart():
    both = sources([f"{IDS[0]}.3", "LYZ", "only"], ["Lyz", f"{IDS[0]}.5", "other"])
    assert set(gene_list(both, "inner")) == {f"{IDS[0]}.3", "LYZ"}
    outer = gene_list(both, "outer")
    assert set(outer) == {f"{IDS[0]}.3", "LYZ", "only", "other"}
    assert places(both, outer) == [[f"{IDS[0]}.3", "LYZ", "only"], ["LYZ", f"{IDS[0]}.3", "other"]]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("named", [0, 1])
def test_symbols_and_ids_meet_by_a_column_of_either_source(turned: bool, named: int):
    names, others = (SYMBOLS, IDS) if turned else (IDS, SYMBOLS)
    columns = [{"other": others}, {"other": names[::-1]}]
    both = [source(genes, columns[k] if k == named else {}) for k, genes in enumerate((names, others[::-1]))]
    assert gene_list(both, "inner") == gene_list(both, "outer") == tuple(names)
    assert places(both, tuple(names)) == [names, names[::-1]]


def test_a_third_source_translates_between_two():
    three = [source(IDS[:3]), source(SYMBOLS[1:4]), source([f"{gene}.9" for gene in IDS], {"symbol": SYMBOLS})]
    assert gene_list(three, "inner") == tuple(IDS[1:3])
    assert places(three, tuple(IDS[1:3]))[1] == [IDS[1], IDS[2], None]
    assert set(gene_list(three, "outer")) == {*IDS[:3], "NKG7", f"{IDS[4]}.9", f"{IDS[5]}.9"}


def test_genes_that_one_source_tells_apart_stay_apart_in_all():
    three = sources(["Lyz"], ["lyZ", "CD3E"], ["Lyz", "LYZ", "cd3e"])
    outer = gene_list(three, "outer")
    assert sorted(outer) == ["CD3E", "LYZ", "Lyz", "lyZ"]
    assert places(three, outer) == [["Lyz"], ["lyZ", "CD3E"], ["Lyz", "LYZ", "CD3E"]]
    assert gene_list(three, "inner") == ()


def test_what_a_source_says_of_its_genes_is_for_the_others():
    one = source(IDS, {"symbol": SYMBOLS})
    assert aliases_of([one]) == {}
    assert aliases_of([one, source(SYMBOLS)])["symbol"].to_dict() == dict(zip(IDS, SYMBOLS, strict=True))


def test_sources_that_disagree_on_a_genes_other_name_translate_nothing():
    three = [
        source(IDS[:2], {"symbol": ["LYZ", "CD3E"]}),
        source(IDS[:2], {"symbol": ["NKG7", "CD3E"]}),
        source(SYMBOLS),
    ]
    assert gene_list(three, "inner") == (IDS[1],)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[list[list[int]], list[Dataset]]:
    """Sources of genes of one universe in one order, each in a spelling of its own; symbols come with their ids."""
    universe = draw(st.permutations(range(6)))
    chosen = draw(st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=4))
    held = [[gene for gene in universe if gene in some] for some in chosen]
    datasets = []
    for number, genes in enumerate(held):
        ids = [IDS[gene] if number == 1 else f"{IDS[gene]}.{number}" for gene in genes]
        symbols = [SYMBOLS[gene] if draw(st.booleans()) else SYMBOLS[gene].title() for gene in genes]
        by_symbol = draw(st.booleans())
        datasets.append(source(symbols, {"gene_id": ids}) if by_symbol else source(ids))
    return held, datasets


@settings(deadline=None)
@given(drawn=spelled())
def test_one_gene_in_many_spellings_is_one_gene_in_an_order_that_suits_all(drawn):
    held, datasets = drawn
    outer, inner = gene_list(datasets, "outer"), gene_list(datasets, "inner")
    assert len(outer) == len(set().union(*held))
    assert len(inner) == len(set(held[0]).intersection(*held))
    assert set(inner) <= set(datasets[0].genes)
    of_gene: dict[int, set[str | None]] = {}
    for genes, names in zip(held, places(datasets, outer), strict=True):
        for gene, name in zip(genes, names, strict=True):
            of_gene.setdefault(gene, set()).add(name)
    assert all(len(names) == 1 and None not in names for names in of_gene.values())
    assert all(found.is_monotone and found.is_whole for found in map_datasets(datasets, outer))
    assert all(found.is_monotone and found.present_G.all() for found in map_datasets(datasets, inner))


anything = st.lists(
    st.tuples(names.filter(len), st.lists(st.sampled_from([*IDS, *SYMBOLS, None]), min_size=20, max_size=20)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(drawn=anything)
def test_however_names_clash_no_gene_is_lost_or_shares_a_place(drawn):
    datasets = [source(genes, {"other": pd.Series(column[: len(genes)], index=genes)}) for genes, column in drawn]
    outer, inner = gene_list(datasets, "outer"), gene_list(datasets, "inner")
    for one, found in zip(datasets, map_datasets(datasets, outer), strict=True):
        assert found.is_whole
        assert len(set(found.table_S)) == len(one.genes)
    assert len(outer) == len(set(outer))
    assert set(outer) <= {gene for one in datasets for gene in one.genes}
    assert set(inner) <= set(outer)
    assert all(found.present_G.all() for found in map_datasets(datasets, inner))


def test_it_is_said_how_genes_were_matched_unless_all_had_the_same_name():
    assert matches_in_words([map_genes(SYMBOLS, SYMBOLS)]) is None
    some = [map_genes(["CD3E", "Lyz"], SYMBOLS), map_genes(["NKG7"], SYMBOLS)]
    many = [map_genes([f"{k}" for k in range(1200)], [f"{k}" for k in range(1200)]), map_genes(["a"], ["A"])]
    assert matches_in_words(many) == "genes matched by name: 1,200, name in other case: 1"
    assert matches_in_words([map_genes(["x"], ["y"])]) is None
    assert matches_in_words(some) == "genes matched by name: 2, name in other case: 1"


def test_it_is_said_why_few_genes_match():
    assert "the data names genes by Ensembl id, the model by symbol" in mismatch_advice(IDS, SYMBOLS)
    assert "upper and lower case" in mismatch_advice(["Cd3e"], ["CD3E"])
    assert "version suffix" in mismatch_advice([f"{gene}.7" for gene in IDS], IDS)
    assert "check the species" in mismatch_advice(["sox10"], ["CD3E"])


def test_advice_names_both_sides_and_the_way_out():
    assert mismatch_advice(IDS, SYMBOLS, source="this store", model="the list") == (
        "this store names genes by Ensembl id, the list by symbol; rename them, or give them a column of symbols"
    )
    assert mismatch_advice(SYMBOLS, IDS).startswith("the data names genes by symbol, the model by Ensembl id; ")
    assert mismatch_advice(["a", "b", "c", "d"], ["w", "x", "y", "z"]) == (
        "the data has 'a', 'b', 'c', the model 'w', 'x', 'y'; check the species"
    )
    versions = mismatch_advice([f"{gene}.7" for gene in IDS], IDS, source="this store")
    assert versions == "names differ in their version suffix (.1, .2); remove it from the genes of this store"
    assert mismatch_advice(["b", "a"], ["c", "a", "e", "b", "d"]) == (
        "the data is a panel of 2 genes: it lacks 'c', 'd', 'e'; give all genes that were measured"
    )


def test_half_the_names_must_be_ensembl_ids_for_all_to_be():
    assert "Ensembl id" not in mismatch_advice([*IDS[:3], *SYMBOLS[:3]], ["x"])
    assert "by Ensembl id" in mismatch_advice([*IDS[:4], *SYMBOLS[:3]], ["x"])
    assert "by Ensembl id" in mismatch_advice([f"ENSMUSG{k:011d}.{k}" for k in range(5000)], ["x"])


def test_a_panel_of_the_models_genes_is_not_taken_for_another_species():
    advice = mismatch_advice(SYMBOLS[:1], SYMBOLS)
    assert "lacks" in advice
    assert SYMBOLS[1] in advice
    assert "species" not in advice


def test_advice_names_what_is_lacking_and_not_what_is_over():
    advice = mismatch_advice(["CD3E", "ZNF1", "AAMP"], ["CD3E", "LYZ", "NKG7"])
    assert advice == "the data lacks 'LYZ', 'NKG7'; give all genes that were measured"


@pytest.mark.parametrize("pair", [("RP11.1", "RP11.2"), ("Lyz", "LYZ")])
def test_names_that_both_sides_tell_apart_are_not_what_keeps_them_apart(pair: tuple[str, str]):
    assert "lacks 'CD3E'" in mismatch_advice([*pair, "GNLY"], [*pair, "CD3E"])
