"""The options that all training commands share: declared once as fields, turned into settings in one place."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from scnym.base.errors import SettingsError
from scnym.base.launch import Launch
from scnym.base.settings import (
    NetworkSettings,
    RunSettings,
    SplitSettings,
    StreamSettings,
    TrainSettings,
    parse_bytes,
)

from . import options
from .given import takes_options
from .options import Switch
from .raw_input import RawInput

_RUN, _SPLIT, _STREAM = RunSettings(), SplitSettings(), StreamSettings()
_NETWORK, _TRAINING = NetworkSettings(), TrainSettings()
_RESIDUAL, _SHORTCUT = Switch.of(_NETWORK.residual), Switch.of(_NETWORK.shortcut)
_SCALE_INPUT = Switch.of(_NETWORK.scale_input)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RawInput):
    """What a training command was given. A command with options of its own takes a subclass that adds fields."""

    input_counts: options.InputCounts
    out_path: options.OutPath
    training_metadata: options.TrainingMetadata = None
    lower_group: options.LowerGroup = _RUN.label_column
    upper_group: options.UpperGroup = _RUN.tissue_column
    genes_to_use: options.GenesToUse = None
    n_top_genes: options.NTopGenes = _RUN.n_top_genes
    n_folds: options.NFolds = _SPLIT.n_folds
    cv_group: options.CvGroup = _SPLIT.group_column
    min_cells_per_class: options.MinCellsPerClass = _SPLIT.min_cells_per_class
    baseline: options.Baseline = False
    seed: options.Seed = _SPLIT.seed
    batch_size: options.BatchSize = _STREAM.batch_size
    n_epochs: options.NEpochs = _TRAINING.n_epochs
    patience: options.Patience = _TRAINING.patience
    optimizer: options.Optimizer = _TRAINING.optimizer
    weight_decay: options.WeightDecay = _TRAINING.weight_decay
    mixup_alpha: options.MixupAlpha = _TRAINING.mixup_alpha
    refit_cells: options.RefitCells = _TRAINING.refit_cells
    logit_adjustment: options.LogitAdjustment = _TRAINING.logit_adjustment
    balance_classes: options.BalanceClasses = None
    class_balance: options.ClassBalance = None
    max_repeat: options.MaxRepeat = _STREAM.max_repeat
    device: options.Device = _RUN.device
    checkpoint_every: options.CheckpointEvery = _TRAINING.checkpoint_every
    n_hidden: options.NHidden = _NETWORK.n_hidden
    n_layers: options.NLayers = _NETWORK.n_layers
    residual: options.Residual = _RESIDUAL
    init_dropout: options.InitDropout = _NETWORK.init_dropout
    shortcut: options.Shortcut = _SHORTCUT
    normalize_to: options.NormalizeTo = _NETWORK.normalize_to
    scale_input: options.ScaleInput = _SCALE_INPUT
    stream_memory: options.StreamMemory = "1GB"
    overwrite: options.Overwrite = False
    resume: options.Resume = False
    json: options.Json = False

    def settings(self) -> RunSettings:
        """Turn options into settings."""
        return RunSettings(
            label_column=self.lower_group,
            tissue_column=self.upper_group,
            training_metadata=_text(self.training_metadata),
            genes_to_use=_text(self.genes_to_use),
            n_top_genes=self.n_top_genes,
            device=self.device,
            baseline=self.baseline,
            overwrite=self.overwrite,
            resume=self.resume,
            convert=self.convert_settings(),
            split=SplitSettings(
                n_folds=self.n_folds,
                group_column=self.cv_group,
                min_cells_per_class=self.min_cells_per_class,
                seed=self.seed,
            ),
            stream=self._stream(),
            network=self._network(),
            training=self._training(),
        )

    def _stream(self) -> StreamSettings:
        return StreamSettings(
            batch_size=self.batch_size,
            class_balance=self._balance(),
            max_repeat=self.max_repeat,
            memory_bytes=parse_bytes(self.stream_memory, "--stream_memory"),
            seed=self.seed,
        )

    def _network(self) -> NetworkSettings:
        return NetworkSettings(
            n_hidden=self.n_hidden,
            n_layers=self.n_layers,
            residual=self.residual.on,
            init_dropout=self.init_dropout,
            shortcut=self.shortcut.on,
            normalize_to=self.normalize_to,
            scale_input=self.scale_input.on,
        )

    def _training(self) -> TrainSettings:
        return TrainSettings(
            n_epochs=self.n_epochs,
            patience=self.patience,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            mixup_alpha=self.mixup_alpha,
            refit_cells=self.refit_cells,
            logit_adjustment=self.logit_adjustment,
            checkpoint_every=self.checkpoint_every,
            seed=self.seed,
        )

    def _balance(self) -> str:
        """Give the scheme: the newer option wins over the older, and either over the default."""
        if self.class_balance is not None:
            return self.class_balance
        if self.balance_classes is not None:
            return "seed" if self.balance_classes.on else "natural"
        return _STREAM.class_balance


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def takes_training_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """Give a command with training options (`takes_options`).

    Of several processes that train together, the first of each machine says what is wrong with the options. Of all else
    `scnym.model.collectives.joined` silences what the first process says; what another one alone has met, it says.
    """

    @wraps(command)
    def telling_once(given: Any) -> None:
        try:
            command(given)
        except SettingsError as fault:
            if Launch.of(os.environ).number_here == 0:
                raise
            raise typer.Exit(fault.exit_code) from None

    return takes_options(telling_once)
