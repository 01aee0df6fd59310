"""Config files: YAML or JSON whose keys are option names; the command line wins over them."""

import difflib
from pathlib import Path
from typing import Any

import typer

from scnym.base.errors import FormatError, MissingInputError, SettingsError

from .group import ScnymGroup, underscored

MAX_BYTES = 10**6
"""No config file is larger."""


def load_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make a config file's values the defaults of the command that is being parsed.

    Raises
    ------
    MissingInputError, FormatError, SettingsError
        If the file is not there, is no YAML or JSON mapping, has a key that no command knows, or a bad value.
    """
    if path is None:
        return None
    known, content, group = _option_names(ctx), _read(path), ctx.find_root().command
    if isinstance(group, ScnymGroup) and content.get("json") is True:
        group.answers_json = True  # whatever goes wrong from here on
    own = {parameter.name: parameter for parameter in ctx.command.params if parameter.param_type_name == "option"}
    defaults: dict[str, Any] = {}
    for key, value in content.items():
        name = known.get(underscored(key))
        if name is None:
            raise SettingsError(f"unknown key {key!r}", where=path, way_out=_suggestion(key, known))
        if name == "config":
            raise SettingsError("a config file cannot name another", where=path, way_out="leave out the key config")
        if isinstance(value, dict | list):
            raise SettingsError(f"several values for {key!r}", where=path, way_out="write one `option: value` a line")
        if value is None or name not in own:
            continue
        defaults[name] = str(value)
        try:
            own[name].process_value(ctx, str(value))
        except typer.BadParameter as fault:
            raise SettingsError(
                f"{value!r} is not possible ({fault.message.rstrip('.')})",
                where=f"{path}, key {key}",
                way_out=f"see {ctx.command_path} --help",
            ) from fault
    ctx.default_map = defaults
    return path


def unless_older_on_line(ctx: typer.Context, class_balance: str | None) -> str | None:
    """Drop a file's --class_balance where the line has --balance_classes, the older name of the same choice."""
    sources = [ctx.get_parameter_source(name) for name in ("balance_classes", "class_balance")]
    names = [source.name if source is not None else "" for source in sources]
    return None if names == ["COMMANDLINE", "DEFAULT_MAP"] else class_balance


def _read(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise MissingInputError("there is no such config file", where=path, way_out="check --config")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"larger than {MAX_BYTES:,} bytes", where=path, way_out="write one `option: value` a line")
    try:
        text = path.read_text(encoding="utf-8")
        refers = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
        content = None if refers else yaml.safe_load(text)
    except RecursionError:
        raise FormatError(
            "its values are nested too deeply", where=path, way_out="write one `option: value` a line"
        ) from None
    except (yaml.YAMLError, ValueError) as fault:
        raise FormatError(
            f"neither YAML nor JSON ({fault})", where=path, way_out="write one `option: value` a line"
        ) from fault
    if refers:  # of which a few lines can make any number of values
        raise FormatError("holds references, such as *name", where=path, way_out="write every value where it belongs")
    if not isinstance(content, dict):
        raise FormatError("holds no options", where=path, way_out="write one `option: value` a line")
    return {str(key): value for key, value in content.items()}


def _option_names(ctx: typer.Context) -> dict[str, str]:
    """Return every spelling of every command's options, without dashes, with the parameter it stands for."""
    commands = getattr(ctx.find_root().command, "commands", {ctx.command.name: ctx.command})
    parameters = [parameter for command in commands.values() for parameter in command.params]
    return {
        spelling.lstrip("-"): parameter.name
        for parameter in parameters
        for spelling in parameter.opts
        if parameter.name is not None and spelling.startswith("--")
    }


def _suggestion(key: str, known: dict[str, str]) -> str:
    close = difflib.get_close_matches(underscored(key), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "see scnym COMMAND --help for the options"
