"""What a text table says of itself: lines above its header, columns without counts, and which way round it lies."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import telling_counts, write_text

import scnym
from scnym import ConvertSettings, Store, convert
from scnym.base.errors import FormatError, SettingsError
from scnym.disk.annotations import read_table
from scnym.disk.formats.csv import GenesByCellsTable, open_delimited
from scnym.disk.formats.csv_orientation import evidence_of_totals
from scnym.disk.formats.genes import with_named_genes

GENES = [f"ENSG{k:011d}" for k in range(12)]
SYMBOLS = [f"SYM{k}" for k in range(12)]
CELLS = [f"{''.join('ACGT'[(k >> 2 * j) & 3] for j in range(8))}ACGTACGT-1" for k in range(40)]
COUNTS_CG = telling_counts()


def lines_of(names: list[str], counts: np.ndarray, separator: str = ",", *, more: list[list[str]] | None = None) -> str:
    """Lines of counts behind their names, and behind more fields if there are any."""
    fields = [
        [name, *(more[k] if more else []), *map(str, row)]
        for k, (name, row) in enumerate(zip(names, counts, strict=True))
    ]
    return "".join(separator.join(row) + "\n" for row in fields)


def genes_by_cells(separator: str = ",", corner: str = "gene") -> str:
    return separator.join([corner, *CELLS]) + "\n" + lines_of(GENES, COUNTS_CG.T, separator)


def read(path: Path, max_elements: int = 100, **how: Any) -> tuple[Any, np.ndarray, list[str]]:
    """The source, its values, cells x genes, and its cells."""
    source: Any = open_delimited(path, **how)
    if isinstance(source, GenesByCellsTable):
        counts = np.zeros((len(source.obs), len(source.var)))
        for slab in source.slabs(max_elements):
            np.add.at(counts, (slab.cells_N, slab.genes_N), slab.values_N)
        return source, counts, list(source.obs.index)
    blocks = list(source.blocks(max_elements))
    return source, np.vstack([b.counts_CG.toarray() for b in blocks]), [cell for b in blocks for cell in b.cells]


def require_whole(path: Path) -> Any:
    """Check that a table holds the telling counts, every one in its place."""
    source, counts, cells = read(path)
    np.testing.assert_array_equal(counts, COUNTS_CG)
    assert cells == CELLS
    assert list(source.var.index) == GENES
    return source


ABOVE = {
    "BD Rhapsody": ("####################\n## BD Targeted Pipeline, Version 1.8\n####################\n", 3),
    "featureCounts": ('# Program:featureCounts v2.0.1; Command:"featureCounts" "-a" "x.gtf"\n', 1),
    "Drop-seq": ("#DGE\tVERSION:1.1\n#LIBRARY\tINPUT:a.bam\tUEI:b\n\n#COMMAND\tCL:x\n", 3),
    "old Drop-seq": ("@DGE\tVERSION:1.1\n", 1),
    "Matrix Market": ("%%MatrixMarket\n% made by hand\n", 2),
    "GEO": ('!Series_title "a, b"\n!series_matrix_table_begin\n', 2),
    "GCT": ("#1.2\n12,40\n", 2),
    "a title": ("Counts of our cells\n\n", 1),
    "a spreadsheet's title": ("Counts of our cells" + "," * 40 + "\n" + "," * 40 + "\n", 2),
    "Latin-1": ("# 5 \xb5m\n".encode("latin-1"), 1),
}


@pytest.mark.parametrize("form", ABOVE)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_lines_above_the_header_are_passed_over_and_said(form: str, suffix: str, tmp_path: Path):
    above, n_lines = ABOVE[form]
    content = (above if isinstance(above, bytes) else above.encode()) + genes_by_cells().encode()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    remark = require_whole(path).remark
    assert (
        "a line above the header is passed over: '" if n_lines == 1 else "lines above the header are passed"
    ) in remark


def test_a_fault_below_lines_that_are_passed_over_is_named_by_its_line_in_the_file(tmp_path: Path):
    path = write_text(tmp_path / "x.csv", "## a\n\n# b\ngene,c1,c2\n\nActb,1,2\nCd3e,1,x\n")
    with pytest.raises(ValueError, match=r"x.csv, line 7: 'x' in column c2 is not a number"):
        read(path)


def test_a_header_may_bear_a_mark(tmp_path: Path):
    require_whole(write_text(tmp_path / "x.csv", "# of our cells\n" + genes_by_cells(corner="#gene")))


FORMS = {
    "tabs in a csv": genes_by_cells("\t"),
    "semicolons": genes_by_cells(";"),
    "blanks": genes_by_cells(" "),
    "several blanks": genes_by_cells("   ").replace("\n", " \n"),
    "separators at the ends": genes_by_cells().replace("\n", ",,\n"),
    "separators at the ends of lines alone": genes_by_cells().replace("\n", ",\n").replace(",\n", "\n", 1),
    "a separator at the end of the header alone": genes_by_cells().replace("\n", ",\n", 1),
    "lines of separators": genes_by_cells() + "," * 40 + "\n" + "," * 40 + "\n",
    "quoted numbers": genes_by_cells().replace(",", '","').replace("\n", '"\n"').removesuffix('"').join(['"', ""]),
    "line ends of old Macs": genes_by_cells().replace("\n", "\r"),
    "UTF-16": genes_by_cells("\t").encode("utf-16"),
    "UTF-16, line ends of Windows": genes_by_cells("\t").replace("\n", "\r\n").encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + genes_by_cells().encode(),
}
FORMS["R's write.table"] = "\n".join(
    " ".join(f'"{field}"' if not field.isdigit() else field for field in line.split(" "))
    for line in genes_by_cells(" ").removeprefix("gene ").split("\n")[:-1]
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".txt.gz"])
def test_tables_are_read_as_many_programs_write_them(form: str, suffix: str, tmp_path: Path):
    text = FORMS[form]
    content = text if isinstance(text, bytes) else text.encode()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    require_whole(path)


def test_numbers_alone_may_be_parted_by_blanks_below_a_remark(tmp_path: Path):
    np.savetxt(tmp_path / "x.txt", COUNTS_CG, fmt="%d", header="of our cells")
    genes = write_text(tmp_path / "genes.txt", "\n".join(GENES))
    _, counts, cells = read(tmp_path / "x.txt", genes_path=str(genes))
    np.testing.assert_array_equal(counts, COUNTS_CG)
    assert cells[-1] == "cell_39"


def with_gene_columns(names: list[str], more: list[list[str]]) -> str:
    return ",".join(["Geneid", *names, *CELLS]) + "\n" + lines_of(GENES, COUNTS_CG.T, more=more)


@pytest.mark.parametrize("max_elements", [1, 100, 10**6])
def test_columns_about_genes_are_kept_beside_them(max_elements: int, tmp_path: Path):
    names = ["Symbol", "Chr", "Start", "Strand", "Length"]
    more = [[f'"SYM, {k}"', "1;1" if k % 2 else "2", str(k), "+", str(1000 + k)] for k in range(12)]
    path = write_text(tmp_path / "x.csv", with_gene_columns(names, more))
    source, counts, cells = read(path, max_elements)
    np.testing.assert_array_equal(counts, COUNTS_CG)
    assert cells == CELLS
    assert list(source.var.columns) == names
    assert list(source.var["Symbol"]) == [f"SYM, {k}" for k in range(12)]
    assert list(source.var["Length"]) == list(range(1000, 1012))
    assert (
        "columns are kept as annotations, since they hold no counts: 'Symbol', 'Chr', 'Start' and 2 more"
        in source.remark
    )
    slabs = list(source.slabs(max_elements))
    for number in range(len(slabs)):
        rest = list(source.slabs(max_elements, number))
        assert [list(s.values_N) for s in rest] == [list(s.values_N) for s in slabs[number:]]


@pytest.mark.parametrize("max_elements", [1, 100, 10**6])
def test_columns_about_cells_are_kept_beside_them_wherever_they_stand(max_elements: int, tmp_path: Path):
    header = ",".join(["barcode", "n_genes", *GENES, "cluster", "donor"])
    rows = [
        [cell, str(k), *map(str, COUNTS_CG[k]), "NA" if k == 3 else f"B {k % 3}", f"0{k % 2}"]
        for k, cell in enumerate(CELLS)
    ]
    path = write_text(tmp_path / "x.csv", "\n".join([header, *map(",".join, rows)]))
    source, counts, cells = read(path, max_elements)
    np.testing.assert_array_equal(counts, COUNTS_CG)
    assert cells == CELLS
    assert list(source.obs.columns) == ["n_genes", "cluster", "donor"]
    assert list(source.obs["n_genes"]) == list(range(40))
    assert source.obs["cluster"].isna().sum() == 1
    assert list(source.obs["cluster"][:3]) == ["B 0", "B 1", "B 2"]
    assert list(source.obs["donor"][:2]) == ["00", "01"]
    blocks = list(source.blocks(max_elements, 7))
    assert [cell for block in blocks for cell in block.cells] == CELLS[7:]


def test_a_column_beside_the_counts_is_a_label_of_the_store(tmp_path: Path):
    more = [[f"type {k % 3}"] for k in range(40)]
    text = ",".join(["cell", "cell_type", *GENES]) + "\n" + lines_of(CELLS, COUNTS_CG, more=more)
    path = write_text(tmp_path / "x.csv.gz", text)
    store = Store(convert([path], tmp_path / "x.zarr", ConvertSettings(cluster_by="cell_type")))
    labels = dict(zip(store.cell_ids, store.obs["cell_type"], strict=True))
    assert labels == {cell: f"type {k % 3}" for k, cell in enumerate(CELLS)}
    (source,) = scnym.inspect(path).sources
    assert source.columns == {"cell_type": {"type 0": 14, "type 1": 13, "type 2": 13}}
    assert source.remark is not None
    assert source.remark.startswith("read as cells x genes, since ")


def test_genes_that_share_a_symbol_are_named_by_the_column_beside(tmp_path: Path):
    symbols = ["SYM", "SYM", *SYMBOLS[2:]]
    text = ",".join(["gene_name", "gene_id", *CELLS]) + "\n"
    text += lines_of(symbols, COUNTS_CG.T, more=[[gene] for gene in GENES])
    source, counts, _ = read(write_text(tmp_path / "x.csv", text))
    np.testing.assert_array_equal(counts, COUNTS_CG)
    named = with_named_genes(source)
    assert list(named.var.index) == [*GENES[:2], *SYMBOLS[2:]]
    assert list(named.var["gene_id"]) == GENES


@pytest.mark.parametrize("corner", ["", "Unnamed: 0"])
@pytest.mark.parametrize("first", [0, 1])
def test_lines_that_are_only_numbered_are_named_by_the_column_behind(corner: str, first: int, tmp_path: Path):
    numbers = [str(first + k) for k in range(12)]
    text = ",".join([corner, "gene", *CELLS]) + "\n" + lines_of(numbers, COUNTS_CG.T, more=[[gene] for gene in GENES])
    source = require_whole(write_text(tmp_path / "x.csv", text))
    assert "the lines are named by their column 'gene'" in source.remark


def test_cells_may_be_numbered(tmp_path: Path):
    text = "," + ",".join(map(str, range(40))) + "\n" + lines_of(GENES, COUNTS_CG.T)
    _, counts, cells = read(write_text(tmp_path / "x.csv", text))
    np.testing.assert_array_equal(counts, COUNTS_CG)
    assert cells == list(map(str, range(40)))


GENES_OF = {
    "Arabidopsis": ["AT1G01010", "AT4G46649", "ATMG00010"],
    "rice": ["LOC_Os01g01010", "Os01g0100100", "LOC_Os12g44390"],
    "maize": ["Zm00001d027230", "Zm00001eb000010", "GRMZM2G059865"],
    "tomato": ["Solyc00g005000.3.1", "Solyc01g005000.3.1", "Solyc12g100353.1.1"],
    "yeast": ["YAL001C", "YPR204W", "YDL085C-A"],
    "fission yeast": ["SPAC1002.01", "SPBC106.01", "SPCC1020.01c"],
    "Plasmodium": ["PF3D7_0100100", "PF3D7_1478800", "PF3D7_0209300"],
    "E. coli": ["b0001", "b4401", "b2699"],
    "fly": ["CG30056", "flea{}3732", "tRNA:Ser-AGA-2-1", "mt:CoI", "lncRNA:CR43314"],
    "worm": ["kin-18", "ZK596.3", "21ur-5197", "C34B2.3"],
    "zebrafish": ["si:ch211-197g15.7", "zgc:153184", "mt-co1", "slc25a5", "actb2"],
    "frog": ["actb.L", "gapdh.S", "rpl13.L"],
    "axolotl": ["AMEX60DD000011", "AMEX60DD055888", "AMEX60DDU001005"],
    "RefSeq": ["NM_001101.5", "XM_047440001.1", "NR_024540.1"],
    "mixed genomes": ["MOUSE_ACTB", "HUMAN_GAPDH", "hg38_SOX2", "GRCh38_____TBX5"],
    "pairs": ["A1BG|A1BG", "ENSG00000000003|TSPAN6", "TSPAN6_ENSG00000000003", "Actb__chr5"],
    "spikes": ["ERCC-00002", "ERCC-00171", "__no_feature"],
}
CELLS_OF = {
    "barcodes": ["PBMC_1#AAACCTGAGAAGGCCT-1", "s:AAACCTGAGAAGGCCTx", "GCGCGCGGGGAN"],
    "split pools": ["bcAAAC-1", "24_01_17__s1", "01_02_03"],
    "plates": ["P1_A01", "A12_P1", "X1000010011.H12", "HSC-P2-C03.bam"],
    "wells": ["A1", "B7", "H12"],
    "accessions": ["SRR8000001", "ERR1000001_1", "GSM1500000_SC1", "SAMN08000001"],
    "numbered": ["Cell_1", "cell 22", "Barcode3"],
    "numbered by sample": [f"Granuloma1_{k}" for k in (1, 10, 100, 2, 3, 4, 5, 6, 7, 8, 9)],
    "featureCounts": ["align/a/x.bam", "align/b/y.sorted.bam"],
}


@pytest.mark.parametrize("genes", GENES_OF)
def test_genes_of_many_species_are_known_on_either_side(genes: str, tmp_path: Path):
    names, others = GENES_OF[genes], ["u", "v"]
    require_orientation(names, others, tmp_path)


@pytest.mark.parametrize("cells", CELLS_OF)
def test_cells_of_many_techniques_are_known_on_either_side(cells: str, tmp_path: Path):
    require_orientation(["u", "v"], CELLS_OF[cells], tmp_path)


def require_orientation(genes: list[str], cells: list[str], folder: Path) -> None:
    counts = 1 + np.arange(len(genes) * len(cells)).reshape(len(cells), len(genes))
    for name, columns, rows, values in (("a", cells, genes, counts.T), ("b", genes, cells, counts)):
        text = "\t".join(["", *columns]) + "\n" + lines_of(rows, values, "\t")
        source, found, found_cells = read(write_text(folder / f"{name}.tsv", text))
        np.testing.assert_array_equal(found, counts)
        assert found_cells == cells
        assert source.remark.startswith(f"read as {'genes x cells' if name == 'a' else 'cells x genes'}, since ")


@pytest.mark.parametrize(
    ("corner", "lines"),
    [
        *((word, "genes") for word in ("gene", "Geneid", "ENSEMBL", "gene symbol", "#FEATURE")),
        *((word, "cells") for word in ("cell_id", "barcode", "Cell_Index", "sample")),
    ],
)
def test_the_header_tells_where_names_do_not(corner: str, lines: str, tmp_path: Path):
    path = write_text(tmp_path / "x.csv", f"{corner},x,y\nu,1,2\nv,3,4\n")
    _, counts, _ = read(path)
    np.testing.assert_array_equal(counts, [[1, 3], [2, 4]] if lines == "genes" else [[1, 2], [3, 4]])


@pytest.mark.parametrize("corner", ["", "id", "gene/cell", "X"])
def test_where_nothing_tells_the_user_is_asked(corner: str, tmp_path: Path):
    path = write_text(tmp_path / "x.csv", f"{corner},x,y\nu,1,2\nv,3,4\n")
    for job in (open_delimited, scnym.inspect):
        with pytest.raises(SettingsError, match="nothing tells whether its lines are cells or genes") as caught:
            job(path)
        assert "--csv_orientation" in caught.value.way_out
    _, counts, _ = read(path, orientation="genes_by_cells")
    np.testing.assert_array_equal(counts, [[1, 3], [2, 4]])


def test_totals_that_differ_as_those_of_genes_do_tell_where_names_do_not(tmp_path: Path):
    random = np.random.default_rng(0)
    counts_CG = random.poisson(random.gamma(0.5, 6, 200) * random.gamma(9, 1 / 9, 60)[:, None])
    genes, cells = [f"{k}qx" for k in range(200)], [f"{k}zy" for k in range(60)]
    for rows, columns, values, said in (
        (genes, cells, counts_CG.T, "read as genes x cells, since the totals of its lines differ far more"),
        (cells, genes, counts_CG, "read as cells x genes, since the totals of its columns differ far more"),
    ):
        path = write_text(tmp_path / "x.csv", "," + ",".join(columns) + "\n" + lines_of(rows, values))
        source, found, _ = read(path, 10**6)
        np.testing.assert_array_equal(found, counts_CG)
        assert source.remark.startswith(said)


@pytest.mark.parametrize("shape", [(300, 30), (30, 300), (60, 60)])
def test_totals_that_differ_by_chance_tell_nothing(shape: tuple[int, int]):
    for seed in range(20):
        assert evidence_of_totals(np.random.default_rng(seed).poisson(0.2, shape)) is None


@pytest.mark.parametrize(
    "text",
    [
        "AAACCTGA-1,3,1,2\nAAACCTGC-1,0,5,1\n",
        "ENSG00000000003\t177\nENSG00000000005\t0\n__no_feature\t1000\n",
        "ENSG00000000003,TSPAN6,5,3\nENSG00000000005,TNMD,0,1\nENSG00000000419,DPM1,2,2\n",
        "N_unmapped\t12\t12\t12\nN_multimapping\t1\t1\t1\nAT1G01010\t3\t1\t2\n",
        "c0,3,1,2\nc1,0,5,1\n",
        "# of our cells\nActb,3,1,2\nCd3e,0,5,1\n",
    ],
)
def test_a_table_without_a_header_is_refused(text: str, tmp_path: Path):
    path = write_text(tmp_path / ("x.tsv" if "\t" in text else "x.csv"), text)
    with pytest.raises(FormatError, match=r"line [12]: the first line, .*, holds counts: the table has no header"):
        open_delimited(path)


def test_a_table_of_annotations_is_not_taken_for_counts(tmp_path: Path):
    path = write_text(tmp_path / "x.csv", "cell_id,cell_type,batch\nc1,B,1\nc2,T,2\n")
    with pytest.raises(FormatError, match="there are no counts in it, but annotations: 'cell_type', 'batch'") as caught:
        open_delimited(path)
    assert "--training_metadata" in caught.value.way_out


METADATA = {
    "semicolons": "cell;type\nc1;B, naive\nc2;T\n",
    "tabs in a csv": "cell\ttype\nc1\tB, naive\nc2\tT\n",
    "lines of BD Rhapsody": '## made by, BD\n####\ncell,type\nc1,"B, naive"\nc2,T\n',
    "a marked header": '#cell,type\nc1,"B, naive"\nc2,T\n',
    "UTF-16": 'cell,type\nc1,"B, naive"\nc2,T\n'.encode("utf-16"),
}


@pytest.mark.parametrize("form", METADATA)
def test_tables_of_annotations_are_read_as_many_programs_write_them(form: str, tmp_path: Path):
    content = METADATA[form]
    (tmp_path / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(tmp_path / "x.csv", "")
    pd.testing.assert_frame_equal(
        table.rename(columns=lambda name: name.lstrip("#")),
        pd.DataFrame({"cell": ["c1", "c2"], "type": ["B, naive", "T"]}),
    )


def test_a_fault_below_marked_lines_of_annotations_is_named_by_its_line(tmp_path: Path):
    path = write_text(tmp_path / "x.csv", "## a\n##\ncell,type\nc1,B\nc2,T,x\n")
    with pytest.raises(FormatError, match=r"x.csv, line 5: 3 fields where the header has 2"):
        read_table(path, "")


@pytest.mark.parametrize("line", ["c1", "c1,B", "c1,B,1", "c1,B,1,2,3", '"c1",B,1'])
def test_a_line_with_too_few_or_too_many_fields_beside_annotations_is_named(line: str, tmp_path: Path):
    path = write_text(tmp_path / "x.csv", f"cell,cluster,a,b\nc8,B,1,2\nc9,T,1,2\n{line}\n")
    with pytest.raises(FormatError, match=r"x.csv, line 4: \d fields where 4 were expected"):
        read(path)


IDS_OF_CELLS = CELLS[:12]
IN_SYMBOLS = ["CD3E", "CD4", "MS4A1", "LYZ", "NKG7", "GNLY", "PPBP", "FCER1A", "CST3", "FCGR3A", "CD8A", "TP53"]


def beside_counts(
    rows: list[str], columns: list[str], before: list[str], behind: list[str], values: list[str] | None = None
) -> tuple[str, np.ndarray]:
    """A table of counts that tell their place, with columns of numbers, or of some values, on one of its sides."""
    counts = 1 + np.arange(len(rows) * len(columns)).reshape(len(rows), len(columns))
    values = values or [str(7.25 + k) for k in range(len(rows))]
    lines = [
        [row, *[values[k % len(values)]] * len(before), *map(str, counts[k]), *[values[k % len(values)]] * len(behind)]
        for k, row in enumerate(rows)
    ]
    return "\n".join(map(",".join, [["", *before, *columns, *behind], *lines])) + "\n", counts


MEASURES_OF_GENES = "total_count n_cells GeneLen gc Exons Mean rowMeans pval rank tx_len count whatever"


@pytest.mark.parametrize("genes", [GENES, IN_SYMBOLS], ids=["ids", "symbols"])
@pytest.mark.parametrize("name", MEASURES_OF_GENES.split())
def test_a_column_of_numbers_about_genes_is_no_cell(name: str, genes: list[str], tmp_path: Path):
    for before, behind in (([name], []), ([], [name])):
        text, counts_GC = beside_counts(genes, IDS_OF_CELLS, before, behind)
        source, counts, cells = read(write_text(tmp_path / "x.csv", text))
        np.testing.assert_array_equal(counts, counts_GC.T)
        assert cells == IDS_OF_CELLS
        assert list(source.var.columns) == [name]
        assert f"annotation, since it holds no counts: {name!r}" in source.remark


MEASURES_OF_CELLS = """
RNA_snn_res.0.8 nCount_Spatial log1p_total_counts doublet_scores pseudotime total_umi reads umis x,y PC_1 UMAP_1 class
percent.mt pct_counts_mt n_genes_by_counts S.Score seurat_clusters TotalCounts
"""


@pytest.mark.parametrize("genes", [GENES, IN_SYMBOLS], ids=["ids", "symbols"])
@pytest.mark.parametrize("name", MEASURES_OF_CELLS.split())
def test_a_column_of_numbers_about_cells_is_no_gene(name: str, genes: list[str], tmp_path: Path):
    names = name.split(",")
    for before, behind in ((names, []), ([], names)):
        text, counts_CG = beside_counts(IDS_OF_CELLS, genes, before, behind)
        source, counts, cells = read(write_text(tmp_path / "x.csv", text))
        np.testing.assert_array_equal(counts, counts_CG)
        assert cells == IDS_OF_CELLS
        assert list(source.obs.columns) == names


def test_genes_that_are_called_unlike_all_others_stay_genes(tmp_path: Path):
    others = ["EGFP", "tdTomato", "Cre", "ERCC-00002", "GC"]
    for genes in ([*GENES, *others], [*others, *GENES], [*IN_SYMBOLS, "GC"], ["MAX", *IN_SYMBOLS]):
        text, counts_CG = beside_counts(IDS_OF_CELLS, genes, [], [])
        source, counts, _ = read(write_text(tmp_path / "x.csv", text))
        np.testing.assert_array_equal(counts, counts_CG)
        assert list(source.var.index) == genes


@pytest.mark.parametrize("values", [["1", "2", "ctrl"], ["", ""], ["NA", "NA"]])
def test_an_edge_column_that_holds_not_only_numbers_is_an_annotation(values: list[str], tmp_path: Path):
    for before, behind in ((["arm"], []), ([], ["arm"])):
        text, counts_CG = beside_counts(IDS_OF_CELLS, IN_SYMBOLS, before, behind, values)
        source, counts, _ = read(write_text(tmp_path / "x.csv", text))
        np.testing.assert_array_equal(counts, counts_CG)
        assert list(source.obs.columns) == ["arm"]


FAMILIES = ("Olfr{}", "Ccl{}", "Wnt{}", "Krt{}", "Sox{}", "unc-{}", "Vmn1r{}", "CXCL{}")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cells", [IDS_OF_CELLS, ["u", "v", "w"]], ids=["barcodes", "unknown"])
def test_a_panel_of_one_family_is_not_taken_for_numbered_cells(family: str, cells: list[str], tmp_path: Path):
    require_orientation([family.format(k) for k in range(1, 30)], cells, tmp_path)


def test_a_panel_of_chemokines_lies_as_it_does(tmp_path: Path):
    names = [f"{stem}{k}" for stem, n in (("Ccl", 20), ("Cxcl", 14), ("Ccr", 9), ("Cxcr", 6)) for k in range(1, n + 1)]
    require_orientation(names, IDS_OF_CELLS, tmp_path)


def test_numbered_cells_beside_genes_are_cells_though_worms_have_such_genes(tmp_path: Path):
    require_orientation(["Actb", "Cd3e", "Xkr4"], [f"ctl-{k}" for k in range(1, 30)], tmp_path)


@pytest.mark.parametrize("stem", ["Foo", "tumor"])
def test_numbers_behind_an_unknown_word_tell_nothing(stem: str, tmp_path: Path):
    text, _ = beside_counts([f"{stem}{k}" for k in range(1, 12)], ["u", "v", "w"], [], [])
    with pytest.raises(SettingsError, match="nothing tells whether its lines are cells or genes"):
        read(write_text(tmp_path / "x.csv", text))


@pytest.mark.parametrize("name", ["TotalCounts", "nCounts", "total reads", "sum", "n_UMI"])
def test_totals_do_not_tell_what_lines_are(name: str, tmp_path: Path):
    for rows, columns, lines in ((GENES, IDS_OF_CELLS, "genes"), (IDS_OF_CELLS, GENES, "cells")):
        text, _ = beside_counts(rows, columns, [name], [])
        source, _, _ = read(write_text(tmp_path / "x.csv", text))
        assert isinstance(source, GenesByCellsTable) == (lines == "genes")


@pytest.mark.parametrize("name", ["Unnamed: 0", "line_num", "Index"])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_numbers_the_lines_is_no_cell_and_no_gene(name: str, is_turned: bool, first: int, tmp_path: Path):
    frame = pd.DataFrame(COUNTS_CG, CELLS, GENES)
    table = frame.T.copy() if is_turned else frame.copy()
    table.insert(0, name, range(first, first + len(table)))
    table.to_csv(tmp_path / "counts.csv", index_label="gene" if is_turned else "barcode")
    found = Store(convert([tmp_path / "counts.csv"], tmp_path / "x.zarr"))
    assert (found.n_cells, len(found.datasets[0].genes)) == (40, 12)
    np.testing.assert_array_equal(found.datasets[0].n_counts_C, frame.sum(axis=1))


def test_a_list_of_one_count_a_line_is_refused_as_such_whatever_it_counts(tmp_path: Path):
    path = write_text(
        tmp_path / "Expression_Data.txt",
        "Cell_Index\tGene\tRSEC_Reads\tRaw_Molecules\tRSEC_Adjusted_Molecules\n"
        + "27\tCD3E\t7\t3\t2\n27\tLYZ\t9\t2\t2\n" * 4,
    )
    with pytest.raises(FormatError, match="it lists one count a line"):
        convert([path], tmp_path / "x.zarr")
