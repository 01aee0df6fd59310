"""10x output is read as scanpy reads it, in bounded memory; what does not fit together is refused by name."""

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers import telling_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst
from scipy import sparse

from scnym.base.errors import DataError, FormatError, MissingInputError
from scnym.base.progress import SILENT
from scnym.base.settings import ConvertSettings
from scnym.disk.formats.cellranger import CellRangerFile, is_10x_h5
from scnym.disk.formats.detect import open_source
from scnym.disk.formats.matrix_market import MatrixMarketSource
from scnym.disk.formats.matrix_market_files import is_10x_folder
from scnym.disk.formats.source import TurnedSource

N_CELLS, N_FEATURES = 40, 12
IDS = [f"ENSG{k:011d}" for k in range(N_FEATURES)]
SYMBOLS = ["TP53", "ACTB", *(f"G{k}" for k in range(2, N_FEATURES - 1)), "TP53"]
NAMES = [IDS[0], *SYMBOLS[1:-1], IDS[-1]]
BARCODES = [f"{''.join('ACGT'[(k >> 2 * j) & 3] for j in range(8))}ACGTACGT-1" for k in range(N_CELLS)]
GENES_ONLY = ["Gene Expression"] * N_FEATURES
WITH_PROTEINS = [*["Gene Expression"] * 8, "Antibody Capture", "CRISPR Guide Capture", *["Gene Expression"] * 2]
PROTEINS_OUT = "features that are no genes are left out: 1 of Antibody Capture, 1 of CRISPR Guide Capture"


def put(path: Path, text: str) -> None:
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mtx_text(counts: np.ndarray, field: str = "integer", number: Callable[[float], str] = "{:.0f}".format) -> str:
    entries = sparse.coo_matrix(counts)
    lines = [f"{g + 1} {c + 1} {number(v)}\n" for c, g, v in zip(entries.row, entries.col, entries.data, strict=True)]
    header = f"%%MatrixMarket matrix coordinate {field} general\n%metadata_json: {{}}\n"
    return f"{header}{counts.shape[1]} {counts.shape[0]} {len(lines)}\n{''.join(lines)}"


def write_folder(
    folder: Path,
    counts: np.ndarray | None = None,
    *,
    version: int = 3,
    types: list[str] = GENES_ONLY,
    zipped: bool = True,
) -> Path:
    """Write a matrix folder; the values of `telling_counts` name their place."""
    counts = telling_counts(N_CELLS, N_FEATURES) if counts is None else counts
    folder.mkdir(parents=True, exist_ok=True)
    gz = ".gz" if zipped else ""
    columns = zip(IDS, SYMBOLS, types, strict=True)
    features = "".join("\t".join(fields[:version]) + "\n" for fields in columns)
    put(folder / f"{'features' if version == 3 else 'genes'}.tsv{gz}", features)
    put(folder / f"barcodes.tsv{gz}", "".join(f"{cell}\n" for cell in BARCODES))
    put(folder / f"matrix.mtx{gz}", mtx_text(counts))
    return folder


def write_group(group: h5py.Group, counts: np.ndarray) -> None:
    matrix = sparse.csr_matrix(counts)
    group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices.astype(np.int64), matrix.indptr
    group["shape"] = np.array([counts.shape[1], counts.shape[0]], np.int32)
    group["barcodes"] = np.array(BARCODES[: len(counts)], "S")


def write_h5(path: Path, counts: np.ndarray | None = None, *, types: list[str] = GENES_ONLY) -> Path:
    counts = telling_counts(N_CELLS, N_FEATURES) if counts is None else counts
    n_features = counts.shape[1]
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        write_group(group, counts)
        features = {"id": IDS, "name": SYMBOLS, "feature_type": types, "genome": ["GRCh38"] * N_FEATURES}
        for name, column in features.items():
            group[f"features/{name}"] = np.array(column[:n_features], "S")
    return path


def write_old_h5(path: Path, genomes: dict[str, list[str]]) -> Path:
    """Write the old form: one group per genome, each with half of the features."""
    halves = np.split(telling_counts(N_CELLS, N_FEATURES), 2, axis=1)
    with h5py.File(path, "w") as file:
        for (genome, ids), counts in zip(genomes.items(), halves, strict=False):
            group = file.create_group(genome)
            write_group(group, counts)
            group["genes"] = group["gene_names"] = np.array(ids, "S")
    return path


