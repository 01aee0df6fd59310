"""``scnym``: every command in one place."""

import os
import shutil
from typing import Annotated

import typer

from scnym.base.errors import SettingsError

from .convert import convert
from .data import app as data
from .evaluate import compare, evaluate, report
from .group import ScnymGroup, underscored
from .inspect import inspect
from .markers import find_cell_type_markers
from .predict import predict_cell_types
from .progress import Loudness
from .store_commands import export, verify
from .train import train_tissue_dependent, train_tissue_independent, train_tissue_specific

# Threads that spin while they wait hold up the others on a busy machine: there, a training step took 0.78 s with
# spinning and 0.12 s without. It only counts if it is set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

NARROW = 70
"""Columns below which the help's boxes would cut the names of options."""
MAY_BE_RICH = shutil.get_terminal_size().columns >= NARROW and not os.environ.get("NO_COLOR")

app = typer.Typer(
    cls=ScnymGroup,
    name="scnym",
    help="Classify single cells at atlas scale: convert counts, train, label new cells.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if MAY_BE_RICH else None,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": underscored},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"scnym {version('scnym')}")
        raise typer.Exit


@app.callback()
def _scnym(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors alone, no progress.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line for every step, with its time and memory.")
    ] = False,
) -> None:
    del version
    if quiet and verbose:
        raise SettingsError("--quiet and --verbose ask for opposite things", where="scnym", way_out="give one of them")
    context.obj = Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.USUAL


for command in (
    *(convert, inspect, verify, export),
    *(train_tissue_independent, train_tissue_dependent, train_tissue_specific, compare),
    *(predict_cell_types, evaluate, find_cell_type_markers, report),
):
    app.command(name=command.__name__)(command)
app.add_typer(data)

if __name__ == "__main__":  # torchrun -m scnym.cli.main
    app()
