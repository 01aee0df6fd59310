"""Text tables: either way round, as R and pandas write them, in bounded memory, with every fault named by its place."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import telling_counts, write_text
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scnym.base.errors import DataError, FormatError, SettingsError
from scnym.base.progress import SILENT
from scnym.disk.formats.csv import CellsByGenesTable, GenesByCellsTable, open_delimited
from scnym.disk.formats.csv_lines import chunks, numbers_in, opened
from scnym.disk.formats.csv_orientation import evidence_of_names
from scnym.disk.formats.source import SeenNames, TurnedSource

ENSEMBL = [f"ENSG{k:011d}" for k in range(12)]
BARCODES = [f"{''.join('ACGT'[(k >> 2 * j) & 3] for j in range(8))}ACGTACGT-1" for k in range(40)]


def table_of(counts: np.ndarray, rows: list[str], columns: list[str], **how: Any) -> str:
    return pd.DataFrame(counts, index=rows, columns=columns).to_csv(**how)


def read(source: Any, max_elements: int = 10**6) -> np.ndarray:
    """All values, cells x genes, whichever way round the table lies."""
    if isinstance(source, GenesByCellsTable):
        counts = np.zeros((len(source.obs), len(source.var)))
        for slab in source.slabs(max_elements):
            assert (slab.values_N != 0).all()
            np.add.at(counts, (slab.cells_N, slab.genes_N), slab.values_N)
        return counts
    return np.vstack([block.counts_CG.toarray() for block in source.blocks(max_elements)])


def cells_of(source: Any) -> list[str]:
    if source.obs is not None:
        return list(source.obs.index)
    return [cell for block in source.blocks(1000) for cell in block.cells]


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x00", exclude_categories=["C", "Z"]), min_size=1)
values = st.one_of(
    st.just(0), st.integers(0, 12), st.integers(0, 2**53), st.floats(0, 1e15, allow_nan=False, allow_subnormal=False)
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    n_rows, n_columns = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rows = draw(st.lists(names, min_size=n_rows, max_size=n_rows, unique=True))
    columns = draw(st.lists(names.map("name {}".format), min_size=n_columns, max_size=n_columns, unique=True))
    numbers = [draw(st.lists(values, min_size=n_columns, max_size=n_columns)) for _ in range(n_rows)]
    return pd.DataFrame(numbers, index=rows, columns=columns)


def test_the_only_gene_may_have_a_semicolon_in_its_name(tmp_path: Path):
    (tmp_path / "x.csv").write_text("a;\nfirst cell,3\n")
    source: Any = open_delimited(tmp_path / "x.csv", orientation="cells_by_genes")
    assert list(source.var.index) == ["a;"]


@settings(max_examples=200, deadline=None)
@given(
    table=tables(),
    turned=st.booleans(),
    quoting=st.sampled_from([0, 1, 2]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz"]),
    one_short=st.booleans(),
    max_elements=st.integers(1, 60),
)
def test_any_table_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    table: pd.DataFrame,
    turned: bool,
    quoting: Any,
    line_end: str,
    suffix: str,
    one_short: bool,
    max_elements: int,
):
    separator = "\t" if suffix == ".tsv" else ","
    text = table.to_csv(sep=separator, quoting=quoting, lineterminator=line_end)
    if one_short:
        text = text[text.index(separator) + 1 :]
    content = (b"\xef\xbb\xbf" if quoting else b"") + text.encode()
    path = tmp_path_factory.mktemp("tables") / f"x{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    source: Any = open_delimited(path, orientation="genes_by_cells" if turned else "cells_by_genes")
    wanted = table.T if turned else table
    # pandas reads 17 digits of a number, zeros in front among them; the store keeps 7.
    np.testing.assert_allclose(read(source, max_elements), wanted.to_numpy(dtype=float), rtol=1e-12)
    assert cells_of(source) == list(wanted.index)
    assert list(source.var.index) == list(wanted.columns)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0123456789.eE+- ,\n", max_size=6), min_size=1, max_size=4))
def test_the_fast_parser_gives_what_python_gives_or_nothing(fields: list[str]):
    text = ",".join(fields) + "\n"
    found = numbers_in(text.encode(), b"," * (len(fields) - 1) + b"\n", 1)
    if found is not None:
        np.testing.assert_allclose(found, [float(field) for field in text.rstrip("\n").split(",")], rtol=1e-15)


@given(st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"")), st.integers(1, 20))
def test_chunks_are_whole_lines_and_lose_nothing(tmp_path_factory: pytest.TempPathFactory, content: bytes, most: int):
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes(b"\n" + content)
    with opened(path) as file:
        found = list(chunks(file, most))
    assert b"".join(found) == b"\n" + content
    assert all(chunk.endswith(b"\n") for chunk in found[:-1])
    assert all(len(chunk) <= most or chunk.count(b"\n", 0, -1) == 0 for chunk in found)


@pytest.mark.parametrize("max_elements", [1, 50, 400, 10**6])
def test_reading_goes_on_at_any_cell_and_at_any_slab(max_elements: int, tmp_path: Path):
    text = table_of(telling_counts(), BARCODES, ENSEMBL).replace("\n", "\n\n\n")
    source = open_delimited(write_text(tmp_path / "cells.csv", text))
    assert isinstance(source, CellsByGenesTable)
    whole = list(source.blocks(max_elements))
    first_cell = 0
    for number, block in enumerate(whole):
        rest = list(source.blocks(max_elements, first_cell))
        assert [list(b.cells) for b in rest] == [list(b.cells) for b in whole[number:]]
        np.testing.assert_array_equal(rest[0].counts_CG.toarray(), block.counts_CG.toarray())
        first_cell += len(block.cells)
    assert cells_of(source)[7:] == [cell for b in source.blocks(max_elements, 7) for cell in b.cells]
    turned = open_delimited(write_text(tmp_path / "genes.csv", table_of(telling_counts().T, ENSEMBL, BARCODES)))
    assert isinstance(turned, GenesByCellsTable)
    slabs = list(turned.slabs(max_elements))
    for number in range(len(slabs) + 1):
        rest = list(turned.slabs(max_elements, number))
        assert [list(s.values_N) for s in rest] == [list(s.values_N) for s in slabs[number:]]
        assert [list(s.genes_N) for s in rest] == [list(s.genes_N) for s in slabs[number:]]
    if max_elements == 400:
        assert 3 < len(slabs) < 12
        assert max(block.counts_CG.shape[0] for block in whole) * 12 <= 400


def test_made_up_ids_go_on_where_reading_goes_on(tmp_path: Path):
    table = write_text(tmp_path / "x.csv", "\n".join(",".join(map(str, row)) for row in telling_counts()) + "\n")
    genes = write_text(tmp_path / "genes.txt", "\n".join(ENSEMBL))
    source: Any = open_delimited(table, genes_path=str(genes))
    blocks = list(source.blocks(10**6, 38))
    assert [list(block.cells) for block in blocks] == [["cell_38", "cell_39"]]
    np.testing.assert_array_equal(blocks[0].counts_CG.toarray(), telling_counts()[38:])
    assert not source.has_cell_ids
    with pytest.raises(SettingsError, match="without names is read as cells x genes"):
        open_delimited(table, genes_path=str(genes), orientation="genes_by_cells")


@pytest.mark.parametrize("form", ["write.csv", "write.table", "no corner"])
def test_tables_are_read_as_r_writes_them(form: str, tmp_path: Path):
    rows = [f'"{gene}",{",".join(map(str, counts))}' for gene, counts in zip(ENSEMBL, telling_counts().T, strict=True)]
    header = ",".join(f'"{cell}"' for cell in BARCODES)
    corner = {"write.csv": '"",', "write.table": "", "no corner": ","}[form]
    path = write_text(tmp_path / "x.csv", "\n".join([corner + header, *rows]) + "\n")
    source: Any = open_delimited(path)
    np.testing.assert_array_equal(read(source), telling_counts())
    assert cells_of(source) == BARCODES
    assert source.remark == ("read as genes x cells, since its first column names genes, such as ENSG00000000000")


def test_content_decides_whether_a_table_is_gzipped_and_what_parts_its_fields(tmp_path: Path):
    text = table_of(telling_counts(), BARCODES, ENSEMBL)
    (tmp_path / "zipped.csv").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "plain.csv.gz").write_text(text)
    (tmp_path / "tabs.csv").write_text(text.replace(",", "\t"))
    (tmp_path / "commas.txt").write_text(text)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read(open_delimited(path)), telling_counts(), path.name)


def test_unusual_but_sound_numbers_are_read(tmp_path: Path):
    path = write_text(tmp_path / "x.csv", 'cell,a,b,c\nx,"1"," 2",3.0\ny,+4,5e0,6 \nz,.5,007,0.0\n')
    np.testing.assert_array_equal(read(open_delimited(path)), [[1, 2, 3], [4, 5, 6], [0.5, 7, 0]])


HUMAN = ["MIR1302-2HG", "FAM138A", "OR4F5", "AL627309.1", "NOC2L", "KLHL17", "HES4", "ISG15", "TNFRSF18", "SDF4"]
MOUSE = ["Xkr4", "Gm1992", "Gm37381", "Rp1", "Sox17", "Mrpl15", "Lypla1", "Tcea1", "Rgs20", "Atp6v1h"]
FLY = ["FBgn0000003", "FBgn0000008", "FBgn0000014"]
CELLS = ["A1", "A10", "B3", "H12"]


@pytest.mark.parametrize(
    ("header", "first_column"),
    [
        (CELLS, [f"{gene}.7" for gene in ENSEMBL]),
        (BARCODES, [f"g{k}" for k in range(50)]),
        (CELLS, HUMAN),
        (CELLS, MOUSE),
        (CELLS, FLY),
        ([f"sample1_{cell}" for cell in BARCODES], HUMAN),
        (CELLS, ["TP53"]),
    ],
)
def test_names_tell_which_way_round_a_table_lies(header: list[str], first_column: list[str]):
    assert lines_by_names(header, first_column) == {"genes"}
    assert lines_by_names(first_column, header) == {"cells"}


def lines_by_names(header: list[str], first_column: list[str]) -> set[str]:
    return {one.lines for one in evidence_of_names("", [], header, first_column)}


@pytest.mark.parametrize(
    ("header", "first_column"),
    [
        ([], []),
        (["1", "2", "9"], ["x", "y", "z"]),
        (HUMAN, MOUSE),
        (BARCODES, [f"sample1_{cell}" for cell in BARCODES]),
        ([f"V{k}" for k in range(50)], [f"x{k}" for k in range(50)]),
        (["CD3", "CD4", "CD8", "CD11", "CD14", "CD16", "CD19", "CD56"], ["x", "y"]),
    ],
)
def test_names_that_do_not_tell_are_no_evidence(header: list[str], first_column: list[str]):
    assert not lines_by_names(header, first_column)
    assert not lines_by_names(first_column, header)


def test_an_orientation_that_is_given_is_not_questioned(tmp_path: Path):
    path = write_text(tmp_path / "x.csv", table_of(telling_counts().T, ENSEMBL, BARCODES))
    source: Any = open_delimited(path, orientation="cells_by_genes")
    np.testing.assert_array_equal(read(source), telling_counts().T)


GENES_BY_CELLS = "id,AAACCTGA-1,AAACCTGC-1\n"
FAULTS = {
    "text": (GENES_BY_CELLS + "TP53,1,2\n\nACTB,1,x\n", DataError, "line 4: 'x' in column AAACCTGC-1 is not a number"),
    "underscore": (GENES_BY_CELLS + "TP53,1,1_0\n", DataError, "line 2: '1_0' in column AAACCTGC-1 is not a number"),
    "negative": (GENES_BY_CELLS + "TP53,-1,2\n", DataError, "line 2: '-1' in column AAACCTGA-1 is negative"),
    "minus infinity": (GENES_BY_CELLS + "TP53,-inf,2\n", DataError, "line 2: '-inf' in column AAACCTGA-1 is infinite"),
    "beyond all numbers": (GENES_BY_CELLS + "TP53,1e999,2\n", DataError, "line 2: '1e999' in column AAACCTGA-1 is inf"),
    "decimal comma": (GENES_BY_CELLS + 'TP53,"1,5",2\n', DataError, "'1,5' in column AAACCTGA-1 is not a number"),
    "ragged lines that make up for each other": (
        GENES_BY_CELLS + "TP53,1,2\nACTB,1,2,3\nGAPDH,1\n",
        FormatError,
        "line 3: 4 fields where 3 were expected",
    ),
    "id without an end": (GENES_BY_CELLS + 'TP53,1,2\n"ACTB,1,2\n', FormatError, "line 3: 1 fields"),
    "blank id": (GENES_BY_CELLS + "TP53,1,2\n ,1,2\n", DataError, "line 3: the line has no id"),
    "cell twice": ("id,AAACCTGA,AAACCTGA\nTP53,1,2\n", DataError, "duplicate cell names 'AAACCTGA'"),
    "decimal commas": ("gene;c1;c2\nTP53;1,5;2\n", DataError, "'1,5' in column c1 is not a number"),
    "text among the counts": (
        "cell,a,b,c\nx,1,u,1\ny,1,v,1\n",
        DataError,
        "'b' holds text among the counts, such as 'u'",
    ),
    "Latin-1 behind the header": (b"cell,a\nc,1\nd,2\ng\xe8ne,1\n", FormatError, "not text in UTF-8"),
    "cell twice, far apart": ("cell,a\n" + "".join(f"c{k % 999},1\n" for k in range(1000)), DataError, "line 1001"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("max_elements", [1, 10**6])
def test_a_fault_is_named_by_line_and_column(fault: str, max_elements: int, tmp_path: Path):
    content, error, words = FAULTS[fault]
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error) as caught:
        read(open_delimited(path), max_elements)
    assert words in caught.value.message
    assert "x.csv" in caught.value.message
    assert caught.value.way_out


@given(st.lists(st.lists(st.integers(0, 300), max_size=30), max_size=10))
def test_a_name_that_stood_before_is_noticed_whenever_that_was(batches: list[list[int]]):
    seen, known = SeenNames(), set()
    for batch in batches:
        own = [name in known or name in batch[:k] for k, name in enumerate(batch)]
        found = seen.first_repeated([f"cell {name}" for name in batch])
        assert found == (own.index(True) if any(own) else None)
        if found is not None:
            return
        known.update(batch)


PEAK_OF_READING = """
import resource, sys
from pathlib import Path
from scnym.disk.formats.csv import open_delimited

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def read(path):
    source = open_delimited(Path(path))
    parts = source.slabs if hasattr(source, "slabs") else source.blocks
    return sum(1 for _ in parts(int(sys.argv[3])))

