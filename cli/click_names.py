"""Names of Click that Typer has no public ones for; Typer carries a Click of its own since version 0.26."""

try:
    from typer._click.core import Context, Parameter
    from typer._click.exceptions import BadOptionUsage, BadParameter, ClickException, NoArgsIsHelpError
    from typer._click.globals import get_current_context
except ImportError:  # a Typer that depends on Click, as it did before 0.26
    from click import (
        BadOptionUsage,
        BadParameter,
        ClickException,
        Context,
        NoArgsIsHelpError,
        Parameter,
        get_current_context,
    )

__all__ = [
    "BadOptionUsage",
    "BadParameter",
    "ClickException",
    "Context",
    "NoArgsIsHelpError",
    "Parameter",
    "get_current_context",
]