def read(source: Any, max_elements: int = 10**6) -> np.ndarray:
    """All values, cells x genes."""
    if isinstance(source, CellRangerFile):
        return np.vstack([block.counts_CG.toarray() for block in source.blocks(max_elements)])
    counts = np.zeros((len(source.obs), len(source.var)))
    for slab in source.slabs(max_elements):
        assert len(slab.values_N) <= max_elements
        np.add.at(counts, (slab.cells_N, slab.genes_N), slab.values_N)
    return counts


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("types", [GENES_ONLY, WITH_PROTEINS], ids=["genes only", "with proteins"])
@pytest.mark.parametrize("form", ["folder of version 3", "folder of version 2", "h5"])
def test_values_and_annotations_are_those_that_scanpy_reads(form: str, types: list[str], tmp_path: Path):
    scanpy = pytest.importorskip("scanpy")
    if form == "h5":
        path = write_h5(tmp_path / "x.h5", types=types)
        source, adata = CellRangerFile(path), scanpy.read_10x_h5(path)
    else:
        old = form.endswith("2")
        types = GENES_ONLY if old else types
        folder = write_folder(tmp_path / "x", version=2 if old else 3, types=types, zipped=not old)
        source, adata = MatrixMarketSource(folder), scanpy.read_10x_mtx(folder, make_unique=False)
    np.testing.assert_array_equal(read(source), adata.X.toarray())
    assert list(source.obs.index) == list(adata.obs_names)
    for column in ("gene_ids", "feature_types", "genome"):
        assert (column in source.var) == (column in adata.var)
        if column in adata.var:
            assert list(source.var[column]) == list(adata.var[column])
    assert list(source.var["gene_symbols"]) == list(adata.var_names)
    assert source.remark == (PROTEINS_OUT if types is WITH_PROTEINS else None)


@pytest.mark.parametrize("form", ["folder", "h5"])
@pytest.mark.parametrize("say", [str.lower, str.upper, lambda type_: type_.replace(" ", "_")])
def test_types_of_features_are_known_in_any_case_and_with_any_mark(
    say: Callable[[str], str], form: str, tmp_path: Path
):
    types = [say(type_) for type_ in WITH_PROTEINS]
    path = write_h5(tmp_path / "x.h5", types=types) if form == "h5" else write_folder(tmp_path / "x", types=types)
    source: Any = CellRangerFile(path) if form == "h5" else MatrixMarketSource(path)
    are_genes = [type_ == "Gene Expression" for type_ in WITH_PROTEINS]
    np.testing.assert_array_equal(read(source), telling_counts(N_CELLS, N_FEATURES)[:, are_genes])
    assert source.remark is not None
    assert source.remark.startswith("features that are no genes are left out: ")


def test_genes_that_share_a_symbol_are_named_by_their_ids(tmp_path: Path):
    assert list(MatrixMarketSource(write_folder(tmp_path / "x")).var.index) == NAMES
    assert list(CellRangerFile(write_h5(tmp_path / "x.h5")).var.index) == NAMES


def test_several_genomes_with_the_same_cells_become_one_matrix(tmp_path: Path):
    halves = {"hg19": IDS[:6], "mm10": [f"ENSMUSG{k:011d}" for k in range(6)]}
    source = CellRangerFile(write_old_h5(tmp_path / "x.h5", halves))
    for max_elements in (1, 60, 10**6):
        np.testing.assert_array_equal(read(source, max_elements), telling_counts(N_CELLS, N_FEATURES))
    assert list(source.var.index) == [*halves["hg19"], *halves["mm10"]]
    assert list(source.var["genome"]) == ["hg19"] * 6 + ["mm10"] * 6
    alike = CellRangerFile(write_old_h5(tmp_path / "alike.h5", {"hg19": IDS[:6], "hg38": IDS[:6]}))
    assert list(alike.var.index) == [f"{genome}_{id_}" for genome in ("hg19", "hg38") for id_ in IDS[:6]]


