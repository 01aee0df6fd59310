"""The page of all commands, made from the commands themselves, so that it says what they do."""

import enum
from collections.abc import Iterator
from inspect import cleandoc
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

import typer

from cli.main import app

HEAD = """# Commands

This page is made from the commands themselves; `scnym COMMAND --help` says the same. `-` and `_` are the same in names,
the command may stand anywhere on the line, and `-c FILE` reads options from a YAML or JSON file, over which the line
wins.
"""
FIRST_PANEL = "Options"


def commands_page() -> str:
    """Give the page as Markdown."""
    return "\n".join([HEAD, *(_section(name, command) for name, command in _commands(typer.main.get_command(app)))])


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Give every command with its full name, those of groups inside the group too."""
    for name, command in group.commands.items():
        full_name = f"{before}{name}"
        if hasattr(command, "commands"):
            yield from _commands(command, f"{full_name} ")
        else:
            yield full_name, command


def _section(name: str, command: Any) -> str:
    words, _, examples = cleandoc(command.help).partition("For example:")
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    parts = [f"## {name} {{ #{name.replace(' ', '-')} }}", words.strip(), _code(examples), *map(_argument, arguments)]
    panels = sorted(options, key=_panel)  # stable: options of a panel stay in their order
    parts += [_table(panel, list(listed)) for panel, listed in groupby(panels, key=_panel)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _code(examples: str) -> str:
    """Give examples without the blank lines that keep them apart in a terminal's help."""
    lines = [line for line in cleandoc(examples).splitlines() if line.strip()]
    return "\n".join(["```shell", *lines, "```"]) if lines else ""


def _argument(argument: Any) -> str:
    return f"`{argument.metavar}`: {argument.help}"


def _panel(option: Any) -> str:
    return option.rich_help_panel or FIRST_PANEL


def _table(panel: str, options: list[Any]) -> str:
    head = [f"**{panel}**", "", "| option | meaning | default |", "|---|---|---|"]
    return "\n".join(head + [f"| {_names(one)} | {_escaped(one.help)} | {_default(one)} |" for one in options])


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in option.opts)


def _default(option: Any) -> str:
    """Say what holds if an option is not given."""
    if option.required:
        return "**required**"
    if isinstance(option.show_default, str):
        return _escaped(option.show_default)
    default = option.default.value if isinstance(option.default, enum.Enum) else option.default
    others = " ".join(f"`{one}`" for one in _choices(option.type_descriptor.annotation) if one != default)
    shown = "" if default is None or default is False else f"`{default}`"
    return f"{shown} (or {others})" if others and shown else shown or others


def _choices(kind: Any) -> list[str]:
    """Give the words that an option takes; none if it takes any."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [one.value for one in kind]
    return [word for part in get_args(kind) for word in _choices(part)]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