read(sys.argv[1])
before = peak()
n_parts = read(sys.argv[2])
print(peak() - before, n_parts)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["36,000 genes", "36,000 genes, fractions", "3 genes", "genes x cells"])
def test_memory_does_not_grow_with_the_table(form: str, tmp_path: Path):
    n_columns, n_lines = {"3 genes": (3, 2_000_000)}.get(form, (36_000, 1000))
    first = "ENSG" if form == "genes x cells" else "cell"
    number = "0.6931471805599453" if "fractions" in form else "7"
    line = ",".join(["0", "0", number] * (n_columns // 3))
    header = ",".join(f"{'CELL' if first == 'ENSG' else 'GENE'}_{k}" for k in range(n_columns))
    paths = [tmp_path / "small.csv", tmp_path / "large.csv"]
    for path, n in zip(paths, (3, n_lines), strict=True):
        with path.open("w") as file:
            file.write(f"id,{header}\n")
            file.writelines(f"{first}{k:011d},{line}\n" for k in range(n))
    max_elements = 500_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_READING, *map(str, paths), str(max_elements)],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, n_parts = map(int, done.stdout.split())
    assert n_parts > 20
    known_cells = 16 * n_lines if form == "3 genes" else 0
    assert grown < 64 * max_elements + known_cells + 4 * 10**6


@pytest.mark.parametrize("max_elements", [1, 10**6])
def test_genes_that_no_cell_has_go_through_a_conversion(max_elements: int, tmp_path: Path):
    counts = np.where(np.arange(12) % 3 == 0, telling_counts(), 0)
    source: Any = open_delimited(write_text(tmp_path / "x.csv", table_of(counts.T, ENSEMBL, BARCODES)))
    blocks = list(TurnedSource(source, tmp_path / "turned", SILENT).blocks(max_elements))
    np.testing.assert_array_equal(np.vstack([block.counts_CG.toarray() for block in blocks]), counts)


def test_sparse_blocks_are_sound(tmp_path: Path):
    source: Any = open_delimited(write_text(tmp_path / "x.csv", "cell,a,b\nc,0,0\nd,0,3\ne,0,0\n"))
    (block,) = source.blocks(100)
    assert isinstance(block.counts_CG, sparse.csr_matrix)
    block.counts_CG.check_format(full_check=True)
    assert block.counts_CG.nnz == 1