def test_several_genomes_with_different_cells_are_refused(tmp_path: Path):
    path = write_old_h5(tmp_path / "x.h5", {"hg19": IDS[:6], "mm10": IDS[6:]})
    with h5py.File(path, "a") as file:
        del file["mm10/barcodes"]
        file["mm10/barcodes"] = np.array(BARCODES[::-1], "S")
    with pytest.raises(FormatError, match="genomes 'hg19', 'mm10' hold different cells"):
        CellRangerFile(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("max_elements", [1, 13, 70, 10**6])
def test_reading_goes_on_at_any_slab_and_at_any_block(zipped: bool, max_elements: int, tmp_path: Path):
    folder = MatrixMarketSource(write_folder(tmp_path / "x", types=WITH_PROTEINS, zipped=zipped))
    slabs = list(folder.slabs(max_elements))
    for number in range(len(slabs) + 1):
        rest = list(folder.slabs(max_elements, number))
        assert [list(s.values_N) for s in rest] == [list(s.values_N) for s in slabs[number:]]
        assert [list(s.cells_N) for s in rest] == [list(s.cells_N) for s in slabs[number:]]
    file = CellRangerFile(write_h5(tmp_path / "x.h5"))
    blocks = list(file.blocks(max_elements))
    first_cell = 0
    for number, block in enumerate(blocks):
        assert block.counts_CG.nnz <= max_elements or block.counts_CG.shape[0] == 1
        rest = list(file.blocks(max_elements, first_cell))
        assert [list(b.cells) for b in rest] == [list(b.cells) for b in blocks[number:]]
        first_cell += len(block.cells)


@settings(max_examples=60, deadline=None)
@given(
    counts=nst.arrays(np.int64, (N_CELLS, N_FEATURES), elements=st.one_of(st.just(0), st.integers(0, 2**32 - 1))),
    real=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    blank=st.booleans(),
    max_elements=st.integers(1, 600),
    data=st.data(),
)
def test_any_matrix_comes_out_of_a_folder_cell_by_cell_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory,
    counts: np.ndarray,
    real: bool,
    line_end: str,
    blank: bool,
    max_elements: int,
    data: st.DataObject,
):
    folder = write_folder(tmp_path_factory.mktemp("x") / "x", zipped=False)
    text = mtx_text(counts, "real", "{:.10e}".format) if real else mtx_text(counts)
    header, entries = text.splitlines()[:3], text.splitlines()[3:]
    lines = [*header, *data.draw(st.permutations(entries)), *([""] if blank else [])]
    (folder / "matrix.mtx").write_bytes((line_end.join(lines) + line_end).encode())
    source = TurnedSource(MatrixMarketSource(folder), folder / "turned", SILENT)
    blocks = list(source.blocks(max_elements))
    np.testing.assert_array_equal(np.vstack([block.counts_CG.toarray() for block in blocks]), counts)
    assert [cell for block in blocks for cell in block.cells] == BARCODES


@settings(max_examples=30, deadline=None)
@given(
    counts=nst.arrays(np.int32, st.tuples(st.integers(1, 9), st.just(N_FEATURES)), elements=st.integers(0, 2)),
    max_elements=st.integers(1, 60),
)
def test_any_matrix_comes_out_of_an_h5_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, counts: np.ndarray, max_elements: int
):
    source = CellRangerFile(write_h5(tmp_path_factory.mktemp("x") / "x.h5", counts))
    np.testing.assert_array_equal(read(source, max_elements), counts)


def test_what_is_10x_output_is_known_from_what_is_not(tmp_path: Path):
    assert is_10x_folder(write_folder(tmp_path / "x"))
    assert is_10x_folder(write_folder(tmp_path / "plain", zipped=False))
    assert not is_10x_folder(tmp_path)
    assert not is_10x_folder(tmp_path / "none")
    known = {"v3.h5": write_h5(tmp_path / "v3.h5"), "v2.h5": write_old_h5(tmp_path / "v2.h5", {"hg19": IDS[:6]})}
    for path in known.values():
        with h5py.File(path) as file:
            assert is_10x_h5(file)
    with h5py.File(tmp_path / "loom-like.h5", "w") as file:
        file["matrix"] = np.ones((3, 3))
        assert not is_10x_h5(file)


def with_text(folder: Path, name: str, change: Callable[[str], str]) -> Path:
    (folder / name).write_text(change((folder / name).read_text()))
    return folder


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def truncated(folder: Path, name: str) -> Path:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    return folder


def plain(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "x", zipped=False)


def entry(number: int, line: str) -> Callable[[str], str]:
    """Replace an entry, counted from 1, of a matrix with three lines above them."""

    def change(text: str) -> str:
        lines = text.split("\n")
        lines[number + 2] = line
        return "\n".join(lines)

    return change


