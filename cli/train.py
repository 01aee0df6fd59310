"""``scnym train_tissue_independent``, and the options that it shares with the other families' commands."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scnym.base.settings import NetworkSettings, RunSettings, SplitSettings, StreamSettings, TrainSettings

from . import options
from .options import Switch
from .raw_input import convert_settings

_RUN, _SPLIT, _STREAM = RunSettings(), SplitSettings(), StreamSettings()
_NETWORK, _TRAINING = NetworkSettings(), TrainSettings()
_RESIDUAL, _SHORTCUT = Switch.of(_NETWORK.residual), Switch.of(_NETWORK.shortcut)
_SCALE_INPUT = Switch.of(_NETWORK.scale_input)


def _own_options(input_counts: options.InputCounts, out_path: options.OutPath, json: options.Json = False) -> None:
    """Stand for the options that are no settings."""


def with_training_options(command: Callable[[Path, Path, RunSettings, bool], None]) -> Callable[..., None]:
    """Give a command all training options; it is called with input, output, settings and whether to print JSON."""

    @functools.wraps(command)
    def run(*, input_counts: Path, out_path: Path, json: bool, **chosen: Any) -> None:
        command(input_counts, out_path, run_settings(**chosen), json)

    own, shared = (inspect.signature(function).parameters.values() for function in (_own_options, run_settings))
    listed = sorted((*own, *shared), key=lambda parameter: parameter.default is not parameter.empty)
    signature = inspect.Signature([parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in listed])
    vars(run)["__signature__"] = signature  # Typer reads it
    return run


def run_settings(
    config: options.Config = None,
    input_genes: options.InputGenes = None,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    training_metadata: options.TrainingMetadata = None,
    lower_group: options.LowerGroup = _RUN.label_column,
    upper_group: options.UpperGroup = _RUN.tissue_column,
    genes_to_use: options.GenesToUse = None,
    n_folds: options.NFolds = _SPLIT.n_folds,
    min_cells_per_class: options.MinCellsPerClass = _SPLIT.min_cells_per_class,
    seed: options.Seed = _SPLIT.seed,
    batch_size: options.BatchSize = _STREAM.batch_size,
    n_epochs: options.NEpochs = _TRAINING.n_epochs,
    patience: options.Patience = _TRAINING.patience,
    optimizer: options.Optimizer = _TRAINING.optimizer,
    weight_decay: options.WeightDecay = _TRAINING.weight_decay,
    balance_classes: options.BalanceClasses = None,
    class_balance: options.ClassBalance = None,
    max_repeat: options.MaxRepeat = _STREAM.max_repeat,
    n_hidden: options.NHidden = _NETWORK.n_hidden,
    n_layers: options.NLayers = _NETWORK.n_layers,
    residual: options.Residual = _RESIDUAL,
    init_dropout: options.InitDropout = _NETWORK.init_dropout,
    shortcut: options.Shortcut = _SHORTCUT,
    normalize_to: options.NormalizeTo = _NETWORK.normalize_to,
    scale_input: options.ScaleInput = _SCALE_INPUT,
    max_memory: options.MaxMemory = "1GB",
    stream_memory: options.StreamMemory = "1GB",
    overwrite: options.Overwrite = False,
) -> RunSettings:
    """Turn the options of a training command into settings."""
    del config
    import scnym

    return scnym.RunSettings(
        label_column=lower_group,
        tissue_column=upper_group,
        training_metadata=None if training_metadata is None else str(training_metadata),
        genes_to_use=None if genes_to_use is None else str(genes_to_use),
        overwrite=overwrite,
        convert=convert_settings(
            input_genes=input_genes, layer=layer, library_size=library_size, max_memory=max_memory
        ),
        split=scnym.SplitSettings(n_folds=n_folds, min_cells_per_class=min_cells_per_class, seed=seed),
        stream=scnym.StreamSettings(
            batch_size=batch_size,
            class_balance=_balance(balance_classes, class_balance),
            max_repeat=max_repeat,
            memory_bytes=scnym.parse_bytes(stream_memory),
            seed=seed,
        ),
        network=scnym.NetworkSettings(
            n_hidden=n_hidden,
            n_layers=n_layers,
            residual=residual.on,
            init_dropout=init_dropout,
            shortcut=shortcut.on,
            normalize_to=normalize_to,
            scale_input=scale_input.on,
        ),
        training=scnym.TrainSettings(
            n_epochs=n_epochs, patience=patience, optimizer=optimizer, weight_decay=weight_decay, seed=seed
        ),
    )


def _balance(balance_classes: Switch | None, class_balance: str | None) -> str:
    """Give the scheme: the newer option wins over the older, and either over the default."""
    if class_balance is not None:
        return class_balance
    if balance_classes is not None:
        return "seed" if balance_classes.on else "natural"
    return _STREAM.class_balance


@with_training_options
def train_tissue_independent(input_counts: Path, out_path: Path, settings: RunSettings, json: bool) -> None:
    """Learn cell types from all cells, whatever their tissue: 5-fold cross-validation, then the final model.

    For example:

        scnym train_tissue_independent --input_counts cells.h5ad --lower_group cell_type --out_path run

        scnym train_tissue_independent -c configs/default_config.txt --input_counts cells.zarr --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_run

    print_run(scnym.train(input_counts, out_path, settings, progress=make_progress()), as_json=json)
