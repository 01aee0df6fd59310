"""Small valid files of the kinds that the other tests' helpers do not write."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from helpers import dense, telling_adata
from safetensors.torch import save
from scipy import sparse

from scnym.base.settings import NetworkSettings, StreamSettings, TrainSettings
from scnym.model.network import CellTypeNetwork
from scnym.model.snapshot import CLASSES_FILE, METADATA_KEY, Card, Snapshot, save_weights

FEW = telling_adata(n_cells=6, n_genes=5)
GENES = tuple(f"gene {k}" for k in range(5))
CLASSES = ("B", "T")


def write_10x_h5(path: Path) -> Path:
    """Write a 10x HDF5 file of features x cells."""
    counts_CG = sparse.csr_matrix(dense(FEW).astype(np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = FEW.obs_names.to_numpy().astype("S")
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(counts_CG, name), chunks=True, compression="gzip")
        group["shape"] = np.array(counts_CG.shape[::-1], np.int32)
        for name, values in {"id": GENES, "name": GENES, "feature_type": ["Gene Expression"] * 5}.items():
            group[f"features/{name}"] = np.array(values, "S")
    return path


def write_10x_folder(folder: Path) -> Path:
    """Write a matrix folder as Cell Ranger does."""
    folder.mkdir()
    counts = sparse.coo_matrix(dense(FEW).astype(int))
    entries = [f"{g + 1} {c + 1} {value}\n" for c, g, value in zip(counts.row, counts.col, counts.data, strict=True)]
    header = f"%%MatrixMarket matrix coordinate integer general\n%\n5 6 {len(entries)}\n"
    (folder / "matrix.mtx").write_text(header + "".join(entries))
    (folder / "barcodes.tsv").write_text("".join(f"{cell}\n" for cell in FEW.obs_names))
    (folder / "features.tsv").write_text("".join(f"{gene}\t{gene}\tGene Expression\n" for gene in GENES))
    return folder


def small_card(**changes: object) -> Card:
    """Describe a network of five genes and two classes."""
    return Card(
        genes=GENES,
        classes=CLASSES,
        label_column="cell_type",
        network=NetworkSettings(n_hidden=4),
        training=TrainSettings(),
        stream=StreamSettings(),
        temperature=1.0,
        best_epoch=1,
        data_hash="0",
        metrics={"accuracy": 0.5},
    ).model_copy(update=changes)


def small_network() -> CellTypeNetwork:
    """Make a network of five genes and two classes."""
    return CellTypeNetwork(len(GENES), len(CLASSES), NetworkSettings(n_hidden=4))


def write_model(path: Path) -> Path:
    """Write a model file, and beside it its bare weights and the table of its classes."""
    path.parent.mkdir(exist_ok=True)
    network = small_network()
    path.write_bytes(Snapshot(small_card(), network).to_bytes())
    save_weights(path.with_name("weights.pkl"), network)
    path.with_name(CLASSES_FILE).write_text("code,cell_type\n0,B\n1,T\n")
    return path


def write_safetensors(weights: Mapping[str, torch.Tensor], card: str) -> bytes:
    """Return the content of a model file with whatever card."""
    return save(dict(weights), metadata={METADATA_KEY: card})
