"""The one-file model: weights, genes, classes, settings and provenance. Loading executes nothing.

Weights-only checkpoints (``.pkl``) of the first release are plain tensors, without genes or classes.
"""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from scnym.base.errors import FormatError, MissingInputError, ScnymError
from scnym.base.settings import NetworkSettings, StreamSettings, TrainSettings
from scnym.base.text import parse_json
from scnym.base.text_columns import unguarded
from scnym.disk.features import read_genes
from scnym.model.network import CellTypeNetwork

LOADING_FAULTS = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, AssertionError),
    *(RuntimeError, EOFError, OSError, ValueError, AttributeError, LookupError, TypeError, ArithmeticError),
)
"""What torch raises on files that are damaged or made by hand."""


def save_weights(path: Path, network: nn.Module) -> None:
    """Write bare weights, plain tensors only."""
    torch.save({name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read bare weights; nothing in the file is executed.

    Raises
    ------
    FormatError
        If the file holds anything but plain tensors.
    """
    try:
        with warnings.catch_warnings():
            _require_stored(path)
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            weights = torch.load(path, map_location="cpu", weights_only=True)
        n_bytes = path.stat().st_size
        sound = all(isinstance(value, torch.Tensor) and _is_held(value, n_bytes) for value in weights.values())
    except LOADING_FAULTS:
        sound, weights = False, {}
    if not sound:
        raise FormatError(
            "not a file of plain weights; nothing in it was executed",
            where=path,
            way_out="give a model.safetensors, or a .pkl written by scnym",
        )
    return weights


def _require_stored(path: Path) -> None:
    """Refuse an archive that is compressed, which torch never writes: a few kilobytes may hold any size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("the archive is compressed")


def _is_held(tensor: torch.Tensor, n_bytes: int) -> bool:
    """Whether a tensor's values are all in a file of so many bytes; strides of zero can make any size of one value."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.is_contiguous() and tensor.nbytes <= n_bytes


def n_tissues_of(weights: Mapping[str, torch.Tensor]) -> int:
    """Read off the weights how many tissues the network reads beside the genes."""
    return weights["tissue.weight"].shape[1] if "tissue.weight" in weights else 0


def settings_of(weights: Mapping[str, torch.Tensor], path: Path) -> NetworkSettings:
    """Read the network's shape off its weights.

    Raises
    ------
    FormatError
        If they are not the weights of a network of this package.
    """
    known = {"first.weight": 2, "classify.weight": 2, "normalize_to": 0, "input_scale": 0}
    if any(name not in weights or weights[name].ndim != n_axes for name, n_axes in known.items()):
        raise FormatError(
            "weights of another kind of network", where=path, way_out="give weights written by this version of scnym"
        )
    blocks = {match[1] for name in weights if (match := re.match(r"blocks\.(\d+)\.", name))}
    return NetworkSettings(
        n_hidden=weights["first.weight"].shape[1],
        n_layers=len(blocks),
        residual=not blocks or any(".change." in name for name in weights),
        shortcut="shortcut.weight" in weights,
        normalize_to=float(weights["normalize_to"]),
    )


MODEL_FORMAT_VERSION = 3
"""Version 1 knew no tissues; version 2 neither sources nor the cells of each class."""
METADATA_KEY = "scnym"
MAX_NAMES, MAX_NAME_CHARACTERS, MAX_EPOCH = 10**6, 10**4, 10**9
"""More genes or classes than anything has, longer names, and more epochs than anybody waits for."""
CLASSES_FILE, TISSUES_FILE = "celltype_label.csv", "tissue_categories.csv"
"""Tables of a run that name what bare weights do not."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name stands twice")
    return names


Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
NamesOrNone = Annotated[tuple[Name, ...], Field(max_length=MAX_NAMES), AfterValidator(_distinct)]
Names = Annotated[NamesOrNone, Field(min_length=1)]


class CardSource(BaseModel):
    """One source of the cells that a model learnt from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    sample: Name
    file: Name
    n_cells: int = Field(ge=0)
    n_genes: int = Field(ge=0)
    sha256: Name
    """Of its content."""


class Card(BaseModel):
    """Everything a model needs to know beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    format_version: int = Field(default=MODEL_FORMAT_VERSION, le=MODEL_FORMAT_VERSION)
    scnym_version: str = Field(default_factory=lambda: version("scnym"))
    genes: Names
    """Gene names, in the order of the network's input."""
    classes: Names
    """Class names, in the order of the network's output."""
    label_column: Name
    """Column of the training data's annotations that held the classes."""
    tissues: NamesOrNone = ()
    """Levels of the context that is read beside the genes, in the order of the network's one-hot; none of them for a
    model that reads genes alone."""
    tissue_column: Name | None = None
    """Column of the training data's annotations that held the tissues."""
    network: NetworkSettings
    training: TrainSettings
    stream: StreamSettings
    temperature: float = Field(gt=0, allow_inf_nan=False)
    """Logits are divided by this before they become probabilities."""
    best_epoch: int = Field(ge=1, le=MAX_EPOCH)
    data_hash: Name
    """Names the counts the model was trained on."""
    metrics: Annotated[dict[Name, float], Field(max_length=MAX_NAMES)]
    """On held-out cells, or on selection cells for the final model."""
    cells_per_class: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MAX_NAMES)] = ()
    """Labelled cells of each class in the training data; none where that is not known."""
    sources: Annotated[tuple[CardSource, ...], Field(max_length=MAX_NAMES)] = ()
    """What the training data came from; none where that is not known."""


