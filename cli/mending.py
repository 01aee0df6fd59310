"""The command that the user most likely meant: the line that was given, with what was wrong in it changed."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from scnym.base.errors import MissingInputError, ScnymError

from .click_names import Parameter

Finder = Callable[[str], Parameter | None]
"""Gives the option that a word of the line names."""


def mended(line: Sequence[str], fault: ScnymError, option_of: Finder) -> str | None:
    """Give the whole command as it can be pasted into a shell; None if it is not known what would help.

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
    """Give the command whose name is most like a word; else those that have the word in their names."""
    names = list(commands)
    return get_close_matches(word, names, n=1) or [name for name in names if word in name.split("_")]


def _like_one_that_is_there(fault: ScnymError) -> Mapping[str, object]:
    """Give the path beside one that is not there whose name is most like it."""
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
