"""``scnym data``: public data sets by name."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from scnym.base.errors import ScnymError

from . import options

app = typer.Typer(
    name="data",
    no_args_is_help=True,
    help="""Fetch public data sets by name.

    For example:

        scnym data list

        scnym data get pbmc3k
    """,
)

Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        help="JSON file with a list of data sets of your own.",
        envvar="SCNYM_REGISTRY",
        show_default="scnym's own",
        rich_help_panel=options.DATA,
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        help="Folder, or address of one, with NAME/FILE for every file, to read in place of the publisher's.",
        envvar="SCNYM_MIRROR",
        rich_help_panel=options.DATA,
    ),
]
OutPathOfData = Annotated[
    Path,
    typer.Option(
        "--out_path",
        help="Folder for data sets; each gets a folder in it. It can serve as a mirror elsewhere.",
        rich_help_panel=options.OUTPUT,
    ),
]


@app.command("list")
def list_data(registry: Registry = None, json: options.Json = False) -> None:
    """Show the data sets that there are, whose they are, and whether their checksums are known.

    For example:

        scnym data list
    """
    import scnym

    from .output import print_data_sets

    print_data_sets(scnym.data_sets(registry), as_json=json)


def _names_like(context: typer.Context, incomplete: str) -> list[str]:
    """Return the data sets that a shell offers; none where the list cannot be read."""
    import scnym

    with suppress(ScnymError):
        return [name for name in scnym.data_sets(context.params.get("registry")) if name.startswith(incomplete)]
    return []


@app.command("get")
def get_data(
    name: Annotated[str, typer.Argument(help="One of `scnym data list`.", metavar="NAME", autocompletion=_names_like)],
    out_path: OutPathOfData = Path("public_data"),
    mirror: Mirror = None,
    registry: Registry = None,
    json: options.Json = False,
) -> None:
    """Fetch a data set, check it, and unpack it; a download that was cut off goes on where it was.

    For example:

        scnym data get pbmc3k

        scnym data get tabula_muris_10x --out_path /shared/data --mirror /shared/mirror
    """
    import scnym

    from .output import print_fetched
    from .progress import make_progress

    fetched = scnym.get_data(name, out_path, mirror=mirror, registry=registry, progress=make_progress())
    print_fetched(fetched, as_json=json)
