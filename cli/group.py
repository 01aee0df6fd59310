"""The group of commands: forgiving about spelling and order, with one line for every error.

After an error it proposes the user's own command with what was wrong in it changed, to be pasted.
"""

import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from scnym.base.errors import MissingInputError, ScnymError, SettingsError, UserError, meant
from scnym.base.workers import Launch

from .click_names import BadOptionUsage, BadParameter, ClickException, Context, NoArgsIsHelpError, Parameter

Finder = Callable[[str], Parameter | None]
"""Returns the option that a word of the line names."""


def mended(line: Sequence[str], fault: ScnymError, option_of: Finder) -> str | None:
    """Return the whole command as it can be pasted into a shell; None if it is not known what would help.

    Parameters
    ----------
    line
        The words that were given, without ``scnym``.
    fault
        What was wrong.
    option_of
        Gives the option that a word names, if it names one.
    """
    words = list(line)
    for old, new in (fault.mend or _like_one_that_is_there(fault)).items():
        option = option_of(old) if not (isinstance(new, str) and new.startswith("--")) else None
        words = _with_word(words, old, str(new)) if option is None else _with_option(words, option, new, option_of)
    return None if sorted(words) == sorted(line) else shlex.join(["scnym", *words])


def commands_like(word: str, commands: Iterable[str]) -> list[str]:
    """Return the command whose name is most like a word; else those that have the word in their names."""
    names = list(commands)
    return get_close_matches(word, names, n=1) or [name for name in names if word in name.split("_")]


def _like_one_that_is_there(fault: ScnymError) -> Mapping[str, object]:
    """Return the path beside one that is not there whose name is most like it."""
    if not isinstance(fault, MissingInputError) or fault.where is None:
        return {}
    path = Path(fault.where)
    with suppress(OSError, ValueError):
        if not os.path.lexists(path):
            beside = (one.name for one in path.parent.iterdir())
            close = get_close_matches(path.name, beside, n=1, cutoff=0.75)
            return {fault.where: str(path.with_name(close[0]))} if close else {}
    return {}


def _with_word(words: Sequence[str], old: str, new: str) -> list[str]:
    """Change a word, or a value behind ``=``; paths are the same however they are written."""
    return [_changed(word, old, new) for word in words]


def _changed(word: str, old: str, new: str) -> str:
    option, equals, value = word.partition("=")
    if old in {word, word.replace("-", "_")} or _is_same_path(word, old):
        return new
    if option.startswith("-") and equals and (value == old or _is_same_path(value, old)):
        return f"{option}={new}"
    return f"{new}={value}" if equals and option == old else word


def _is_same_path(word: str, path: str) -> bool:
    return bool(word) and "://" not in path and Path(word).resolve() == Path(path).resolve()


def _with_option(words: Sequence[str], option: Parameter, value: object, option_of: Finder) -> list[str]:
    """Take an option out of the line, and put it behind with its new value, if it gets one."""
    kept = list(_without(words, option, option_of))
    if value is None:
        return kept
    name = option.opts[0]
    return [*kept, name] if value is True else [*kept, name, str(value)]


def _without(words: Sequence[str], option: Parameter, option_of: Finder) -> Iterator[str]:
    at = 0
    while at < len(words):
        if option_of(words[at].partition("=")[0]) is option:
            takes_value = not getattr(option, "is_flag", False) and "=" not in words[at]
            at += 1 + int(takes_value)
            continue
        yield words[at]
        at += 1


LOUDNESS_OPTIONS = {"-q", "--quiet", "-v", "--verbose"}
"""Of all commands; they may stand anywhere on the line."""
GROUP_OPTIONS = {"-h", "--help", "--version", "--install-completion", "--show-completion"}
SWITCH_METAVAR = "true|false"
SWITCH_WORDS = set(SWITCH_METAVAR.split("|"))
KINDS_OF_NUMBERS = {"int_parsing": "a whole number", "float_parsing": "a number"}
"""What a value should have been, by Pydantic's name of the mistake."""
INTERRUPTED = 130
"""Exit code of what Ctrl-C has ended, as shells have it."""
WAYS_ON = {
    "convert": "the same command goes on",
    "data": "the same command goes on",
    "train": "the same command with --resume, and without --overwrite, goes on",
    "predict": "the same command begins again; of many samples it does those that are not finished",
}
"""How to go on after Ctrl-C, by the first word of the command's name."""


