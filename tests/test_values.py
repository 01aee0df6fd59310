"""Values that are not whole, on their way from a file of each format into batches.

C cells, G genes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from helpers import dense, ln_cpm, write_h5ad, write_loom
from scipy import io, sparse
from test_scales import counts_of, fpkm, normalised, part_of_genes

import scnym
from scnym.base.errors import DataError
from scnym.base.progress import SilentProgress
from scnym.base.settings import ConvertSettings, StreamSettings
from scnym.disk.store import Store
from scnym.feed.stream import in_order_stream
from scnym.runs.inputs import open_input
from scnym.runs.inspection import inspect

Array = np.ndarray


class Said(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def adata_of(values_CG: Array, counts_CG: Array, dtype: str = "float32") -> anndata.AnnData:
    obs = pd.DataFrame({"nUMI": counts_CG.sum(axis=1), "age": np.arange(len(counts_CG)) + 20.0})
    obs.index = [f"c{k}" for k in range(len(values_CG))]
    var = pd.DataFrame(index=[f"ENSG{k:011d}" for k in range(values_CG.shape[1])])
    return anndata.AnnData(sparse.csr_matrix(values_CG.astype(dtype)), obs=obs, var=var)


def write_text(path: Path, adata: anndata.AnnData) -> Path:
    pd.DataFrame(dense(adata), adata.obs_names, adata.var_names).to_csv(path, index_label="cell")
    return path


def write_genes_first(path: Path, adata: anndata.AnnData) -> Path:
    table = pd.DataFrame(dense(adata), adata.obs_names, adata.var_names).T
    table.to_csv(path, sep="\t", index_label="gene")
    return path


def write_by_gene(path: Path, adata: anndata.AnnData) -> Path:
    adata.X = sparse.csc_matrix(dense(adata))
    return write_h5ad(path, adata)


def write_zarr(path: Path, adata: anndata.AnnData) -> Path:
    with warnings.catch_warnings(action="ignore"):
        adata.write_zarr(path)
    return path


def write_10x(path: Path, adata: anndata.AnnData) -> Path:
    path.mkdir()
    io.mmwrite(path / "matrix.mtx", sparse.coo_matrix(dense(adata).T))
    pd.Series(adata.obs_names).to_csv(path / "barcodes.tsv", index=False, header=False)
    pd.DataFrame({"id": adata.var_names, "name": adata.var_names}).to_csv(
        path / "genes.tsv", sep="\t", index=False, header=False
    )
    return path


FORMS: dict[str, Callable[[Path, anndata.AnnData], Path]] = {
    "cells.h5ad": write_h5ad,
    "by_gene.h5ad": write_by_gene,
    "cells.zarr": write_zarr,
    "cells.loom": write_loom,
    "cells.csv": write_text,
    "cells.tsv": write_genes_first,
    "folder": write_10x,
}


def streamed(store: Store) -> Array:
    """ln(CPM+1) of all cells and genes."""
    rows = np.arange(store.n_cells)
    stream = in_order_stream(store, rows, store.datasets[0].genes, StreamSettings(), normalize_to=1e6)
    return np.concatenate([batch.x.numpy().copy() for batch in stream])


@pytest.mark.parametrize("name", FORMS)
def test_every_format_is_read_right_and_inspected_as_it_is_converted(name: str, tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    path = FORMS[name](tmp_path / name, adata_of(np.log1p(normalised(counts_CG, 476.5)), counts_CG))
    said = Said()
    store = Store(scnym.convert([path], tmp_path / "new.zarr", progress=said))
    np.testing.assert_allclose(streamed(store), ln_cpm(counts_CG), atol=1e-4)
    words = "ln(x+1) of counts normalised to 476.5 in each cell, undone"
    assert f"{name}: values: {words}" in said.lines
    source = inspect(path).sources[0]
    assert (source.values, source.is_usable) == (words, True)


def test_cells_in_memory_are_read_alike(tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    adata = adata_of(np.log2(normalised(counts_CG, 1e6) + 1), counts_CG)
    store = Store(scnym.convert([adata], tmp_path / "new.zarr"))
    assert store.sources[0].scale == "normalised"
    np.testing.assert_allclose(streamed(store), ln_cpm(counts_CG), atol=1e-4)


@pytest.mark.parametrize("name", ["cells.h5ad", "by_gene.h5ad", "cells.zarr", "folder", "cells.csv"])
def test_the_column_with_the_total_counts_is_found_or_asked_for(name: str, tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    kept_G = part_of_genes(counts_CG)
    adata = adata_of(np.log1p(normalised(counts_CG))[:, kept_G], counts_CG)
    path = FORMS[name](tmp_path / name, adata)
    table = tmp_path / "totals.csv"
    pd.DataFrame({"nUMI": counts_CG.sum(axis=1)}, adata.obs_names).to_csv(table, index_label="cell")
    with pytest.raises(DataError, match=r"ln\(x\+1\) of counts normalised in each cell") as fault:
        scnym.convert([path], tmp_path / "new.zarr")
    assert fault.value.mend == ({} if name in {"folder", "cells.csv"} else {"--library_size": "nUMI"})
    assert not inspect(path).sources[0].is_usable
    settings = ConvertSettings(library_size_column="nUMI", training_metadata=str(table))
    store = Store(scnym.convert([path], tmp_path / "new.zarr", settings))
    np.testing.assert_allclose(streamed(store), ln_cpm(counts_CG)[:, kept_G], atol=1e-4)
    np.testing.assert_allclose(store.datasets[0].n_counts_C, 1e4)


@pytest.mark.parametrize("transform", [np.log1p, np.sqrt, lambda x: x])
def test_a_store_of_normalised_cells_travels_like_any_other(transform: Callable[[Array], Array], tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    path = write_h5ad(tmp_path / "cells.h5ad", adata_of(transform(normalised(counts_CG, 500)), counts_CG))
    first = Store(scnym.convert([path], tmp_path / "a.zarr", ConvertSettings(cluster_by="age")))
    second = Store(scnym.convert([tmp_path / "a.zarr"], tmp_path / "b.zarr"))
    assert first.sources[0].scale == second.sources[0].scale != "counts"
    order = np.argsort(first.obs["source_row"].to_numpy())
    for store in (first, second):
        np.testing.assert_allclose(streamed(store)[order], ln_cpm(counts_CG), atol=1e-4)
    exported = scnym.export(tmp_path / "b.zarr", tmp_path / "back.h5ad")
    third = Store(scnym.convert([exported], tmp_path / "c.zarr"))
    np.testing.assert_allclose(streamed(third)[order], ln_cpm(counts_CG), atol=1e-4)


def test_older_releases_refuse_only_stores_that_they_would_misread(tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    made = {"counts": counts_CG, "ln_cp10k": np.log1p(normalised(counts_CG)), "normalised": normalised(counts_CG)}
    for scale, values_CG in made.items():
        store = Store(scnym.convert([adata_of(values_CG, counts_CG)], tmp_path / f"{scale}.zarr"))
        assert store.sources[0].scale == scale
        written_as = zarr.open_group(store.path, mode="r").attrs["format_version"]
        assert written_as == (2 if scale == "normalised" else 1)


def test_a_store_of_what_was_said_to_be_counts_is_not_asked_again(tmp_path: Path):
    adata = adata_of(fpkm(counts_of("umis", 40)), counts_of("umis", 40))
    first = scnym.convert([adata], tmp_path / "a.zarr", ConvertSettings(counts_as="estimated"))
    assert Store(scnym.convert([first], tmp_path / "b.zarr")).sources[0].scale == "counts"


@pytest.mark.parametrize("name", FORMS)
def test_whole_numbers_with_one_total_are_warned_of(name: str, tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    path = FORMS[name](tmp_path / name, adata_of(np.rint(normalised(counts_CG)), counts_CG))
    said = Said()
    scnym.convert([path], tmp_path / "new.zarr", progress=said)
    assert any(line.startswith(f"{name}: values: WARNING: whole numbers") for line in said.lines)
    assert inspect(path).sources[0].values.startswith("WARNING: whole numbers")


def test_what_is_said_of_a_store_is_refused_where_it_changes_nothing(tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    stores = {
        "counts": scnym.convert([adata_of(counts_CG, counts_CG)], tmp_path / "counts.zarr"),
        "ln_cp10k": scnym.convert([adata_of(np.log1p(normalised(counts_CG)), counts_CG)], tmp_path / "ln.zarr"),
    }
    estimated, log2 = ConvertSettings(counts_as="estimated"), ConvertSettings(counts_as="log2")
    for scale, settings in (("counts", log2), ("ln_cp10k", log2), ("ln_cp10k", estimated)):
        words = f"a store knows its values, {scale}, so --counts_as {settings.counts_as} changes nothing"
        with pytest.raises(DataError, match=words) as fault:
            scnym.convert([stores[scale]], tmp_path / "new.zarr", settings)
        assert fault.value.mend == {"--counts_as": None}
        with pytest.raises(DataError, match=words):
            open_input(stores[scale], tmp_path, settings, Said())
        with pytest.raises(DataError, match=words):
            inspect(stores[scale], settings)
    scnym.convert([stores["counts"]], tmp_path / "new.zarr", estimated)


@pytest.mark.parametrize("name", ["cells.h5ad", "cells.zarr", "cells.loom", "memory"])
def test_counts_that_stand_elsewhere_are_named_and_no_others(name: str, tmp_path: Path):
    import loompy

    counts_CG = counts_of("umis", 40)
    adata = adata_of(fpkm(counts_CG), counts_CG)
    with pytest.raises(DataError) as fault:
        scnym.convert([adata if name == "memory" else FORMS[name](tmp_path / name, adata)], tmp_path / "new.zarr")
    assert "--layer" not in fault.value.message
    assert fault.value.mend == {}
    adata.layers["logs"] = np.log1p(fpkm(counts_CG))
    adata.layers["umi"] = sparse.csr_matrix(counts_CG)
    place = tmp_path / f"layers_{name}"
    if name == "cells.loom":
        layers = {"": dense(adata).T, "umi": counts_CG.T, "logs": adata.layers["logs"].T}
        names = {"Gene": adata.var_names.to_numpy(str)}, {"CellID": adata.obs_names.to_numpy(str)}
        loompy.create(str(place), layers, *names)
    given = adata if name == "memory" else place if name == "cells.loom" else FORMS[name](place, adata)
    with pytest.raises(DataError) as fault:
        scnym.convert([given], tmp_path / "new.zarr")
    assert "which --layer umi holds" in fault.value.way_out
    assert fault.value.mend == {"--layer": "umi"}
    scnym.convert([given], tmp_path / "new.zarr", ConvertSettings(layer="umi"))


def test_counts_in_x_are_named_to_who_asks_for_a_layer(tmp_path: Path):
    counts_CG = counts_of("umis", 40)
    adata = adata_of(counts_CG, counts_CG)
    adata.layers["scaled"] = counts_CG - 3
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    with pytest.raises(DataError, match="which are in X: leave out --layer") as fault:
        scnym.convert([path], tmp_path / "new.zarr", ConvertSettings(layer="scaled"))
    assert fault.value.mend == {"--layer": None}


def test_a_conversion_that_was_interrupted_comes_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counts_CG = counts_of("umis", 60)
    monkeypatch.setattr("scnym.disk.dataset.MAX_BLOCK_ELEMENTS", 10 * counts_CG.shape[1])
    path = write_h5ad(tmp_path / "cells.h5ad", adata_of(np.log10(normalised(counts_CG) + 1), counts_CG))
    whole = Store(scnym.convert([path], tmp_path / "whole.zarr"))

    class KilledError(Exception):
        pass

    class Kills(SilentProgress):
        def say(self, line: str) -> None:
            if "values:" in line:
                raise KilledError

    with pytest.raises(KilledError):
        scnym.convert([path], tmp_path / "late.zarr", progress=Kills())
    late = Store(scnym.convert([path], tmp_path / "late.zarr"))
    assert late.content_hash == whole.content_hash
    np.testing.assert_allclose(streamed(late), ln_cpm(counts_CG), atol=1e-4)
