"""Text from files, made fit to be shown: what would steer a terminal, or turn the line round, is spelled out."""

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and marks of the direction of writing."""


def displayed(text: str) -> str:
    r"""Give text with every control character as an escape, such as ``\x1b``."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