FOLDER_FAULTS = {
    "no barcodes": (
        lambda d: without(plain(d), "barcodes.tsv"),
        MissingInputError,
        "no barcodes.tsv or barcodes.tsv.gz",
    ),
    "no features": (lambda d: without(plain(d), "features.tsv"), MissingInputError, "features.tsv.gz or genes.tsv or"),
    "truncated gzip": (lambda d: truncated(write_folder(d / "x"), "matrix.mtx.gz"), FormatError, "file is damaged"),
    "truncated text": (lambda d: truncated(plain(d), "matrix.mtx"), FormatError, "header promises 288"),
    "too few barcodes": (
        lambda d: with_text(plain(d), "barcodes.tsv", lambda text: "".join(text.splitlines(keepends=True)[1:])),
        FormatError,
        "12 features and 40 cells, but 12 features and 39 barcodes",
    ),
    "barcode twice": (
        lambda d: with_text(plain(d), "barcodes.tsv", lambda text: text.replace(BARCODES[1], BARCODES[0])),
        DataError,
        "duplicate cell names",
    ),
    "id twice": (
        lambda d: with_text(plain(d), "features.tsv", lambda text: text.replace(IDS[-1], IDS[0])),
        DataError,
        "duplicate gene names",
    ),
    "no gene": (
        lambda d: with_text(plain(d), "features.tsv", lambda text: text.replace("Gene Expression", "Peaks")),
        DataError,
        "type Gene Expression: they are 'Peaks'",
    ),
    "pattern": (
        lambda d: with_text(plain(d), "matrix.mtx", lambda text: text.replace("integer", "pattern")),
        FormatError,
        "a general matrix of pattern values",
    ),
    "symmetric": (
        lambda d: with_text(plain(d), "matrix.mtx", lambda text: text.replace("general", "symmetric")),
        FormatError,
        "a symmetric matrix",
    ),
    "dense": (
        lambda d: with_text(plain(d), "matrix.mtx", lambda text: text.replace("coordinate", "array")),
        FormatError,
        "not that of a sparse Matrix Market file",
    ),
    "no size": (
        lambda d: with_text(plain(d), "matrix.mtx", lambda text: text.replace("12 40 288", "12 40")),
        FormatError,
        "'12 40' is no size",
    ),
    "entry too short": (
        lambda d: with_text(plain(d), "matrix.mtx", entry(7, "3 3")),
        FormatError,
        "matrix.mtx, entry 7: '3 3' is no entry",
    ),
    "entry of one number": (lambda d: with_text(plain(d), "matrix.mtx", entry(7, "3")), FormatError, "entry 7: '3'"),
    "entry of words": (
        lambda d: with_text(plain(d), "matrix.mtx", entry(288, "1 1 x")),
        FormatError,
        "entry 288: '1 1",
    ),
    "feature from 0": (
        lambda d: with_text(plain(d), "matrix.mtx", entry(100, "0 3 1")),
        FormatError,
        "entry 100: there is no feature 0, but 1 to 12",
    ),
    "cell too large": (
        lambda d: with_text(plain(d), "matrix.mtx", entry(100, "3 41 1")),
        FormatError,
        "entry 100: there is no cell 41, but 1 to 40",
    ),
    "half a feature": (
        lambda d: with_text(plain(d), "matrix.mtx", entry(100, "3.5 4 1")),
        FormatError,
        "entry 100: there is no feature 3.5",
    ),
    "Latin-1": (lambda d: latin_1(plain(d)), FormatError, "not text in UTF-8"),
}


def latin_1(folder: Path) -> Path:
    (folder / "barcodes.tsv").write_bytes("é\n".encode("latin-1") * N_CELLS)
    return folder


@pytest.mark.parametrize("max_elements", [1, 10**6])
@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_folder_with_a_fault_is_refused_with_place_and_way_out(fault: str, max_elements: int, tmp_path: Path):
    make, error, words = FOLDER_FAULTS[fault]
    folder = make(tmp_path)
    with pytest.raises(error) as caught:
        read(MatrixMarketSource(folder), max_elements)
    assert words in caught.value.message
    assert str(folder) in caught.value.message
    assert caught.value.way_out


