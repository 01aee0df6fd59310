"""Text from files, made fit to be shown: what would steer a terminal, or turn the line round, is spelled out."""

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and marks of the direction of writing."""
MAX_WORD, MAX_TEXT = 200, 2000
"""Most characters of a name or a value, and of all that is said: one of a million hides what is said of it."""


def displayed(text: str) -> str:
    r"""Give text with every control character as an escape, such as ``\x1b``."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str) -> str:
    """Give text of which no word, nor the whole, is too long to be read."""
    if len(text) <= MAX_WORD:
        return text
    words = " ".join(_cut(word, MAX_WORD) for word in text[: MAX_TEXT * MAX_WORD].split())
    return _cut(words, MAX_TEXT)


def _cut(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters // 2]}…{text[-(n_characters // 8) :]}"
