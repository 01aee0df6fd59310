"""What is given for cells and genes is taken if it makes sense, and refused before a count is read if it does not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ln_cpm, telling_adata, telling_counts, write_h5ad
from scipy import sparse

from scnym import Store, StreamDataset, StreamSettings, convert, gene_list, in_order_stream, training_stream
from scnym.base.errors import DataError, SettingsError, UserError
from scnym.disk.store import Dataset
from scnym.feed.genes import map_genes
from scnym.feed.plan import BalancedPlan, InOrderPlan

N_CELLS = 40
CODES = np.arange(N_CELLS) % 4 - 1
CATEGORY = pd.Categorical([["T", "B", "NK", None][code] for code in CODES], categories=["T", "B", "NK"])
SMALL = StreamSettings(batch_size=7, window_rows=16, block_rows=4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("inputs")
    return Store(convert([write_h5ad(folder / "cells.h5ad", telling_adata())], folder / "cells.zarr"))


@pytest.fixture(autouse=True)
def no_reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test of a refusal read counts."""
    if "refused" in request.node.name:
        monkeypatch.setattr(Dataset, "read_rows", lambda *_: pytest.fail("counts are read"))


def with_one(value: Any, dtype: Any = object) -> np.ndarray:
    """The codes with one of them replaced."""
    codes = CODES.astype(dtype)
    codes[17] = value
    return codes


SAME_CODES: dict[str, Any] = {
    "an array": CODES,
    "of 8 bits": CODES.astype(np.int8),
    "whole floats": CODES.astype(np.float32),
    "objects": CODES.astype(object),
    "a list": CODES.tolist(),
    "a tuple": tuple(CODES.tolist()),
    "a Series": pd.Series(CODES, index=[f"cell {k}" for k in range(N_CELLS)]),
    "a nullable Series": pd.Series(CODES, dtype="Int64"),
    "a tensor": torch.from_numpy(CODES),
    "a category": pd.Series(CATEGORY),
    "a Categorical": CATEGORY,
    "its codes": pd.Series(CATEGORY).cat.codes,
}


@pytest.mark.parametrize("kind", SAME_CODES)
def test_codes_are_taken_in_any_form_that_holds_a_whole_number_for_each_cell(store: Store, kind: str):
    codes, genes = SAME_CODES[kind], store.datasets[0].genes
    stream = training_stream(store, codes, genes, SMALL, conditions_C=codes)
    same = training_stream(store, CODES, genes, SMALL, conditions_C=CODES)
    assert stream.identity == same.identity
    for batch in stream:
        assert (batch.labels.dtype, batch.conditions.dtype) == (torch.int64, torch.int64)
        np.testing.assert_array_equal(batch.labels.numpy(), CODES[batch.rows])
        np.testing.assert_array_equal(batch.conditions.numpy(), CODES[batch.rows])
    labels = [batch.labels for batch in in_order_stream(store, np.arange(N_CELLS), genes, SMALL, codes)]
    np.testing.assert_array_equal(torch.cat(labels).numpy(), CODES)


WRONG_CODES: dict[str, tuple[Any, str]] = {
    "shorter": (CODES[:-1], "39 codes for 40 cells; give one for each cell of the store"),
    "longer": ([*CODES, 0], "41 codes for 40 cells; give one for each cell of the store"),
    "none": ([], "0 codes for 40 cells"),
    "names": (["T", "B"] * 20, r"'T' at position 0; give whole numbers; of names their codes.*cat\.codes"),
    "a Series of names": (pd.Series(["T", "B"] * 20), "'T' at position 0; give whole numbers; of names"),
    "NumPy's names": (np.array(["T", "B"] * 20), "'T' at position 0; give whole numbers; of names"),
    "a name": (with_one("T"), "'T' at position 17|'-1' at position 0"),
    "nan": (with_one(np.nan, float), "nan at position 17; give -1 for a cell without a code"),
    "None": (with_one(None), "None at position 17; give -1 for a cell without a code"),
    "NA": (pd.Series(with_one(pd.NA), dtype="Int64"), "(nan|<NA>) at position 17; give -1 for a cell without a code"),
    "masked": (np.ma.masked_equal(np.arange(N_CELLS), 17), "None at position 17; give -1 for a cell without a code"),
    "infinity": (with_one(np.inf, float), "inf at position 17"),
    "a half": (with_one(0.5, float), "0.5 at position 17; give whole numbers"),
    "-2": (with_one(-2, int), "-2 at position 17; give -1 for a cell without a code"),
    "too many classes": (with_one(10**10, int), "10000000000 at position 17; number the classes from 0"),
    "beyond 64 bits": ([2**70] * N_CELLS, ".* at position 0; give whole numbers"),
    "a mask": (CODES > 0, r"True and False are no codes; give numpy\.where\(mask, codes, -1\)"),
    "a category of numbers": (pd.Categorical(CODES * 10), r"a category whose values are numbers.*\.cat\.codes"),
    "a column": (CODES[:, None], r"ndarray of shape \(40, 1\); give a list or an array of numbers"),
    "a table": (pd.DataFrame({"code": CODES}), r"DataFrame of shape \(40, 1\); give a list"),
    "a number": (3, "int; give a list"),
    "a word": ("cell_type", "str; give a list"),
    "a set": ({*range(N_CELLS)}, "set; give a list"),
    "sparse": (sparse.csr_matrix(np.eye(N_CELLS)), "csr_matrix; give a list"),
    "ragged": ([[1], [2, 3]] * 20, "not a list of numbers"),
    "dates": (pd.date_range("2020", periods=N_CELLS), "2020-01-01.* at position 0; give whole numbers"),
    "complex": (CODES * 1j, ".* at position 0; give whole numbers"),
}