class Snapshot:
    """A trained network with its card.

    Parameters
    ----------
    card
        What it knows.
    network
        The trained network; its shape follows from the card.
    """

    def __init__(self, card: Card, network: CellTypeNetwork) -> None:
        self.card = card
        self.network = network.eval()

    def to_bytes(self) -> bytes:
        """Return the model file's content."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        return save(weights, metadata={METADATA_KEY: self.card.model_dump_json()})

    @classmethod
    def load(cls, path: str | Path, training_gene_names: str | Path | None = None) -> "Snapshot":
        """Read a model file, or bare weights.

        Parameters
        ----------
        path
            A ``model.safetensors``; or a ``.pkl`` of bare weights, with a ``celltype_label.csv`` beside it or one
            folder up.
        training_gene_names
            For bare weights: text file with the network's genes in order, one a line. Not needed if a
            ``model.safetensors`` lies beside them.

        Raises
        ------
        MissingInputError
            If nothing is there.
        FormatError
            If it is not a model file, is damaged, or is of a newer version; if bare weights do not fit genes or
            classes.
        """
        path = Path(path)
        if path.is_dir():
            raise MissingInputError(
                "no model of its own is in this folder",
                where=path,
                way_out="give the folder of one training run, or its model.safetensors",
            )
        if not path.is_file():
            raise MissingInputError("there is no such model", where=path, way_out="check --model_path")
        if path.suffix == ".pkl":
            return cls._from_bare_weights(path, None if training_gene_names is None else Path(training_gene_names))
        try:
            with safe_open(path, framework="pt") as file:
                document = (file.metadata() or {}).get(METADATA_KEY)
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError) as fault:
            raise FormatError(
                f"not a model file, or a damaged one ({fault})",
                where=path,
                way_out="give the model.safetensors of a run",
            ) from fault
        return cls._assembled(_read_card(document, path), weights, path)

    @classmethod
    def _from_bare_weights(cls, path: Path, genes_path: Path | None) -> "Snapshot":
        weights, beside = read_weights(path), path.with_name("model.safetensors")
        if genes_path is None:
            if not beside.is_file():
                raise MissingInputError(
                    "bare weights do not name their genes",
                    where=path,
                    way_out="give --training_gene_names, or the model.safetensors",
                )
            return cls._assembled(cls.load(beside).card, weights, path)
        genes, network = read_genes(genes_path, "--training_gene_names"), settings_of(weights, path)
        card = Card(
            genes=genes,
            classes=_names_beside(path, CLASSES_FILE, "cell_type"),
            label_column="unknown",
            tissues=_names_beside(path, TISSUES_FILE, "tissue") if n_tissues_of(weights) else (),
            network=network,
            training=TrainSettings(),
            stream=StreamSettings(),
            temperature=1.0,
            best_epoch=1,
            data_hash="unknown",
            metrics={},
        )
        return cls._assembled(card, weights, path)

    @classmethod
    def _assembled(cls, card: Card, weights: Mapping[str, torch.Tensor], path: Path) -> "Snapshot":
        with torch.device("meta"):  # which takes no memory, whatever the card claims
            claimed = CellTypeNetwork(len(card.genes), len(card.classes), card.network, len(card.tissues))
        if _shapes(claimed.state_dict()) != _shapes(weights):
            raise FormatError(
                f"the weights do not fit {len(card.genes):,} genes, {len(card.classes)} classes and the layers named",
                where=path,
                way_out="give weights with their own genes and classes, in the order of training",
            )
        if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
            raise FormatError("weights that are not finite numbers", where=path, way_out="train the model again")
        network = CellTypeNetwork(len(card.genes), len(card.classes), card.network, len(card.tissues))
        network.load_state_dict(weights)
        return cls(card, network)


def _shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _read_card(document: str | None, path: Path) -> Card:
    if document is None:
        raise FormatError("a safetensors file, but not a scnym model", where=path, way_out="give one from a scnym run")
    try:
        card = Card.model_validate_json(document)
    except (ValidationError, ScnymError) as fault:
        newer = _newer_version(document)
        if newer is not None:
            raise FormatError(
                f"a model of format {newer}, newer than the {MODEL_FORMAT_VERSION} known here",
                where=path,
                way_out="update scnym",
            ) from fault
        raise FormatError(
            "the model's description is damaged or of another scnym version",
            where=path,
            way_out="update scnym, or train the model again",
        ) from fault
    return card


def _newer_version(document: str) -> int | None:
    """Return the format in which a model says it was written, if that is newer than those known here."""
    try:
        written_as = parse_json(document)["format_version"]
    except (ValueError, LookupError, TypeError):
        return None
    return written_as if isinstance(written_as, int) and written_as > MODEL_FORMAT_VERSION else None


def _names_beside(weights_path: Path, file: str, column: str) -> tuple[str, ...]:
    """Read classes or tissues from the run that the weights belong to."""
    for folder in (weights_path.parent, weights_path.parent.parent):
        if (folder / file).is_file():
            return _read_names(folder / file, column)
    raise MissingInputError(
        f"there is no {file} beside these weights",
        where=weights_path,
        way_out=f"put it back, it names each {column}",
    )


def _read_names(table: Path, column: str) -> tuple[str, ...]:
    way_out = "put back the one that the run wrote"
    try:
        names = tuple(map(str, pd.read_csv(table, dtype=str, keep_default_na=False)[column].map(unguarded)))
    except (ValueError, KeyError, OSError) as fault:
        raise FormatError(f"not a table with a column {column}", where=table, way_out=way_out) from fault
    if not names or len(set(names)) < len(names):
        raise FormatError(f"it names no {column}, or one twice", where=table, way_out=way_out)
    return names
