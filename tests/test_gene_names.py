"""The same cells in another dress get the same labels: genes are found by any name; nothing else counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from helpers import clustered_adata, dense, write_h5ad, write_text
from scipy import sparse

from scnym import (
    ConvertSettings,
    NetworkSettings,
    PredictSettings,
    RunSettings,
    SplitSettings,
    Store,
    StreamSettings,
    TrainSettings,
    convert,
    gene_list,
    predict,
    train,
)
from scnym.base.errors import DataError
from scnym.disk.features import are_numbered, gene_naming
from scnym.disk.formats.arrays import InMemorySource
from scnym.disk.formats.detect import open_source
from scnym.disk.formats.genes import named, with_named_genes
from scnym.feed.checks import matches_in_words, mismatch_advice
from scnym.feed.genes import map_genes, numbers_agree
from scnym.results.coverage import naming_warning

SYMBOLS = [f"ZNF{100 + k}" for k in range(60)]
IDS = [f"ENSG{k:011d}" for k in range(60)]
QUICK = RunSettings(
    label_column="cell_type",
    split=SplitSettings(n_folds=0),
    stream=StreamSettings(batch_size=32),
    network=NetworkSettings(n_hidden=16),
    training=TrainSettings(n_epochs=6),
)


def cells(n_cells: int = 300, seed: int = 0) -> anndata.AnnData:
    """Cells of three classes whose genes have symbols."""
    adata = clustered_adata(n_cells, seed=seed)
    adata.var_names = SYMBOLS
    return adata


def query() -> anndata.AnnData:
    return cells(40, seed=7)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of the same cells, whose genes are called in several ways."""
    folder = tmp_path_factory.mktemp("models")
    names = {
        "symbols": SYMBOLS,
        "ids": [f"{one}.4" for one in IDS],
        "a prefix": [f"GRCh38_{one}" for one in SYMBOLS],
        "two names": [f"{one}_{other}" for one, other in zip(IDS, SYMBOLS, strict=True)],
    }
    for how, genes in names.items():
        adata = cells()
        adata.var_names = genes
        train(write_h5ad(folder / f"{how}.h5ad", adata), folder / how, QUICK)
    return {how: folder / how / "tissue_independent" for how in names}


def labels(path: Path | anndata.AnnData, model: Path, out: Path) -> pd.DataFrame:
    if isinstance(path, anndata.AnnData):
        obs: Any = predict(path, model).obs
        return obs[["scnym_cell_type", "scnym_confidence"]].set_axis(["cell_type", "confidence"], axis=1)
    predict(path, model, out, PredictSettings(probabilities="none"))
    return pd.read_csv(out / "predictions" / "predictions.csv").set_index("cell_id")[["cell_type", "confidence"]]


def called(form: str) -> Callable[[anndata.AnnData], anndata.AnnData]:
    """Call each gene by a text of its symbol, id and number."""

    def dress(adata: anndata.AnnData) -> anndata.AnnData:
        adata.var_names = [form.format(s=s, i=i, k=k) for k, (s, i) in enumerate(zip(SYMBOLS, IDS, strict=True))]
        return adata

    return dress


def numbered(
    first: int = 0, step: int = 1, word: str = "", **columns: Any
) -> Callable[[anndata.AnnData], anndata.AnnData]:
    def dress(adata: anndata.AnnData) -> anndata.AnnData:
        adata.var = pd.DataFrame(columns, index=[f"{word}{first + step * k}" for k in range(60)])
        return adata

    return dress


def with_others(names: list[str], **types: list[str]) -> Callable[[anndata.AnnData], anndata.AnnData]:
    """Put features that are no genes before, between and behind the genes, with many counts."""

    def dress(adata: anndata.AnnData) -> anndata.AnnData:
        others = np.arange(1, 1 + len(names))[None] * (50 + np.arange(adata.n_obs)[:, None])
        places = [3 * k for k in range(len(names) - 1)] + [60]
        counts, genes = dense(adata), list(adata.var_names)
        columns = {name: [of_gene] * 60 for name, (of_gene, _) in types.items()}
        for k, place in reversed(list(enumerate(places))):
            counts = np.insert(counts, place, others[:, k], axis=1)
            genes.insert(place, names[k])
            for name, (_, of_other) in types.items():
                columns[name].insert(place, of_other)
        var = pd.DataFrame(columns, index=genes)
        obs: Any = adata.obs
        varm: Any = {"places": np.arange(float(len(genes)))[:, None]}
        return anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs, var, varm=varm)

    return dress


