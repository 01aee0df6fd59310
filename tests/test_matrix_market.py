"""Matrix Market files are read whatever their lists are called and whichever way they lie, or refused by name."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import telling_counts
from scipy import sparse

from scnym.base.errors import DataError, FormatError, MissingInputError, UserError
from scnym.base.settings import ConvertSettings
from scnym.disk.formats.detect import open_source
from scnym.disk.formats.matrix_market import MatrixMarketSource
from scnym.disk.inputs import gather

N_CELLS, N_GENES = 9, 5
COUNTS = telling_counts(N_CELLS, N_GENES)
IDS = [f"ENSG{k:011d}" for k in range(N_GENES)]
SYMBOLS = ["ACTB", "GAPDH", "TP53", "XKR4", "SOX17"]
BARCODES = [f"{''.join('ACGT'[(k >> 2 * j) & 3] for j in range(8))}ACGTACGT-1" for k in range(N_CELLS)]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def lines(*columns: list[str], separator: str = "\t", header: str = "") -> str:
    return (f"{header}\n" if header else "") + "".join(
        separator.join(fields) + "\n" for fields in zip(*columns, strict=True)
    )


def mtx(counts_RC: np.ndarray = COUNTS.T, field: str = "integer", separator: str = " ") -> str:
    """Write a matrix, rows x columns."""
    entries = sparse.coo_matrix(counts_RC)
    triples = zip(entries.row, entries.col, entries.data, strict=True)
    body = "".join(f"{r + 1}{separator}{c + 1}{separator}{v:.0f}\n" for r, c, v in triples)
    n_rows, n_columns = counts_RC.shape
    return f"%%MatrixMarket matrix coordinate {field} general\n{n_rows} {n_columns} {entries.nnz}\n{body}"


def read(path: Path) -> tuple[np.ndarray, MatrixMarketSource]:
    source = open_source(path, ConvertSettings())
    assert isinstance(source, MatrixMarketSource)
    counts = np.zeros((len(source.obs), len(source.var)))
    for slab in source.slabs(10**6):
        np.add.at(counts, (slab.cells_N, slab.genes_N), slab.values_N)
    return counts, source


def write_10x(folder: Path, *, features: str = "", barcodes: str = "", matrix: str = "", name: str = "genes") -> Path:
    put(folder / "matrix.mtx", matrix or mtx())
    put(folder / f"{name}.tsv", features or lines(IDS, SYMBOLS))
    put(folder / "barcodes.tsv", barcodes or lines(BARCODES))
    return folder


BY_CELLS = mtx(COUNTS)
PARSE_GENES = lines(IDS, SYMBOLS, ["hg38"] * N_GENES, separator=",", header="gene_id,gene_name,genome")
PARSE_CELLS = lines(BARCODES, ["s1"] * N_CELLS, separator=",", header="bc_wells,sample")
TOOLS: dict[str, tuple[dict[str, str], str, str]] = {
    "GEO": (
        {"GSM1_a_matrix.mtx.gz": mtx(), "GSM1_a_barcodes.tsv.gz": lines(BARCODES), "GSM1_a_features.tsv.gz": ""},
        "GSM1_a_matrix.mtx.gz",
        "GSM1_a",
    ),
    "GEO, words in front": (
        {"matrix_a.mtx": mtx(), "barcodes_a.tsv": lines(BARCODES), "genes_a.tsv": lines(IDS, SYMBOLS)},
        "matrix_a.mtx",
        "a",
    ),
    "GEO, a series' features": (
        {"GSM1_a.matrix.mtx": mtx(), "GSM1_a.barcodes.tsv": lines(BARCODES), "GSE9_features.tsv": ""},
        "GSM1_a.matrix.mtx",
        "GSM1_a",
    ),
    "kallisto-bustools": (
        {
            "cells_x_genes.mtx": BY_CELLS,
            "cells_x_genes.barcodes.txt": lines(BARCODES),
            "cells_x_genes.genes.txt": lines(IDS),
            "cells_x_genes.genes.names.txt": lines(SYMBOLS),
        },
        "cells_x_genes.mtx",
        "x",
    ),
    "kallisto-bustools, nuclei": (
        {
            "cells_x_genes.total.mtx": BY_CELLS,
            "cells_x_genes.barcodes.txt": lines(BARCODES),
            "cells_x_genes.genes.txt": lines(IDS),
            "cells_x_genes.genes.names.txt": lines(SYMBOLS),
        },
        "cells_x_genes.total.mtx",
        "total",
    ),
    "alevin-fry": (
        {"quants_mat.mtx": BY_CELLS, "quants_mat_rows.txt": lines(BARCODES), "quants_mat_cols.txt": lines(IDS)},
        "quants_mat.mtx",
        "x",
    ),
    "alevin": (
        {"quants_mat.mtx.gz": BY_CELLS, "quants_mat_rows.txt": lines(BARCODES), "quants_mat_cols.txt": lines(IDS)},
        "quants_mat.mtx.gz",
        "x",
    ),
    "Expression Atlas": (
        {
            "E-MTAB-1.aggregated_filtered_counts.mtx": mtx(),
            "E-MTAB-1.aggregated_filtered_counts.mtx_rows": lines(IDS, IDS),
            "E-MTAB-1.aggregated_filtered_counts.decorated.mtx_rows": lines(IDS, SYMBOLS),
            "E-MTAB-1.aggregated_filtered_counts.mtx_cols": lines(BARCODES),
            "E-MTAB-1.cell_metadata.tsv": "id\tage\n",
        },
        "E-MTAB-1.aggregated_filtered_counts.mtx",
        "E-MTAB-1.aggregated_filtered",
    ),
    "Parse": (
        {"count_matrix.mtx": BY_CELLS, "all_genes.csv": PARSE_GENES, "cell_metadata.csv": PARSE_CELLS},
        "count_matrix.mtx",
        "x",
    ),
    "Parse, of old": (
        {"DGE.mtx": BY_CELLS, "genes.csv": PARSE_GENES, "cell_metadata.csv": PARSE_CELLS},
        "DGE.mtx",
        "x",
    ),
    "Parse on GEO": (
        {
            "NAP_count_matrix.mtx.gz": BY_CELLS,
            "NAP_all_genes.csv.gz": PARSE_GENES,
            "NAP_cell_metadata.csv.gz": PARSE_CELLS,
        },
        "NAP_count_matrix.mtx.gz",
        "NAP",
    ),
    "Drop-seq": (
        {
            "N701.barcode_list.matrix.mtx.gz": mtx(separator="\t"),
            "N701.barcode_list.barcodes.tsv.gz": lines(BARCODES),
            "N701.barcodes.tsv.gz": lines(["other"]),
            "N701.features.tsv.gz": "",
        },
        "N701.barcode_list.matrix.mtx.gz",
        "N701",
    ),
    "STARsolo, several loci": (
        {"UniqueAndMult-EM.mtx": mtx(field="float"), "barcodes.tsv": lines(BARCODES), "features.tsv": ""},
        "UniqueAndMult-EM.mtx",
        "UniqueAndMult-EM",
    ),
    "R": (
        {"counts.mtx": mtx(), "rownames.txt": lines(IDS, SYMBOLS), "colnames.txt": lines(BARCODES)},
        "counts.mtx",
        "x",
    ),
    "Python": (
        {"counts.mtx": BY_CELLS, "rows.txt": lines(BARCODES), "cols.txt": lines(IDS, SYMBOLS)},
        "counts.mtx",
        "x",
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_files_of_every_tool_are_read_under_its_own_names(tool: str, tmp_path: Path):
    files, matrix, sample = TOOLS[tool]
    for name, text in files.items():
        put(tmp_path / "x" / name, text or lines(IDS, SYMBOLS, ["Gene Expression"] * N_GENES))
    counts, source = read(tmp_path / "x" / matrix)
    np.testing.assert_array_equal(counts, COUNTS)
    assert list(source.obs.index) == BARCODES
    assert list(source.var["gene_ids"]) == IDS
    assert list(source.var.index) == (IDS if tool.startswith("alevin") else SYMBOLS)
    (found,) = gather([tmp_path / "x"]).inputs
    assert (found.path.name, found.sample) == (matrix, sample)
    assert gather([tmp_path / "x" / matrix]).inputs[0].sample == sample


def test_a_change_of_a_list_beside_a_matrix_changes_the_input(tmp_path: Path):
    matrix = put(tmp_path / "a_matrix.mtx", mtx())
    put(tmp_path / "a_barcodes.tsv", lines(BARCODES))
    put(tmp_path / "a_genes.tsv", lines(IDS))
    before = gather([matrix]).inputs[0].fingerprint()
    put(tmp_path / "a_genes.tsv", lines(IDS, SYMBOLS))
    assert gather([matrix]).inputs[0].fingerprint() != before


def test_columns_of_a_table_of_cells_become_annotations(tmp_path: Path):
    put(tmp_path / "DGE.mtx", BY_CELLS)
    put(tmp_path / "genes.csv", PARSE_GENES)
    ages = [str(k) for k in range(N_CELLS)]
    header = "bc_wells,sample,tscp_count"
    put(tmp_path / "cell_metadata.csv", lines(BARCODES, ["s1"] * N_CELLS, ages, separator=",", header=header))
    _, source = read(tmp_path / "DGE.mtx")
    assert list(source.obs.columns) == ["sample", "tscp_count"]
    assert list(source.obs["tscp_count"]) == list(range(N_CELLS))


def test_spliced_and_ambiguous_counts_of_alevin_fry_are_added_up(tmp_path: Path):
    unspliced, ambiguous = COUNTS + 1000, COUNTS + 5
    names = [*IDS, *(f"{id_}-U" for id_ in IDS), *(f"{id_}-A" for id_ in IDS)]
    put(tmp_path / "quants_mat.mtx", mtx(np.hstack([COUNTS, unspliced, ambiguous])))
    put(tmp_path / "quants_mat_rows.txt", lines(BARCODES))
    put(tmp_path / "quants_mat_cols.txt", lines(names))
    counts, source = read(tmp_path / "quants_mat.mtx")
    np.testing.assert_array_equal(counts, COUNTS + ambiguous)
    assert list(source.var.index) == IDS
    assert "those of unspliced ones are left out" in (source.remark or "")


def test_the_lengths_of_the_lists_tell_which_way_a_matrix_lies(tmp_path: Path):
    counts, source = read(write_10x(tmp_path / "turned", matrix=BY_CELLS))
    np.testing.assert_array_equal(counts, COUNTS)
    assert source.remark == "read as cells x features, as the lengths of its lists are"


@pytest.mark.parametrize(
    ("files", "cells_first"),
    [
        (("matrix.mtx", "genes.tsv", "barcodes.tsv"), False),
        (("cells_x_genes.mtx", "cells_x_genes.genes.txt", "cells_x_genes.barcodes.txt"), True),
        (("a.mtx", "a_genes.csv", "a_cells.csv"), None),
    ],
)
def test_a_square_matrix_lies_as_the_tool_writes_it_or_as_10x_does_which_is_said(
    files: tuple[str, str, str], cells_first: bool | None, tmp_path: Path
):
    square_GC = COUNTS[:N_GENES].T
    put(tmp_path / files[0], mtx(square_GC))
    put(tmp_path / files[1], lines(IDS))
    put(tmp_path / files[2], lines(BARCODES[:N_GENES]))
    counts, source = read(tmp_path / files[0])
    np.testing.assert_array_equal(counts, square_GC if cells_first else square_GC.T)
    assert ("as many of the one as of the other" in (source.remark or "")) == (cells_first is None)


def quoted(*columns: list[str], separator: str, header: str = "") -> str:
    return lines(*[[f'"{name}"' for name in column] for column in columns], separator=separator, header=header)


NUMBERS = [str(k + 1) for k in range(N_GENES)]
GENE_LISTS = {
    "plain": lines(IDS, SYMBOLS),
    "quoted": quoted(IDS, SYMBOLS, separator="\t"),
    "quoted, by spaces": quoted(IDS, SYMBOLS, separator=" "),
    "with row numbers": quoted(NUMBERS, IDS, SYMBOLS, separator="\t"),
    "by R with a header": quoted(NUMBERS, IDS, SYMBOLS, separator=" ", header='"V1" "V2"'),
    "by R without quotes": "".join(f"{k} {id_} {name}\n" for k, id_, name in zip(NUMBERS, IDS, SYMBOLS, strict=True)),
    "by spaces": lines(IDS, SYMBOLS, separator=" "),
    "by R as CSV": quoted(NUMBERS, IDS, SYMBOLS, separator=",", header='"","gene_id","gene_name"'),
    "by pandas with its index": lines(["0", "1", "2", "3", "4"], IDS, SYMBOLS, header="\tgene_ids\tname"),
    "with a header": lines(IDS, SYMBOLS, header="gene_id\tgene_symbol"),
    "with a header, the other way round": lines(SYMBOLS, IDS, header="Symbol\tEnsembl"),
    "with seven columns": lines(
        IDS, SYMBOLS, NUMBERS, NUMBERS, NUMBERS, ["+"] * N_GENES, header="ENSEMBL\tSYMBOL\tCHR\tSTART\tEND\tSTRAND"
    ),
    "with chromosomes and no header": lines(IDS, SYMBOLS, ["chr1", "1", "X", "2", "3"]),
    "of Macs of old": lines(IDS, SYMBOLS).replace("\n", "\r"),
    "of Windows": lines(IDS, SYMBOLS).replace("\n", "\r\n"),
    "with types": lines(IDS, SYMBOLS, ["Gene Expression"] * N_GENES),
}


@pytest.mark.parametrize("form", GENE_LISTS)
def test_names_of_genes_are_read_without_quotes_headers_and_numbers_of_rows(form: str, tmp_path: Path):
    counts, source = read(write_10x(tmp_path / "x", features=GENE_LISTS[form]))
    np.testing.assert_array_equal(counts, COUNTS)
    assert list(source.var["gene_ids"]) == IDS
    assert list(source.var.index) == SYMBOLS
    has_header = not GENE_LISTS[form].startswith((IDS[0], f'"{IDS[0]}', '"1"\t', "1 "))
    assert ("is taken for a header" in (source.remark or "")) == has_header
    assert ("holds no types of features" in (source.remark or "")) == ("chromosomes" in form)


CELL_LISTS = {
    "quoted": quoted(BARCODES, separator="\t"),
    "by R with a header": quoted([str(k + 1) for k in range(N_CELLS)], BARCODES, separator=" ", header='"x"'),
    "with a header": lines(BARCODES, header="barcode"),
    "with a header of no known word": lines(BARCODES, header="what"),
    "with other columns": lines(BARCODES, ["s1"] * N_CELLS, ["4"] * N_CELLS),
    "of Macs of old": lines(BARCODES).replace("\n", "\r"),
}


@pytest.mark.parametrize("form", CELL_LISTS)
def test_barcodes_are_read_without_quotes_headers_and_numbers_of_rows(form: str, tmp_path: Path):
    counts, source = read(write_10x(tmp_path / "x", barcodes=CELL_LISTS[form]))
    np.testing.assert_array_equal(counts, COUNTS)
    assert list(source.obs.index) == BARCODES


def test_names_may_hold_spaces(tmp_path: Path):
    cells = [f"cell {k}" for k in range(N_CELLS)]
    _, source = read(write_10x(tmp_path / "x", barcodes=lines(cells), features=lines(["HLA A", *SYMBOLS[1:]])))
    assert list(source.obs.index) == cells
    assert source.var.index[0] == "HLA A"


def test_a_gene_without_a_symbol_is_called_by_its_id_and_the_others_by_theirs(tmp_path: Path):
    features = lines(IDS, ["", *SYMBOLS[1:]]).replace(f"{IDS[2]}\t{SYMBOLS[2]}", IDS[2])
    _, source = read(write_10x(tmp_path / "x", features=features))
    assert list(source.var.index) == [IDS[0], SYMBOLS[1], IDS[2], *SYMBOLS[3:]]


def test_ids_that_are_numbers_from_one_up_stay_ids(tmp_path: Path):
    _, source = read(write_10x(tmp_path / "x", features=lines(NUMBERS, SYMBOLS)))
    assert list(source.var["gene_ids"]) == NUMBERS
    assert list(source.var.index) == SYMBOLS


def test_the_binary_matrix_of_alevin_is_refused_by_its_name(tmp_path: Path):
    put(tmp_path / "alevin/quants_mat.gz", "")
    put(tmp_path / "alevin/quants_mat_rows.txt", lines(BARCODES))
    put(tmp_path / "alevin/quants_mat_cols.txt", lines(IDS))
    (found, *_) = gather([tmp_path]).inputs
    with pytest.raises(FormatError, match="a format of salmon's own") as caught:
        open_source(found.path, ConvertSettings())
    assert "--dumpMtx" in caught.value.way_out


def test_features_of_one_column_name_the_genes(tmp_path: Path):
    _, source = read(write_10x(tmp_path / "x", features=lines(SYMBOLS)))
    assert list(source.var.index) == SYMBOLS


def test_types_of_features_are_known_in_a_list_without_symbols(tmp_path: Path):
    types = [*["Gene Expression"] * (N_GENES - 1), "Antibody Capture"]
    counts, source = read(write_10x(tmp_path / "x", features=lines(IDS, types)))
    np.testing.assert_array_equal(counts, COUNTS[:, :-1])
    assert "1 of Antibody Capture" in (source.remark or "")


def lone(folder: Path) -> Path:
    return put(folder / "counts.mtx", mtx())


def peaks(folder: Path) -> Path:
    write_10x(folder)
    (folder / "genes.tsv").unlink()
    put(folder / "peaks.bed", "chr1\t1\t2\n")
    return folder


def two_lists(folder: Path) -> Path:
    put(folder / "a.mtx", mtx())
    put(folder / "a_barcodes.tsv", lines(BARCODES))
    put(folder / "a_features_list.tsv", lines(IDS))
    put(folder / "a_features_table.tsv", lines(IDS))
    return folder / "a.mtx"


FAULTS: dict[str, tuple[Callable[[Path], Path], type[UserError], str, str]] = {
    "no lists": (
        lone,
        MissingInputError,
        "without a list of its genes and its cells",
        "as matrix.mtx.gz, features.tsv",
    ),
    "peaks": (peaks, DataError, "the peaks of peaks.bed, not genes", "gene expression library"),
    "several lists": (two_lists, DataError, "could each name its genes", "one folder"),
    "a list one line too long": (
        lambda d: write_10x(d, barcodes=lines(["GGGGGGGGGGGGGGGG-1", *BARCODES])),
        FormatError,
        "the first line of barcodes.tsv, 'GGGGGGGGGGGGGGGG-1', is no header that is known",
        "take the first line away if it is a header",
    ),
    "pattern": (
        lambda d: write_10x(d, matrix=mtx(field="pattern")),
        FormatError,
        "a general matrix of pattern values",
        "real",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_do_not_make_a_whole_are_refused_with_the_way_out(fault: str, tmp_path: Path):
    make, error, what, way_out = FAULTS[fault]
    with pytest.raises(error) as caught:
        MatrixMarketSource(make(tmp_path / "x"))
    assert what in caught.value.what
    assert way_out in caught.value.way_out


def test_a_list_given_itself_is_refused_with_the_name_of_its_matrix(tmp_path: Path):
    folder = write_10x(tmp_path / "x")
    with pytest.raises(FormatError, match=r"it holds names for matrix\.mtx beside it, no counts") as caught:
        open_source(folder / "barcodes.tsv", ConvertSettings())
    assert str(folder) in caught.value.way_out