def underscored(name: str) -> str:
    """Make `-` and `_` the same inside names."""
    return name.replace("-", "_")


class StoppedError(ScnymError):
    """The user has ended a command, with Ctrl-C."""

    exit_code = INTERRUPTED


class ScnymGroup(TyperGroup):
    """Commands found anywhere on the line, switches with or without a value, errors as one line."""

    answers_json = False
    """Whether the result, or the error, is to be JSON; a config file may say so too."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Bring the command to the front before Typer reads the line."""
        if ctx.resilient_parsing:  # the shell asks for completions
            return super().parse_args(ctx, args)
        return super().parse_args(ctx, self._rearranged(args))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; a mistake becomes one line on stderr and exit code 2, a fault of ours exit code 1."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        given = (args or (extra.get("args"),))[0]
        line = sys.argv[1:] if given is None else list(given)
        self.answers_json = "--json" in line
        if given is None and not sys.warnoptions:
            _quieten_libraries()
        try:
            sys.exit(super().main(*args, standalone_mode=False, **extra) or 0)
        except StoppedError as fault:
            self._stop(fault)
        except ScnymError as fault:
            self._fail(fault, line)
        except NoArgsIsHelpError as fault:
            fault.show()
            sys.exit(fault.exit_code)
        except ClickException as fault:
            self._fail(self._of_usage(fault), line)
        except OSError as fault:
            self._fail(_of_system(fault), line)
        except Exception as fault:
            if self.answers_json:
                _print_failure(fault)
            raise

    def invoke(self, ctx: Context) -> Any:
        """Run the command; Ctrl-C ends it with a word on how to go on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kind = underscored(ctx.invoked_subcommand or "").partition("_")[0]
            raise StoppedError("interrupted", way_out=WAYS_ON.get(kind, "the same command begins again")) from None

    def _rearranged(self, args: list[str]) -> list[str]:
        """Put the command first, wherever it stands, and give bare switches the value true."""
        loudness = [token for token in args if token in LOUDNESS_OPTIONS]
        args = [token for token in args if token not in LOUDNESS_OPTIONS]
        command, rest, words, at = None, [], [], 0
        while at < len(args):
            token = args[at]
            takes_value, is_switch = self._shape(token)
            if token.startswith("-"):
                follower = args[at + 1] if at + 1 < len(args) else ""
                bare = is_switch and follower.lower() not in SWITCH_WORDS
                taken = [token, "true"] if bare else args[at : at + 1 + int(takes_value)]
                at += 1 if bare else len(taken)
                rest += taken
                continue
            if command is None and underscored(token) in self.commands:
                command = underscored(token)
            else:
                words.append(token)
                rest.append(token)
            at += 1
        if command is None and rest:
            self._require_no_other_command(rest, words)
        return [*loudness, *([] if command is None else [command]), *rest]

    def _require_no_other_command(self, line: list[str], words: list[str]) -> None:
        """Raise if a line has no command; the one that is meant is most like one of its words, not of its values."""
        near = next(
            ((word, found) for word in words if (found := commands_like(underscored(word), self.commands))), None
        )
        if near is None and set(line) & GROUP_OPTIONS:
            return
        raise SettingsError(
            f"no command among {' '.join(line)!r}",
            where="scnym",
            way_out=f"name one of {', '.join(self.commands)}"
            if near is None
            else f"did you mean scnym {' or '.join(near[1])}",
            mend=None if near is None else {near[0]: near[1][0]},
        )

    def _shape(self, token: str) -> tuple[bool, bool]:
        """Whether an option takes a value, and whether that value is true or false."""
        option = self._option(token)
        if option is None:
            return False, False
        return not getattr(option, "is_flag", False), option.metavar == SWITCH_METAVAR

    def _option(self, token: str) -> Parameter | None:
        """Return the option that a word names, of whatever command; a path may be called as an argument is: run."""
        if not token.startswith("-"):
            return None
        name = "--" + underscored(token[2:]) if token.startswith("--") else token
        parameters = (parameter for command in self.commands.values() for parameter in command.params)
        return next((parameter for parameter in parameters if name in parameter.opts), None)

    def _of_usage(self, fault: ClickException) -> ScnymError:
        """Return what was wrong with the line, in our words, and what was meant."""
        context = getattr(fault, "ctx", None)
        help_line = f"see {context.command_path if context is not None else 'scnym'} --help"
        name = str(getattr(fault, "option_name", ""))
        if isinstance(fault, BadOptionUsage) and (option := self._option(name)) is not None:
            return SettingsError(fault.format_message().rstrip("."), way_out=f"give it: {name} {_value_of(option)}")
        if isinstance(fault, BadParameter) and isinstance(fault.__cause__, ValueError):
            return _of_value(fault, help_line)
        close = getattr(fault, "possibilities", None)  # of an option that is not known
        mend = {name: close[0]} if close else None
        text = fault.format_message().rstrip(".")
        if command := re.fullmatch(r"No such command '(.+)'\. Did you mean '(.+)'\?", text):  # of data
            mend = {command[1]: command[2]}
        return SettingsError(text, way_out=help_line, mend=mend)

    def _fail(self, fault: ScnymError, line: list[str]) -> NoReturn:
        """End with the fault on stderr, and the command that would work, if it is known; on stdout too for machines."""
        command = mended(line, fault, self._option)
        if self.answers_json:
            _print_failure(fault, command)
        typer.echo(f"error: {fault.message}", err=True)
        if command is not None:
            typer.echo(f"try: {command}", err=True)
        sys.exit(fault.exit_code)

    def _stop(self, fault: StoppedError) -> NoReturn:
        """End what was no mistake; of several processes that are told to end only the first says so."""
        if self.answers_json:
            _print_failure(fault)
        if Launch.of(os.environ).is_first:
            typer.echo(fault.message, err=True)
        sys.exit(fault.exit_code)


def _quieten_libraries() -> None:
    """Keep what libraries say to programmers off the terminal, here and in processes that are started from here.

    PYTHONWARNINGS=default lets it through.
    """
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"


@contextmanager
def beside_result() -> Iterator[None]:
    """Report what goes wrong although there is a result, which has been printed; as JSON it holds the error."""
    try:
        yield
    except ScnymError as fault:
        typer.echo(f"error: {fault.message}", err=True)
        raise typer.Exit(fault.exit_code) from fault


def _value_of(option: Parameter) -> str:
    """Return what stands behind an option, as its help does."""
    return option.metavar or ("FILE" if option.name == "config" else "VALUE")


def _of_value(fault: BadParameter, help_line: str) -> ScnymError:
    """Return which value an option does not take, and which it does."""
    errors = getattr(fault.__cause__, "errors", list)()
    kind, value = (errors[0]["type"], errors[0]["input"]) if errors else ("", "")
    option = (getattr(fault.param, "opts", None) or [""])[0]
    text = fault.message.removeprefix("Value error, ").rstrip(".")
    if kind in KINDS_OF_NUMBERS:
        text = f"{value!r} is not {KINDS_OF_NUMBERS[kind]}"
    _, is_choice, choices = text.partition(" is not one of ")
    known = [choice.strip("'") for choice in choices.split(", ")] if is_choice else []
    mend = meant(option, value, known) if len(known) > 1 else None
    return SettingsError(text, where=option, way_out=help_line, mend=mend)


def _of_system(fault: OSError) -> ScnymError:
    what, where = str(fault.strerror or fault), fault.filename or None
    return UserError(what, where=where, way_out="check the path, its rights and the free space")


def _print_failure(fault: Exception, command: str | None = None) -> None:
    from .model_results import Failure, Fault
    from .output import print_json

    if Launch.of(os.environ).is_first:
        print_json(Failure(error=Fault.of(fault, command)))