def with_array(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    with h5py.File(path, "a") as file:
        values = np.asarray(file[name])
        del file[name]
        file[name] = change(values)
    return path


H5_FAULTS = {
    "feature too large": ("matrix/indices", lambda x: x + 1, "names features outside 0 to 11"),
    "values lost": ("matrix/data", lambda x: x[:-1], "indptr does not match 40 rows and"),
    "indptr falls": ("matrix/indptr", lambda x: np.where(np.arange(len(x)) == 3, x[-1], x), "indptr does not match"),
    "barcode lost": ("matrix/barcodes", lambda x: x[:-1], "indptr does not match 39 rows"),
    "feature lost": ("matrix/features/id", lambda x: x[:-1], "11 features are named, but the matrix has 12"),
    "features lost": ("matrix/shape", lambda x: x + 1, "12 features are named, but the matrix has 13"),
}


@pytest.mark.parametrize("fault", H5_FAULTS)
def test_an_h5_with_a_fault_is_refused(fault: str, tmp_path: Path):
    name, change, words = H5_FAULTS[fault]
    path = with_array(write_h5(tmp_path / "x.h5"), name, change)
    with pytest.raises(FormatError) as caught:
        read(CellRangerFile(path))
    assert words in caught.value.message
    assert "x.h5" in caught.value.message


ODD_PARTS = {
    "one genome for all": ("matrix/features/genome", "GRCh38", None),
    "no list of tags": ("matrix/features/_all_tag_keys", np.float32(1), None),
    "one type for all": ("matrix/features/feature_type", "Gene Expression", "does not hold a type for each feature"),
    "too few types": ("matrix/features/feature_type", np.array(["Peaks"] * 3, "S"), "does not hold a type for each"),
    "no type": ("matrix/features/feature_type", None, None),
    "no name": ("matrix/features/name", None, None),
    "no shape": ("matrix/shape", None, None),
    "one shape": ("matrix/shape", 12, None),
    "CellBender's": ("droplet_latents/background", np.ones(3), None),
}


@pytest.mark.parametrize("part", ODD_PARTS)
def test_parts_of_an_h5_that_are_not_needed_keep_no_one_from_reading_it(part: str, tmp_path: Path):
    name, value, remark = ODD_PARTS[part]
    path = write_h5(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value
    source = CellRangerFile(path)
    np.testing.assert_array_equal(read(source), telling_counts(N_CELLS, N_FEATURES))
    assert list(source.var["gene_ids"]) == IDS
    assert list(source.var.index) == (IDS if part == "no name" else NAMES)
    assert (source.remark or "") == "" if remark is None else remark in (source.remark or "")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("matrix/features/id", "features/id is an array of shape (), not a list of text"),
        ("matrix/barcodes", "matrix/barcodes is an array of shape (), not a list with the barcode of each cell"),
        ("matrix/indices", "matrix/indices is an array of shape (), not a list of numbers"),
        ("matrix/features", "matrix/features is an array of shape (), not a group with the id or name of each feature"),
    ],
)
def test_a_part_of_an_h5_that_is_needed_is_named_where_it_is_odd(name: str, what: str, tmp_path: Path):
    path = write_h5(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = 3
    with pytest.raises(FormatError) as caught:
        read(CellRangerFile(path))
    assert what in caught.value.what


def test_a_file_of_10x_with_a_part_missing_is_refused_by_the_part(tmp_path: Path):
    for name in ("barcodes", "indptr", "features"):
        path = write_h5(tmp_path / f"{name}.h5")
        with h5py.File(path, "a") as file:
            del file[f"matrix/{name}"]
        with pytest.raises(FormatError, match=f"a 10x file with no matrix/{name}"):
            open_source(path, ConvertSettings())


PEAK_OF_READING = """
import resource, sys
from pathlib import Path
from scnym.disk.formats.matrix_market import MatrixMarketSource

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def read(path):
    return sum(1 for _ in MatrixMarketSource(Path(path)).slabs(int(sys.argv[3])))

read(sys.argv[1])
before = peak()
n_parts = read(sys.argv[2])
print(peak() - before, n_parts)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".5"])
def test_memory_does_not_grow_with_the_matrix(ending: str, tmp_path: Path):
    small, large = write_folder(tmp_path / "small", zipped=False), tmp_path / "large"
    shutil.copytree(small, large)
    n_entries = 6_000_000
    with (large / "matrix.mtx").open("w") as file:
        file.write(f"%%MatrixMarket matrix coordinate real general\n12 40 {n_entries}\n")
        file.writelines(f"{1 + k % 12} {1 + k % 40} {k % 7}{ending}\n" for k in range(n_entries))
    max_elements = 300_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_READING, str(small), str(large), str(max_elements)],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, n_parts = map(int, done.stdout.split())
    assert n_parts > 20
    assert grown < 64 * max_elements + 4 * 10**6