HTSEQ = ["__no_feature", "__ambiguous", "__too_low_aQual", "__not_aligned", "__alignment_not_unique"]
PROTEINS = ["CD3", "CD4", "CD19"]
DRESSES: dict[str, Callable[[anndata.AnnData], anndata.AnnData]] = {
    "the prefix of a genome": called("hg38_{s}"),
    "a prefix as 10x joins it": called("GRCh38______{s}"),
    "a prefix as Seurat writes it": called("GRCh38-{s}"),
    "a prefix of a species": called("HUMAN_{s}"),
    "a prefix that is not known": called("rna:{s}"),
    "a prefix before ids": called("refdata_2024_{s}"),
    "id and symbol": called("{i}|{s}"),
    "versioned id and symbol": called("{i}.7|{s}"),
    "symbol and id": called("{s}|{i}"),
    "id_symbol": called("{i}_{s}"),
    "symbol_id": called("{s}_{i}"),
    "symbol-id": called("{s}-{i}.3"),
    "symbol (id)": called("{s} ({i})"),
    "twice the symbol": called("{s}|{s}"),
    "symbol and number of NCBI": called("{s}|{k}7"),
    "prefix before both": called("hg38_{i}|hg38_{s}"),
    "chromosome": called("{s}__chr7"),
    "lower case": called("znf1{k:02}"),
    "another order": lambda adata: adata[:, ::-1].copy(),
    "numbers, names in a column": numbered(feature_name=SYMBOLS, feature_id=IDS),
    "numbers from 1 on": numbered(1, gene_symbol=pd.Categorical(SYMBOLS), soma_joinid=range(60)),
    "numbers in another order": numbered(800, -7, gene_short_name=SYMBOLS, gene_ids=IDS),
    "a word and numbers": numbered(gene_name=SYMBOLS, word="gene_"),
    "numbers in a column as well": numbered(feature_name=[f"gene {k}" for k in range(60)], symbol=SYMBOLS),
    "the prefix of a genome after R": called("GRCh38.{s}"),
    "a genome behind": called("{s}_hg38"),
    "the word of an annotation": called("gene-{s}"),
    "some of many numbers": numbered(3, 7, gene_short_name=SYMBOLS, gene_ids=IDS, chromosome=["1"] * 60),
    "types of 10x": with_others(PROTEINS, feature_types=["Gene Expression", "Antibody Capture"]),
    "proteins called as genes are": with_others(SYMBOLS[:3], feature_types=["Gene Expression", "Antibody Capture"]),
    "types in another column": with_others(PROTEINS, modality=["rna", "prot"]),
    "types without a name of 10x": with_others(PROTEINS, **{"Feature.Type": ["gene", "ADT"]}),
    "no type for genes": with_others(PROTEINS, feature_type=["", "Protein"]),
    "proteins by name": with_others(["CD3:UCHT1|CD3E|AHS0231|pAbO", "CD4_TotalSeqB", "CD19-TotalSeqC"]),
    "hashtags by name": with_others(["Hashtag1", "HTO_2", "ADT_CD19", "prot:CD4", "A0034_anti-human_CD3"]),
    "peaks by name": with_others([f"chr{k % 9 + 1}-{k}000-{k}900" for k in range(1, 15)]),
    "numbers of clusters and donors": with_others(["cluster", "Donor", "malignant(1=no,2=yes)"]),
    "tags of one protein": with_others(["CITE_CD3", "HTO-A", "Hashtag1-GTCAACTC"]),
    "spike-ins": with_others(["ERCC-00002", "ERCC-00171", "ERCC.00003"]),
    "spike-ins of CELLxGENE": with_others(["DQ459412", "DQ516784"], feature_biotype=["gene", "spike-in"]),
    "rows of HTSeq": with_others(HTSEQ),
    "rows of HTSeq in another spelling": with_others([one.removeprefix("__") for one in HTSEQ]),
    "rows of HTSeq as R writes them": with_others([f"X{one}" for one in HTSEQ]),
    "rows of HTSeq as Seurat writes them": with_others([one.replace("_", "-") for one in HTSEQ]),
    "rows of STAR": with_others(["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"]),
    "rows of featureCounts": with_others(["Assigned", "Unassigned_NoFeatures", "Length"]),
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")  # a protein may be called as a gene is
@pytest.mark.parametrize("dress", DRESSES)
def test_a_dress_changes_no_label_and_no_library_size(dress: str, models: dict[str, Path], tmp_path: Path):
    plain, dressed = query(), DRESSES[dress](query())
    expected = labels(plain, models["symbols"], tmp_path)
    path = write_h5ad(tmp_path / "dressed.h5ad", dressed)
    pd.testing.assert_frame_equal(
        labels(path, models["symbols"], tmp_path),
        expected,
        atol=1e-5,
        check_names=False,
        check_dtype=False,
        check_categorical=False,
    )
    in_memory = labels(dressed, models["symbols"], tmp_path)
    assert list(in_memory["cell_type"]) == list(expected["cell_type"])
    store = Store(convert([path], tmp_path / "x.zarr"))
    assert list(store.obs["n_counts"]) == list(dense(plain).sum(axis=1))


@pytest.mark.parametrize("column", ["cytoband", "probe"])
def test_ids_of_ncbi_stay_beside_a_column_that_names_no_genes(column: str):
    ids = [str(4000 + 17 * k) for k in range(60)]
    var = pd.DataFrame({column: [f"7q{k}.1" if column == "cytoband" else f"probe{k}" for k in range(60)]}, index=ids)
    naming = named(var, ids)
    assert list(naming.names) == ids
    assert naming.remark is None
    naming = named(var.assign(symbol=SYMBOLS), ids)
    assert list(naming.names) == SYMBOLS
    assert naming.remark == "the genes are called by numbers, such as '4000'; they are called by 'symbol' instead"


def test_genes_of_a_model_may_be_dressed_too(models: dict[str, Path], tmp_path: Path):
    expected = labels(query(), models["symbols"], tmp_path)
    dressed = query()
    dressed.var["gene_ids"] = IDS
    for how, model in models.items():
        assert list(labels(dressed, model, tmp_path)["cell_type"]) == list(expected["cell_type"]), how


def written(adata: anndata.AnnData, form: str, folder: Path) -> Path:
    """Write cells in one of the forms in which they may come."""
    path = folder / form.replace(" ", "_")
    counts = dense(adata).astype(int)
    table = pd.DataFrame(counts, index=adata.obs_names, columns=adata.var_names)
    if form.endswith(".csv"):
        (table.T if form.startswith("turned") else table).to_csv(path)
    elif form.endswith(".loom"):
        import loompy

        rows: Any = {"Gene": adata.var_names.to_numpy(str)} | {
            name: adata.var[name].to_numpy(str) for name in adata.var
        }
        loompy.create(str(path), counts.T, rows, {"CellID": adata.obs_names.to_numpy(str)})
    elif form == "10x":
        path.mkdir()
        matrix = sparse.coo_matrix(counts.T)
        entries = "".join(f"{g + 1} {c + 1} {v}\n" for g, c, v in zip(matrix.row, matrix.col, matrix.data, strict=True))
        size = f"{counts.shape[1]} {counts.shape[0]} {matrix.nnz}\n"
        write_text(path / "matrix.mtx", f"%%MatrixMarket matrix coordinate integer general\n{size}{entries}")
        write_text(path / "genes.tsv", "".join(f"{name}\t{name}\n" for name in adata.var_names))
        write_text(path / "barcodes.tsv", "".join(f"{name}\n" for name in adata.obs_names))
    elif form.endswith(".zarr"):
        with anndata.settings.override(zarr_write_format=2):
            adata.write_zarr(path)
    else:
        adata.X = sparse.csc_matrix(counts) if "csc" in form else counts if "dense" in form else adata.X
        adata.write_h5ad(path)
    return path


FORMS = ("x.csv", "turned.csv", "x.loom", "10x", "x.zarr", "x.h5ad", "csc.h5ad", "dense.h5ad")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_summary_rows_are_no_genes_in_any_form(form: str, tmp_path: Path):
    path = written(with_others(HTSEQ)(query()), form, tmp_path)
    settings = ConvertSettings(csv_orientation="genes_by_cells" if form == "turned.csv" else "auto")
    said: list[str] = []
    store = Store(convert([path], tmp_path / "store.zarr", settings, progress=listening(said)))
    plain = query()
    assert store.datasets[0].genes == tuple(SYMBOLS)
    assert list(store.obs["n_counts"]) == list(dense(plain).sum(axis=1))
    found = anndata.read_zarr(tmp_path / "store.zarr" / "dataset_0")
    np.testing.assert_array_equal(dense(found), dense(plain))
    assert any(
        "features that are no genes are left out: 5 summary values such as '__no_feature'" in line for line in said
    )
    if "varm" in found.varm or form.endswith(("h5ad", ".zarr")):
        genes = [place for place, name in enumerate(with_others(HTSEQ)(query()).var_names) if name in SYMBOLS]
        np.testing.assert_array_equal(np.asarray(found.varm["places"])[:, 0], genes)


def listening(lines: list[str]) -> Any:
    """A progress that keeps what is said."""
    return Said(lines)


class Said:
    """Progress that keeps what is said."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def say(self, line: str) -> None:
        self._lines.append(line)

    def __getattr__(self, name: str) -> Any:
        from scnym.base.progress import SILENT

        return getattr(SILENT, name)


@pytest.mark.parametrize("form", ["x.loom", "x.h5ad", "csc.h5ad", "x.zarr"])
@pytest.mark.parametrize("column", ["gene_ids", "Accession", "ensembl_id", "my_own_ids"])
@pytest.mark.filterwarnings("ignore")
def test_genes_that_share_a_symbol_are_called_by_their_ids(form: str, column: str, tmp_path: Path):
    adata = query()
    adata.var_names = ["5S_rRNA", "5S_rRNA", *SYMBOLS[2:]]
    adata.var[column] = IDS
    adata.var["chromosome"] = ["1", "2"] * 30
    source = open_source(written(adata, form, tmp_path), ConvertSettings())
    assert list(source.var.index) == [*IDS[:2], *SYMBOLS[2:]]
    assert source.remark is not None
    assert (
        f"2 genes share a name with others or have none, such as '5S_rRNA': these are called by '{column}'"
        in source.remark
    )


def test_genes_that_nothing_tells_apart_are_refused():
    adata = query()
    adata.var_names = ["MATR3", "MATR3", *SYMBOLS[2:]]
    adata.var["chromosome"] = ["X", "Y", *["1"] * 58]
    with pytest.raises(DataError, match=r"duplicate gene names 'MATR3'; make them unique first, with adata\.var_names"):
        with_named_genes(InMemorySource(adata, "cells"))


def test_if_no_feature_is_a_gene_this_is_the_reason():
    adata = query()
    adata.var["feature_types"] = "Antibody Capture"
    with pytest.raises(DataError, match="none of its features is of the type Gene Expression: they are 'Antibody Cap"):
        with_named_genes(InMemorySource(adata, "cells"))


KEPT = ["START1", "CHRD", "NFE2", "ERCC1", "LENG1", "ADT1", "HTR1A", "ABCA1", "CD4", "CD3E", "gene_7", "AB-1"]


def test_no_real_gene_is_taken_for_something_else():
    adata = query()[:, : len(KEPT)].copy()
    adata.var_names = KEPT
    adata.var["gene_type"] = ["protein_coding", "lncRNA"] * 6
    adata.var["type"] = ["protein", "pseudogene"] * 6
    source = InMemorySource(adata, "cells")
    assert with_named_genes(source) is source


def test_features_all_of_a_kind_that_names_suggest_are_left_as_they_are():
    adata = query()[:, :3].copy()
    adata.var_names = ["chr1:100-900", "chr2:100-900", "chr3:100-900"]
    source = InMemorySource(adata, "cells")
    assert with_named_genes(source) is source


def test_numbers_without_names_are_said_and_fit_only_the_same_list(tmp_path: Path):
    adata = cells()
    adata.var_names = [str(k) for k in range(60)]
    said: list[str] = []
    convert([adata], tmp_path / "x.zarr", progress=listening(said))
    assert any("WARNING: the genes are only numbered" in line for line in said)
    model = train(adata, tmp_path, QUICK).model_path
    with pytest.warns(UserWarning, match="are only numbered"):
        assert set(predict(adata, model).obs["scnym_cell_type"]) == {"type 0", "type 1", "type 2"}
    with pytest.raises(DataError, match="are only numbered"):
        predict(adata[:, :50].copy(), model)


def test_numbers_agree_only_where_lists_are_the_same_or_numbers_are_names():
    ten, five = [str(k) for k in range(10)], [str(k) for k in range(5)]
    ncbi = ["7157", "920", "1017", "3"]
    assert numbers_agree(ten, ten)
    assert not numbers_agree(ten, five)
    assert not numbers_agree(five, ten)
    assert numbers_agree(ten, ["7", "2", "9"])
    assert numbers_agree(ncbi, ncbi[1:])
    assert not numbers_agree(ten, ncbi)
    assert not numbers_agree(ncbi, five)
    assert numbers_agree(SYMBOLS, five)
    assert numbers_agree(ten, SYMBOLS)
    assert [are_numbered(one) for one in (ten, ten[1:], ten[2:], ncbi, [], ["a"])] == [True, True, *[False] * 4]


def test_sources_with_nothing_but_different_numbers_are_not_joined():
    from test_genes import source

    with pytest.raises(DataError, match="only numbered"):
        gene_list([source(["0", "1", "2"]), source(["0", "1"])], "inner")
    assert gene_list([source(["0", "1"]), source(["0", "1"])], "inner") == ("0", "1")


def test_of_two_genomes_only_the_genes_of_one_are_matched():
    mixed = [f"GRCh38_{one}" for one in SYMBOLS[:40]] + [f"mm10___{one}" for one in SYMBOLS[10:]]
    found = map_genes(mixed, SYMBOLS)
    assert found.matched_by == {"name without prefix 'mm10___'": 50}
    assert (found.table_S[:40] == -1).all()


def test_genes_of_another_species_do_not_fill_the_gaps_of_the_first():
    found = map_genes([*SYMBOLS[:50], *(f"MOUSE_{one}" for one in SYMBOLS[50:])], SYMBOLS)
    assert found.matched_by == {"name": 50}


def test_a_name_beside_an_id_is_matched_where_only_some_genes_have_it():
    found = map_genes([*SYMBOLS[:50], "TBCE_" + IDS[50], "TBCE_" + IDS[51]], [*SYMBOLS[:50], *IDS[50:]])
    assert found.matched_by == {"name": 50, "part of the name": 2}
    assert matches_in_words([found]) == "genes matched by name: 50, part of the name: 2"


MOUSE_ONLY = ["Gm12345", "1700001K19Rik", "Ly6c2", "H2-K1", "Trp53", "Lyz2", "Actb", "Gapdh", "Malat1"]


@pytest.mark.parametrize(
    ("genes", "species"),
    [
        (MOUSE_ONLY, "mouse"),
        ([gene.upper() for gene in MOUSE_ONLY], "mouse"),
        (["HLA-A", "LINC00115", "ACTB", "C1orf112", "GAPDH"], "human"),
        (["ACTB", "GAPDH", "MALAT1", "VIM"], None),
        (["Actb", "Gapdh", "Malat1", "Vim"], "mouse or rat"),
        (["MOUSE_ACTB", "MOUSE_GAPDH", "MOUSE_VIM"], "mouse"),
        (["GRCh38_ACTB", "GRCh38_GAPDH"], "human"),
        (["si:ch211-1a19.3", "zgc:123", "actb1"], "zebrafish"),
        ([f"{i}|{s}" for i, s in zip(IDS, SYMBOLS, strict=True)], "human"),
        ([f"ENSMUSG{k:011d}_Actb{k}" for k in range(9)], "mouse"),
        (["1", "2", "3"], None),
    ],
)
def test_the_species_is_told_only_by_what_distinguishes_it(genes: list[str], species: str | None):
    assert gene_naming(genes).species == species


def test_symbols_of_mouse_in_capitals_are_not_taken_for_human():
    mouse = [gene.upper() for gene in MOUSE_ONLY]
    human = ["HLA-A", "LINC00115", "ACTB", "GAPDH"]
    warning = naming_warning("cells.csv", mouse, human, map_genes(mouse, human))
    assert warning is not None
    assert "the model names genes of human, cells.csv those of mouse" in warning
    assert naming_warning("cells.csv", mouse, MOUSE_ONLY, map_genes(mouse, MOUSE_ONLY)) is None


def test_one_coincidence_is_no_reason():
    theirs = [*(f"AT1G{k:05d}" for k in range(50)), "Cd3e", f"{IDS[0]}.1"]
    ours = [*SYMBOLS, "CD3E", IDS[0]]
    advice = mismatch_advice(theirs, ours)
    assert advice == (
        "the data has 'AT1G00000', 'AT1G00001', 'AT1G00002', the model 'ZNF100', 'ZNF101', 'ZNF102'; check the species"
    )


def test_a_panel_is_called_a_panel():
    advice = mismatch_advice(SYMBOLS[:3], SYMBOLS)
    assert advice == (
        "the data is a panel of 3 genes: it lacks 'ZNF103', 'ZNF104', 'ZNF105' and 54 more; "
        "give all genes that were measured"
    )


def test_a_prefix_and_two_names_in_one_are_named():
    advice = mismatch_advice([f"hg38_{one}" for one in SYMBOLS], SYMBOLS)
    assert advice == (
        "the data calls genes 'hg38_ZNF100' that the model calls 'ZNF100'; "
        "leave out what stands before or behind 'ZNF100'"
    )
    assert "two names of a gene" in mismatch_advice([f"{one}|x{one}" for one in SYMBOLS], SYMBOLS)
    numbers = mismatch_advice([str(k) for k in range(60)], SYMBOLS)
    assert numbers.startswith("the genes of the data are only numbered, as 0, 1, 2; name them, or give var a column")


SUMMED = [
    *("Sum", "sum", "TOTALS", "Total_counts", "library_size", "n_umi", "nUMIs", "Mean", "Total reads"),
    *("nCount_Spatial", "pct_counts_mt", "S.Score", "X..no_feature", "__too_low_aQual"),
]


def test_totals_and_measures_are_no_genes_however_they_are_written():
    real = ["GC", "MAX", "Y", "EGFP", "Pc", "class", "RANK"]
    adata = anndata.AnnData(
        np.arange(1, 1 + len(SUMMED + real), dtype=np.float32)[None], var=pd.DataFrame(index=[*SUMMED, *real])
    )
    source: Any = with_named_genes(InMemorySource(adata, "x"))
    assert list(source.var.index) == real
    (block,) = source.blocks(100)
    np.testing.assert_array_equal(block.counts_CG.toarray(), [np.arange(1, 1 + len(real)) + len(SUMMED)])
    assert source.remark == f"features that are no genes are left out: {len(SUMMED)} summary values such as 'Sum'"


def test_a_number_behind_all_symbols_is_matched_and_said():
    versioned = [f"{one}.{1 + k % 3}" for k, one in enumerate(SYMBOLS)]
    assert list(map_genes(versioned, SYMBOLS).table_S) == list(range(60))
    assert list(map_genes(SYMBOLS, versioned).table_S) == list(range(60))
    assert mismatch_advice(versioned, SYMBOLS) == (
        "names differ in their version suffix (.1, .2); remove it from the genes of the data"
    )
    assert mismatch_advice(SYMBOLS, versioned).endswith("remove it from the genes of the model")


def test_a_number_that_tells_genes_apart_is_no_version():
    theirs, ours = ([f"ZK{k}.{last}" for k in range(60)] for last in (3, 7))
    assert not map_genes(theirs, ours).present_G.any()