@pytest.mark.parametrize("kind", WRONG_CODES)
def test_other_codes_are_refused_with_place_and_way_out(store: Store, kind: str):
    (codes, message), genes = WRONG_CODES[kind], store.datasets[0].genes
    rows = np.arange(N_CELLS)
    plan = InOrderPlan(rows, batch_size=4, window_rows=16)
    calls: dict[str, Any] = {
        "codes_C": lambda: training_stream(store, codes, genes, SMALL),
        "conditions_C": lambda: training_stream(store, CODES, genes, SMALL, conditions_C=codes),
        "labels_C": lambda: in_order_stream(store, rows, genes, SMALL, codes),
    }
    if kind == "too many classes":  # no matter where they are only carried
        calls = {"codes_C": calls["codes_C"]}
    else:
        with pytest.raises(DataError, match=message):
            StreamDataset(store, plan, genes, codes)
    for where, call in calls.items():
        with pytest.raises(DataError, match=f"{where}: {message}"):
            call()


def test_codes_that_are_changed_afterwards_change_no_label(store: Store):
    codes = CODES.astype(np.int8)
    stream = training_stream(store, codes, store.datasets[0].genes, SMALL, conditions_C=codes)
    codes[:] = 2
    for batch in stream:
        np.testing.assert_array_equal(batch.labels.numpy(), CODES[batch.rows])
        np.testing.assert_array_equal(batch.conditions.numpy(), CODES[batch.rows])


SOME_ROWS = [0, 3, 4, 11, 39]
SAME_ROWS: dict[str, Any] = {
    "a list": SOME_ROWS,
    "an array": np.array(SOME_ROWS, np.uint16),
    "whole floats": np.array(SOME_ROWS, float),
    "a Series": pd.Series(SOME_ROWS, index=list("abcde")),
    "a mask": np.isin(np.arange(N_CELLS), SOME_ROWS),
    "a Series of a mask": pd.Series(np.isin(np.arange(N_CELLS), SOME_ROWS), dtype="boolean"),
}


@pytest.mark.parametrize("kind", SAME_ROWS)
def test_rows_are_taken_as_numbers_or_as_a_mask(store: Store, kind: str):
    batches = list(in_order_stream(store, SAME_ROWS[kind], store.datasets[0].genes, SMALL))
    assert np.concatenate([batch.rows for batch in batches]).tolist() == SOME_ROWS
    x = torch.cat([batch.x for batch in batches])
    np.testing.assert_allclose(x.numpy(), ln_cpm(telling_counts())[SOME_ROWS], rtol=1e-5)


def test_no_rows_give_no_batch(store: Store):
    for rows in ([], np.array([]), np.zeros(N_CELLS, bool)):
        assert list(in_order_stream(store, rows, store.datasets[0].genes, SMALL)) == []


