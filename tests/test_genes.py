"""Genes find their places whatever their order and spelling, and are never guessed."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnym.disk.store import Dataset
from scnym.feed.genes import gene_list, map_genes, matches_in_words, mismatch_advice

IDS = [f"ENSG{number:011d}" for number in range(1, 7)]
SYMBOLS = ["CD3E", "MS4A1", "LYZ", "NKG7", "PPBP", "CST3"]


def sources(*orders: list[str]) -> list[Dataset]:
    return cast("list[Dataset]", [SimpleNamespace(genes=tuple(order)) for order in orders])


def test_coverage_counts_the_models_genes():
    found = map_genes(["a", "b", "c"], ["c", "x", "a", "y"])
    np.testing.assert_array_equal(found.table_S, [2, -1, 0])
    np.testing.assert_array_equal(found.present_G, [True, False, True, False])
    assert found.coverage == 0.5
    assert found.matched_by == {"name": 2}
    assert (found.is_whole, found.is_monotone) == (False, False)


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


def test_lists_are_made_of_names_to_the_letter():
    assert gene_list(sources(["LYZ", IDS[0]], ["Lyz", f"{IDS[0]}.1"]), "inner") == ()
    assert len(gene_list(sources(["LYZ", IDS[0]], ["Lyz", f"{IDS[0]}.1"]), "outer")) == 4


def test_it_is_said_how_genes_were_matched_unless_all_had_the_same_name():
    assert matches_in_words([map_genes(SYMBOLS, SYMBOLS)]) is None
    some = [map_genes(["CD3E", "Lyz"], SYMBOLS), map_genes(["NKG7"], SYMBOLS)]
    assert matches_in_words(some) == "genes matched by name: 2, name in other case: 1"


def test_it_is_said_why_few_genes_match():
    assert "the data names genes by Ensembl id, the model by symbol" in mismatch_advice(IDS, SYMBOLS)
    assert "upper and lower case" in mismatch_advice(["Cd3e"], ["CD3E"])
    assert "version suffix" in mismatch_advice([f"{gene}.7" for gene in IDS], IDS)
    assert "check the species" in mismatch_advice(["sox10"], ["CD3E"])
