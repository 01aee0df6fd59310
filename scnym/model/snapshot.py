"""The one-file model: weights, genes, classes, settings and provenance. Loading executes nothing."""

import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from scnym.base.errors import FormatError, MissingInputError, ScnymError
from scnym.base.settings import NetworkSettings, StreamSettings, TrainSettings
from scnym.model.network import CellTypeNetwork

MODEL_FORMAT_VERSION = 1
METADATA_KEY = "scnym"
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Card(BaseModel):
    """Everything a model needs to know beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    format_version: int = Field(default=MODEL_FORMAT_VERSION, le=MODEL_FORMAT_VERSION)
    scnym_version: str = Field(default_factory=lambda: version("scnym"))
    genes: Names
    """Gene names, in the order of the network's input."""
    classes: Names
    """Class names, in the order of the network's output."""
    label_column: str
    """Column of the training data's annotations that held the classes."""
    network: NetworkSettings
    training: TrainSettings
    stream: StreamSettings
    temperature: float = Field(gt=0)
    """Logits are divided by this before they become probabilities."""
    best_epoch: int = Field(ge=1)
    data_hash: str
    """Names the counts the model was trained on."""
    metrics: dict[str, float]
    """On held-out cells, or on selection cells for the final model."""


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
        """Give the model file's content."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        return save(weights, metadata={METADATA_KEY: self.card.model_dump_json()})

    @classmethod
    def load(cls, path: str | Path) -> "Snapshot":
        """Read a model file.

        Raises
        ------
        MissingInputError
            If nothing is there.
        FormatError
            If it is not a model file, is damaged, or is of a newer version.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingInputError("there is no such model", where=path, way_out="check --model_path")
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
        card = _read_card(document, path)
        network = CellTypeNetwork(len(card.genes), len(card.classes), card.network)
        _load_weights(network, weights, path)
        return cls(card, network)


def save_weights(path: Path, network: CellTypeNetwork) -> None:
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
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as fault:
        raise FormatError(
            "not a file of plain weights; nothing in it was executed",
            where=path,
            way_out="give a model.safetensors or a .pkl written by scnym",
        ) from fault
    return weights


def _read_card(document: str | None, path: Path) -> Card:
    if document is None:
        raise FormatError("a safetensors file, but not a scnym model", where=path, way_out="give one from a scnym run")
    try:
        card = Card.model_validate_json(document)
    except (ValidationError, ScnymError) as fault:
        raise FormatError(
            "the model's description is damaged or of another scnym version",
            where=path,
            way_out="update scnym, or train the model again",
        ) from fault
    return card


def _load_weights(network: CellTypeNetwork, weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as fault:
        raise FormatError(
            "the weights do not fit the genes, classes and layers that the model names",
            where=path,
            way_out="give the model file as it was written",
        ) from fault