WRONG_ROWS: dict[str, tuple[Any, str]] = {
    "too large": ([0, 40], "40 at position 1; the store has 40 cells: give rows from 0 to 39"),
    "negative": ([-1, 3], "-1 at position 0; the store has 40 cells"),
    "unsorted": ([1, 5, 3], r"row 3 after row 5, .*in the order of the store; give numpy\.unique"),
    "repeated": ([1, 3, 3], r"row 3 after row 3, .*once.*; give numpy\.unique"),
    "a short mask": ([True] * 39, "a mask of 39 for 40 cells; give True or False for each cell"),
    "a long mask": (np.ones(41, bool), "a mask of 41 for 40 cells"),
    "a mask of numbers": ((CODES > 0).astype(int), "row 0 after row 0"),
    "names": (["cell 1"], "'cell 1' at position 0; give the numbers of rows"),
    "nan": ([0, np.nan], "nan at position 1; give the numbers of rows"),
    "a half": ([0.5], "0.5 at position 0; give whole numbers"),
    "a slice": (slice(3), "slice; give a list"),
    "nothing": (None, "NoneType; give a list"),
}


@pytest.mark.parametrize("kind", WRONG_ROWS)
def test_other_rows_are_refused_with_place_and_way_out(store: Store, kind: str):
    rows, message = WRONG_ROWS[kind]
    with pytest.raises(DataError, match=f"rows_C: {message}"):
        in_order_stream(store, rows, store.datasets[0].genes, SMALL)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Index, pd.Series, iter])
def test_genes_are_taken_in_any_form_that_has_an_order(store: Store, kind: Any):
    genes = ["gene 7", "other", "gene 2"]
    stream = in_order_stream(store, np.arange(N_CELLS), kind(genes), SMALL)
    assert stream.identity == in_order_stream(store, np.arange(N_CELLS), genes, SMALL).identity
    expected = np.insert(ln_cpm(telling_counts())[:, [7, 2]], 1, 0, axis=1)
    np.testing.assert_allclose(torch.cat([batch.x for batch in stream]).numpy(), expected, rtol=1e-5)


WRONG_GENES: dict[str, tuple[Any, str]] = {
    "repeated": (["gene 1", "gene 0", "gene 1"], r"duplicate gene names 'gene 1'; .*list\(dict\.fromkeys\(genes\)\)"),
    "a word": ("gene 1", r"'gene 1' is not a list of genes; .*scnym\.gene_list"),
    "outer": ("outer", r"'outer' is not a list of genes; .*scnym\.gene_list\(store\.datasets, \"outer\"\)"),
    "a set": ({"gene 1", "gene 2"}, "set is not a list"),
    "a table": (pd.DataFrame({"gene 1": [1]}), "DataFrame is not a list"),
    "nothing": (None, "NoneType is not a list"),
    "numbers": ([0, 1], "0 is not the name of a gene"),
    "a missing name": (["gene 1", np.nan], "nan is not the name of a gene"),
    "bytes": ([b"gene 1"], "b'gene 1' is not the name of a gene"),
}


@pytest.mark.parametrize("kind", WRONG_GENES)
def test_other_gene_lists_are_refused_with_place_and_way_out(store: Store, kind: str):
    genes, message = WRONG_GENES[kind]
    plan = InOrderPlan(np.arange(N_CELLS), batch_size=4, window_rows=16)
    calls: list[Any] = [
        lambda: training_stream(store, CODES, genes, SMALL),
        lambda: in_order_stream(store, np.arange(N_CELLS), genes, SMALL),
        lambda: StreamDataset(store, plan, genes),
        lambda: map_genes(store.datasets[0].genes, genes),
    ]
    if kind == "outer":
        assert gene_list(store.datasets, genes) == store.datasets[0].genes
    elif not isinstance(genes, str):
        calls.append(lambda: gene_list(store.datasets, genes))
    for call in calls:
        with pytest.raises(DataError, match=f"genes: {message}"):
            call()


def test_gene_lists_of_which_the_store_has_none_are_refused_with_the_likely_reason(store: Store):
    for genes, message in (
        ([], "genes: there are no genes; give one or more"),
        (["ENSG00000000003", "ENSG00000000005"], "none of the 2 genes; the store names genes by symbol"),
        (["x"], "none of the 1 genes; the store has 'gene 0'.* check the species"),
    ):
        for stream in (
            lambda genes=genes: training_stream(store, CODES, genes, SMALL),
            lambda genes=genes: in_order_stream(store, [1], genes, SMALL),
        ):
            with pytest.raises(DataError, match=message):
                stream()


def test_a_word_that_is_no_way_to_choose_genes_and_no_sources_are_refused(store: Store):
    for word in ("Inner", "union", "gene 1"):
        with pytest.raises(SettingsError, match=f"genes: {word!r} is not possible; give inner, outer, or a list"):
            gene_list(store.datasets, word)
    for word in ("inner", "outer"):
        with pytest.raises(DataError, match=r"there is no source; give store\.datasets"):
            gene_list([], word)


