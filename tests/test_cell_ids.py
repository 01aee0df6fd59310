"""Ids of the same cells in two files: joined where no doubt is left, and else refused with those of both sides."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from helpers import dense, telling_adata, write_csv, write_h5ad, write_text
from hypothesis import given
from hypothesis import strategies as st
from test_runs import Listener, quick

import scnym.disk.cell_ids
from scnym import ConvertSettings, SplitSettings, Store, TrainSettings, convert, evaluate, export, train, verify
from scnym.base.errors import DataError, FormatError
from scnym.base.progress import SilentProgress
from scnym.disk.annotations import join_annotations
from scnym.disk.cell_ids import match_ids
from scnym.runs.inputs import annotated

RANDOM = np.random.default_rng(0)
BARCODES = ["".join(RANDOM.choice([*"ACGT"], 16)) for _ in range(40)]
DASHED = [f"{barcode}-1" for barcode in BARCODES]


def table_of(ids: list[str]) -> pd.DataFrame:
    """A table with a column of ids in reverse order, and one that names each by its place."""
    return pd.DataFrame({"barcode": ids, "kind": [f"kind {k}" for k in range(len(ids))]}).iloc[::-1]


RESPELT = {
    "alike": (DASHED, DASHED),
    "dots of R": ([f"{one}.1" for one in BARCODES], DASHED),
    "X of R": ([f"X10X_P4_{one}" for one in BARCODES], [f"10X_P4_{one}" for one in BARCODES]),
    "X of R before numbers": ([f"X{k}" for k in range(40)], [str(k) for k in range(40)]),
    "no suffix": (DASHED, BARCODES),
    "a suffix": (BARCODES, DASHED),
    "no suffix, dots": ([f"{one}.1" for one in BARCODES], BARCODES),
    "a sample in front": (DASHED, [f"P1_{one}" for one in DASHED]),
    "a sample behind": (DASHED, [f"{one}_P1" for one in DASHED]),
    "a sample in front, no suffix": ([f"P1#{one}" for one in DASHED], BARCODES),
    "velocyto": ([f"P1:{one}x" for one in BARCODES], DASHED),
    "suffixes of several samples": ([f"{one}-{1 + k // 20}" for k, one in enumerate(BARCODES)],
                                    [f"P{k // 20}_{one}-1" for k, one in enumerate(BARCODES)]),
    "case": ([one.lower() for one in DASHED], DASHED),
    "quotes": (DASHED, [f"'{one}'" for one in DASHED]),
    "blanks": (DASHED, [f" {one}" for one in DASHED]),
    "names of files": ([f"SRR{k}" for k in range(40)], [f"SRR{k}.sorted.bam" for k in range(40)]),
    "no barcodes": ([f"c{k}" for k in range(40)], [f"donor.1_c{k}" for k in range(40)]),
    "wells": ([f"A{k}.B000126.3_56_F.1.1" for k in range(40)], [f"A{k}-B000126-3_56_F-1-1" for k in range(40)]),
}  # fmt: skip


@pytest.mark.parametrize("case", RESPELT)
@pytest.mark.parametrize("is_half", [False, True])
def test_ids_that_are_spelt_otherwise_are_joined_to_the_right_rows(case: str, is_half: bool):
    cells, ids = RESPELT[case]
    table = table_of(ids)
    if is_half:
        table = table[::2]
    found = match_ids(pd.Index(cells), table)
    there = set(table["barcode"])
    assert list(found.ids_C) == [one if one in there else None for one in ids]
    assert found.n_found == len(table)
    assert bool(found.remark) == (case != "alike")
    assert not found.fault


DOUBTFUL = {
    "a cell of two samples": (
        ["AAACCTGA-1", "AAACCTGA-2", "GGGACTCA-1"],
        ["AAACCTGA", "GGGACTCA"],
        "'AAACCTGA-1', 'AAACCTGA-2' and 'AAACCTGA' of column 'barcode' are the same",
    ),
    "a row of two samples": (BARCODES, [*DASHED, f"{BARCODES[0]}-2"], "barcode, '"),
    "rows of samples whose names the cells lack": (
        DASHED[:20], [f"P1_{one}" for one in DASHED] + [f"P2_{one}" for one in DASHED[:3]], "are the same"
    ),
    "a few barcodes of another sample": (
        [f"P3_{one}" for one in DASHED],
        [f"P1_{one}" for one in DASHED[:2]] + [f"P1_{one[::-1]}-1" for one in BARCODES[2:]],
        "no more than 2 look alike",
    ),
    "two ids that differ in case": (["c1", "c2", "c3"], ["C1", "C1 -", "C2"], "'c1' and 'C1 -', 'C1'"),
    "numbers": ([f"cell_{k}" for k in range(9)], [f"row_{k}" for k in range(9)], "none is the same"),
    "other cells": (DASHED[:20], DASHED[20:], "none is the same"),
    "no rows": (DASHED, [], "the table has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOUBTFUL)
def test_where_there_is_any_doubt_nothing_is_joined_and_both_sides_are_shown(case: str):
    cells, ids, why = DOUBTFUL[case]
    found = match_ids(pd.Index(cells), table_of(ids))
    assert found.n_found == 0
    assert all(one is None for one in found.ids_C)
    assert found.fault.startswith(f"no column holds the ids of the cells, such as {cells[0]!r}")
    assert why in found.fault
    if ids:
        assert "column 'barcode' holds such as " in found.fault


def random_barcodes(n: int, seed: int) -> list[str]:
    return ["".join(letters) for letters in np.random.default_rng(seed).choice([*"ACGT"], (n, 18))]


@pytest.mark.parametrize("suffix", ["", "-1"])
def test_barcodes_that_another_sample_has_by_chance_join_nothing(suffix: str):
    cells, others = ([f"{one}{suffix}" for one in random_barcodes(1000, seed)] for seed in (1, 2))
    found = match_ids(pd.Index(cells), table_of([*cells[:50], *others]))
    assert found.n_found == 0
    assert all(one is None for one in found.ids_C)
    assert "no more than 50 of 1,000 cells and of 1,050 rows have the same barcode" in found.fault
    assert cells[0] in found.fault
    assert others[-1] in found.fault


@pytest.mark.parametrize(("n_cells", "n_rows"), [(1000, 50), (50, 1000), (1000, 1000)])
def test_a_table_of_some_of_the_cells_and_one_of_an_atlas_are_joined(n_cells: int, n_rows: int):
    barcodes = random_barcodes(1000, 1)
    found = match_ids(pd.Index(barcodes[:n_cells]), table_of(barcodes[:n_rows]))
    assert found.n_found == 50 if n_cells != n_rows else 1000
    named = match_ids(
        pd.Index([f"donor1_{one}" for one in barcodes]),
        table_of([f"donor1_{one}" for one in barcodes[:50] + random_barcodes(900, 3)]),
    )
    assert named.n_found == 50


def test_of_many_ids_a_spelling_is_tried_on_some_first_and_found_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scnym.disk.cell_ids.MOST_TRIED", 60)
    monkeypatch.setattr("scnym.disk.cell_ids.HITS", 1)
    cells, ids = random_barcodes(1000, 1), [f"P1_{one}-1" for one in random_barcodes(1000, 1)]
    assert match_ids(pd.Index(cells), table_of(ids)).n_found == 1000
    tried = list[int]()
    plain = scnym.disk.cell_ids._plain
    monkeypatch.setattr(
        "scnym.disk.cell_ids._plain", lambda names: tried.append(len(names := list(names))) or plain(names)
    )
    assert match_ids(pd.Index(cells), table_of(random_barcodes(1000, 2))).n_found == 0
    assert max(tried) == 60


def test_the_sample_tells_which_of_several_rows_is_meant():
    ids = [f"{sample}_{one}" for sample in ("P1", "P2") for one in DASHED]
    found = match_ids(pd.Index(DASHED), table_of(ids), "P2")
    assert list(found.ids_C) == [f"P2_{one}" for one in DASHED]


def test_ids_that_are_there_as_they_are_go_before_all_others():
    found = match_ids(pd.Index(["a1", "A1", "b-1", "b.1"]), table_of(["a1", "A1", "b-1", "b.1"]))
    assert list(found.ids_C) == ["a1", "A1", "b-1", "b.1"]


@given(
    cells=st.lists(st.text("aAxX1.-_ ", min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
    ids=st.lists(st.text("aAxX1.-_ ", min_size=1, max_size=4), max_size=6, unique=True),
)
def test_no_row_goes_to_two_cells_whatever_the_ids(cells: list[str], ids: list[str]):
    found = match_ids(pd.Index(cells), table_of(ids))
    given_out = [one for one in found.ids_C if one is not None]
    assert len(set(given_out)) == len(given_out) == found.n_found
    assert set(given_out) <= set(ids)
    assert bool(found.fault) == (found.n_found == 0)
    exact = set(cells) & set(ids)
    if 2 * len(exact) >= min(len(cells), len(ids)) > 0:
        assert set(given_out) == exact


def test_an_empty_id_in_the_table_is_nobodys():
    table = pd.DataFrame({"id": ["c1", np.nan, np.nan], "kind": ["B", "x", "y"]})
    joined = join_annotations(pd.DataFrame(index=["c1", "c2"]), table, Path("labels.csv"))
    assert joined.obs["kind"].tolist()[0] == "B"
    assert joined.obs["kind"].isna().tolist() == [False, True]


# From files to stores, models and figures


def cells_in(folder: Path, form: str, ids: list[str], name: str = "cells") -> Path:
    adata = telling_adata(len(ids))
    adata.obs_names = ids
    return {"h5ad": write_h5ad, "csv": write_csv}[form](folder / f"{name}.{form}", adata)


@pytest.mark.parametrize("form", ["h5ad", "csv"])
def test_a_conversion_joins_half_a_table_with_other_ids_and_says_both_once(form: str, tmp_path: Path):
    cells, heard = cells_in(tmp_path, form, [f"{one}.1" for one in BARCODES]), Listener()
    table_of(DASHED)[::2].to_csv(tmp_path / "labels.csv", index=False)
    given = ConvertSettings(training_metadata=str(tmp_path / "labels.csv"), cluster_by="kind")
    store = Store(convert([cells], tmp_path / "a.zarr", given, progress=heard))
    obs = store.obs
    kinds = {f"{one}.1": f"kind {k}" for k, one in enumerate(BARCODES) if k % 2}
    assert {str(name): kind for name, kind in obs["kind"].items() if isinstance(kind, str)} == kinds
    said = [line for line in heard.lines if "labels.csv" in line]
    assert len(said) == 2
    assert (
        f"cells have other ids in labels.csv: '{BARCODES[1]}.1' is '{BARCODES[1]}-1' there: they differ in the"
        in said[0]
    )
    assert "20 of 40 cells have no row in labels.csv, such as " in said[1]


@pytest.mark.parametrize("form", ["h5ad", "csv"])
def test_a_table_of_other_cells_is_refused_with_the_ids_of_both(form: str, tmp_path: Path):
    cells = cells_in(tmp_path, form, DASHED[:20])
    table_of(DASHED[20:]).to_csv(tmp_path / "labels.csv", index=False)
    given = ConvertSettings(training_metadata=str(tmp_path / "labels.csv"))
    with pytest.raises(DataError, match="no column holds the ids of the cells") as caught:
        convert([cells], tmp_path / "a.zarr", given)
    assert all(one in caught.value.message for one in (DASHED[0], DASHED[39], "column 'barcode'"))
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("form", ["h5ad", "csv"])
def test_of_several_files_some_may_have_no_cell_in_the_table_but_not_all(form: str, tmp_path: Path):
    files = [cells_in(tmp_path, form, DASHED[:20], "a"), cells_in(tmp_path, form, DASHED[20:], "b")]
    table, heard = tmp_path / "labels.csv", Listener()
    table_of(DASHED[:20]).to_csv(table, index=False)
    given = ConvertSettings(training_metadata=str(table))
    path = convert(files, tmp_path / "both.zarr", given, progress=heard)
    assert Store(path).obs["kind"].notna().tolist() == [True] * 20 + [False] * 20
    assert Store(path).column("kind").notna().tolist() == [True] * 20 + [False] * 20
    assert anndata.read_h5ad(export(path, tmp_path / "both.h5ad")).obs["kind"].notna().sum() == 20
    assert not verify(path).faults
    assert sum("none of its cells has a row in the table" in line for line in heard.lines) == 1
    table_of([f"other {k}" for k in range(20)]).to_csv(table, index=False)
    with pytest.raises(DataError, match="no column holds the ids of the cells"):
        convert(files, tmp_path / "none.zarr", given)
    settings = quick(
        label_column="kind",
        training_metadata=str(table),
        split=SplitSettings(n_folds=0),
        training=TrainSettings(n_epochs=1),
    )
    with pytest.raises(DataError, match="no column holds the ids of the cells"):
        train(path, tmp_path / "out", settings)
    few = pd.DataFrame({"id": DASHED[:3], "kind": ["B", "B", "T"]})
    few.to_csv(table, index=False)
    heard.lines.clear()
    summary = train(path, tmp_path / "out", settings, progress=heard)
    assert summary.labels.n_unlabelled == 37
    assert any("none of its cells has a row in labels.csv" in line for line in heard.lines)


def test_a_table_with_very_few_of_the_cells_is_asked_about(tmp_path: Path):
    cells, heard = cells_in(tmp_path, "h5ad", DASHED), Listener()
    table_of([*DASHED[:3], *(f"other {k}" for k in range(3))]).to_csv(tmp_path / "labels.csv", index=False)
    convert(
        [cells], tmp_path / "a.zarr", ConvertSettings(training_metadata=str(tmp_path / "labels.csv")), progress=heard
    )
    assert any(
        "37 of 40 cells have no row in labels.csv" in line and "is it the table of" in line for line in heard.lines
    )


@pytest.mark.parametrize("form", ["h5ad", "csv"])
def test_a_library_size_that_the_table_lacks_for_some_cells_is_the_reason_given(form: str, tmp_path: Path):
    cells = cells_in(tmp_path, form, DASHED)
    table_of(DASHED[:39]).assign(total=10**6).to_csv(tmp_path / "labels.csv", index=False)
    given = ConvertSettings(training_metadata=str(tmp_path / "labels.csv"), library_size_column="total")
    with pytest.raises(DataError, match=f"1 of 40 cells have no library size: '{DASHED[39]}'"):
        convert([cells], tmp_path / "a.zarr", given)


def test_made_up_ids_are_never_joined_in_part(tmp_path: Path):
    genes = write_text(tmp_path / "genes.txt", "a\nb\n")
    counts = write_text(tmp_path / "a.csv", "1,2\n3,4\n5,6\n")
    labels = write_text(tmp_path / "labels.csv", "cell,kind\ncell_1,x\ncell_2,y\ncell_3,z\n")
    given = ConvertSettings(input_genes=str(genes), training_metadata=str(labels))
    assert list(Store(convert([counts], tmp_path / "a.zarr", given)).obs["kind"]) == ["x", "y", "z"]


def test_evaluation_joins_ids_that_are_spelt_otherwise_and_shows_both_where_it_cannot(tmp_path: Path):
    heard, kinds = Listener(), ["B", "T"] * 20
    truth = write_text(tmp_path / "truth.csv", "id,cell_type\n" + "".join(
        f"{one},{kind}\n" for one, kind in zip(DASHED, kinds, strict=True)
    ))  # fmt: skip
    lines = [f"X{one}.1,{kind}\n" for one, kind in zip(BARCODES[:30], kinds, strict=False)]
    given = write_text(tmp_path / "given.csv", "cell,cell_type\n" + "".join(lines).replace("X", ""))
    found = evaluate(given, truth, progress=heard)
    assert (found.scores.n_cells, found.scores.accuracy, found.n_without_prediction) == (30, 1.0, 10)
    line = f"cells have other ids in the predictions: '{DASHED[0]}' is '{BARCODES[0]}.1' there"
    assert any(said.startswith(line) for said in heard.lines)
    write_text(given, "cell,cell_type\nx1,B\nx2,T\n")
    with pytest.raises(
        DataError, match=rf"such as 'x1', 'x2', has a label in the truth, .*'{DASHED[0]}'.*none is the same"
    ):
        evaluate(given, truth)


def two_samples(folder: Path) -> list[Path]:
    """Two samples whose cells have the same barcodes."""
    paths = [folder / "A.h5ad", folder / "B.h5ad"]
    for k, path in enumerate(paths):
        adata = telling_adata()
        adata.X = dense(adata) * np.float32(k + 1)
        adata.obs_names = DASHED
        write_h5ad(path, adata)
    return paths


def rows_of(ids: list[str], kind: str) -> list[str]:
    return [f"{one},{kind}{k}" for k, one in enumerate(ids)]


@pytest.mark.parametrize("is_stored_first", [False, True])
@pytest.mark.parametrize(
    "second", [[], rows_of([f"{one}-2" for one in BARCODES], "b")], ids=["one sample", "aggregate"]
)
def test_a_row_that_fits_cells_of_two_samples_is_refused(second: list[str], is_stored_first: bool, tmp_path: Path):
    table = write_text(tmp_path / "labels.csv", "\n".join(["barcode,kind", *rows_of(DASHED, "a"), *second, ""]))
    settings = ConvertSettings(training_metadata=str(table))
    paths, target = two_samples(tmp_path), tmp_path / "cells.zarr"

    def join() -> None:
        if is_stored_first:
            annotated(Store(convert(paths, target)), table, SilentProgress())
        convert(paths, target, settings)

    with pytest.raises(DataError, match=r"fits a cell of 'A\.h5ad' and one of 'B\.h5ad'") as caught:
        join()
    assert "in a column 'sample', as 'B', or in the ids, as 'B:ID'" in str(caught.value)


WITH_SAMPLES = {
    "a column": ("sample,barcode,kind", "{sample},{id},{kind}"),
    "a column of names of files": ("sample,barcode,kind", "{sample}.h5ad,{id},{kind}"),
    "colon": ("barcode,kind", "{sample}:{id},{kind}"),
    "in front": ("barcode,kind", "{sample}_{id},{kind}"),
    "behind": ("barcode,kind", "{id}_{sample},{kind}"),
}


@pytest.mark.parametrize("case", WITH_SAMPLES)
def test_rows_that_name_the_file_without_its_ending_go_to_its_cells(case: str, tmp_path: Path):
    header, form = WITH_SAMPLES[case]
    rows = [form.format(sample=s, id=one, kind=f"{s}{k}") for s in "AB" for k, one in enumerate(DASHED)]
    table = write_text(tmp_path / "labels.csv", "\n".join([header, *rows, ""]))
    store = convert(two_samples(tmp_path), tmp_path / "x.zarr", ConvertSettings(training_metadata=str(table)))
    assert list(Store(store).annotations["kind"]) == [f"{s}{k}" for s in "AB" for k in range(40)]


@pytest.mark.parametrize("is_without_header_of_ids", [False, True])
def test_a_table_that_r_wrote_with_blanks_and_quotes_is_read(is_without_header_of_ids: bool, tmp_path: Path):
    header = '"kind" "place"' if is_without_header_of_ids else '"id" "kind" "place"'
    rows = [f'"{one}" "T cell {k}" {k}' for k, one in enumerate(DASHED)]
    table = write_text(tmp_path / "labels.txt", "\n".join([header, *rows, ""]))
    path = two_samples(tmp_path)[0]
    store = convert([path], tmp_path / "x.zarr", ConvertSettings(training_metadata=str(table)))
    assert list(Store(store).annotations["kind"]) == [f"T cell {k}" for k in range(40)]


def test_a_table_in_latin_1_is_refused_for_what_it_is(tmp_path: Path):
    table = tmp_path / "labels.csv"
    table.write_bytes("barcode,kind\nc0,Purkinjé\n".encode("latin-1"))
    with pytest.raises(FormatError, match=r"not written in UTF-8.*save it as CSV in UTF-8"):
        convert([two_samples(tmp_path)[0]], tmp_path / "x.zarr", ConvertSettings(training_metadata=str(table)))


def test_a_row_that_fits_cells_of_two_inputs_without_barcodes_is_warned_of(tmp_path: Path):
    paths = [write_h5ad(tmp_path / name) for name in ("a.h5ad", "b.h5ad")]
    table = write_text(tmp_path / "labels.csv", "\n".join(["id,kind", *(f"cell {k},k{k}" for k in range(40)), ""]))
    heard = Listener()
    convert(paths, tmp_path / "x.zarr", ConvertSettings(training_metadata=str(table)), progress=heard)
    assert any(
        line.startswith("WARNING: labels.csv: the row of 'cell 0' fits a cell of 'a.h5ad' and one of 'b.h5ad'")
        for line in heard.lines
    )