def test_a_table_of_genes_with_other_rows_is_refused():
    with pytest.raises(DataError, match="var: 1 rows for 2 genes"):
        map_genes(["a", "b"], ["b"], pd.DataFrame({"symbol": ["b"]}))


def test_a_plan_of_another_store_is_refused(store: Store):
    genes = store.datasets[0].genes
    sizes: dict[str, Any] = {"batch_size": 4, "window_rows": 16}
    for plan in (
        InOrderPlan(np.arange(41), **sizes),
        InOrderPlan(np.arange(-1, 20), **sizes),
        BalancedPlan(np.zeros(39, int), class_balance="natural", block_rows=4, seed=0, **sizes),
        BalancedPlan(np.zeros(41, int), class_balance="natural", block_rows=4, seed=0, **sizes),
    ):
        with pytest.raises(DataError, match="plan: the plan is not of a store of 40 cells"):
            StreamDataset(store, plan, genes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "sparse"}, "layout: 'sparse' is not possible; give dense or csr"),
        ({"layout": None}, "layout: None is not possible"),
        ({"normalize_to": 0}, "normalize_to: 0 is not possible; give a library size"),
        ({"normalize_to": float("nan")}, "normalize_to: nan"),
        ({"normalize_to": -1e4}, "normalize_to: -10000.0"),
        ({"normalize_to": "1e4"}, "normalize_to: '1e4'"),
    ],
)
def test_layouts_and_library_sizes_that_are_none_are_refused(store: Store, change: dict[str, Any], message: str):
    for stream in (
        lambda: training_stream(store, CODES, store.datasets[0].genes, SMALL, **change),
        lambda: in_order_stream(store, [1, 2], store.datasets[0].genes, SMALL, **change),
    ):
        with pytest.raises(SettingsError, match=message):
            stream()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1}, "--batch_size: 1 is not possible; give 2 or more"),
        ({"batch_size": 2.5}, "--batch_size: 2.5 is not possible; give a whole number"),
        ({"batch_size": "256"}, "--batch_size: '256' is not possible; give a whole number"),
        ({"batch_size": True}, "--batch_size: True is not possible"),
        ({"window_rows": 1e4}, "--window_rows: 10000.0 is not possible"),
        ({"block_rows": None}, "--block_rows: None is not possible"),
        ({"seed": 0.5}, "--seed: 0.5 is not possible"),
        ({"seed": -1}, "--seed: -1 is not possible; give a whole number from 0 to 4294967295"),
        ({"max_repeat": float("inf")}, "--max_repeat: inf is not possible"),
        ({"max_repeat": float("nan")}, "--max_repeat: nan is not possible"),
        ({"max_repeat": "2"}, "--max_repeat: '2' is not possible"),
        ({"memory_bytes": "1GB"}, "--stream_memory: '1GB' is not possible"),
        ({"memory_bytes": float("inf")}, "--stream_memory: inf is not possible"),
        ({"class_balance": None}, "--class_balance: .*None.* is not possible"),
        ({"class_balance": ["uniform"]}, "--class_balance: .* is not possible"),
    ],
)
def test_settings_of_other_types_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(SettingsError, match=message):
        StreamSettings(**change)


def test_settings_may_be_numbers_of_numpy_and_memory_a_float():
    assert StreamSettings(batch_size=np.int64(7), memory_bytes=1e9, max_repeat=2).batch_size == 7  # type: ignore[arg-type]


def test_epochs_batches_and_workers_that_are_none_are_refused(store: Store):
    stream = training_stream(store, CODES, store.datasets[0].genes, SMALL)
    calls: list[Any] = [
        lambda: stream.set_epoch(-1),
        lambda: stream.set_epoch(0.5),  # type: ignore[arg-type]
        lambda: stream.state_after(0, len(stream) + 1),
        lambda: stream.state_after(0, -1),
        lambda: stream.state_after(-1, 0),
        lambda: stream.epoch(-1),
        lambda: stream.epoch(0, first_batch=-1),
        lambda: stream.epoch(0, worker=2, n_workers=2),
        lambda: stream.epoch(0, worker=0, n_workers=0),
    ]
    for call in calls:
        with pytest.raises(SettingsError):
            call()
    with pytest.raises(UserError, match="39 codes for 40 cells"):
        stream.amplification_if_clustered(CODES[1:])
