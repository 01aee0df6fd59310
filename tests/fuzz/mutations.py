"""Small damages to valid files and documents. All draw on a `random.Random`, which Hypothesis can stand in for.

The same random numbers make the same damage, so a finding is named by its number alone.
"""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MAX_DAMAGES = 4
MAX_BLOCK = 64
EDGE_BYTES = (0x00, 0x01, 0x0A, 0x2C, 0x30, 0x7F, 0x80, 0xFF)
EDGE_NUMBERS = (0, 1, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TOKENS = (
    *(b"", b"\x00", b"\n", b"\r\n", b",", b"\t", b'"', b"'", b"\xff\xfe", b"\xef\xbb\xbf", "é".encode(), b"\x1b[2J"),
    *(b"nan", b"-1", b"inf", b"1e999", b"0x10", b"1_000", b"9" * 40, b"-", b"=cmd()", b"NA", b"../../x", b"{}", b"[]"),
)
WRONG_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**53, 10**15, 2**63, 10**30, 0.5, -1e308, 1e308, float("nan")),
    *("", "x", "0", "../../x", "/etc/passwd", "\x00", "\x1b[2J", "é" * 300, "dataset_0", "nan"),
    *([], {}, [[]], [None], [1, 2], ["x"], [10**12], [10**6, 10**9], {"x": 1}, [0], [-1]),
)
"""What stands where something else belongs: wrong kinds, and sizes that nothing has."""
Damage = Callable[[Random, bytearray], None]


def damaged(random: Random, content: bytes, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Damage bytes one to four times."""
    changed = bytearray(content)
    for _ in range(random.randint(1, MAX_DAMAGES)):
        damage = random.choice(DAMAGES)
        if damage is _insert_token:
            _insert_token(random, changed, tokens)
        else:
            damage(random, changed)
    return bytes(changed)


def _place(random: Random, content: bytearray) -> int:
    return random.randrange(len(content)) if content else 0


def _block(random: Random, content: bytearray) -> slice:
    start = _place(random, content)
    return slice(start, start + random.randint(1, MAX_BLOCK))


def _flip_bit(random: Random, content: bytearray) -> None:
    if content:
        content[_place(random, content)] ^= 1 << random.randrange(8)


def _set_byte(random: Random, content: bytearray) -> None:
    if content:
        content[_place(random, content)] = random.choice(EDGE_BYTES)


def _set_number(random: Random, content: bytearray) -> None:
    """Put a whole number of 1 to 8 bytes, of those at which things break, over what is there."""
    start, width = _place(random, content), random.choice((1, 2, 4, 8))
    number = random.choice(EDGE_NUMBERS) & ((1 << 8 * width) - 1)
    if start + width <= len(content):
        content[start : start + width] = number.to_bytes(width, "little")


def _truncate(random: Random, content: bytearray) -> None:
    del content[_place(random, content) :]


def _delete_block(random: Random, content: bytearray) -> None:
    del content[_block(random, content)]


def _double_block(random: Random, content: bytearray) -> None:
    block = content[_block(random, content)]
    start = _place(random, content)
    content[start:start] = block * random.choice((1, 1, 2, 50))


def _splice(random: Random, content: bytearray) -> None:
    """Put one place's bytes over another's."""
    block, start = content[_block(random, content)], _place(random, content)
    content[start : start + len(block)] = block


def _insert_token(random: Random, content: bytearray, tokens: Sequence[bytes] = TOKENS) -> None:
    start = _place(random, content)
    content[start : start + random.choice((0, 0, 1, 3))] = random.choice(tokens)


DAMAGES: tuple[Damage, ...] = (
    *(_flip_bit, _set_byte, _set_number, _truncate, _delete_block, _double_block, _splice, _insert_token),
)


def wrong_document(random: Random, document: Any) -> Any:
    """Return a document of dictionaries and lists in which one to three values are of another kind, gone or doubled."""
    document = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        if isinstance(document, dict | list):
            document = _with_one_wrong(random, document)
    return document


def _with_one_wrong(random: Random, document: Any) -> Any:
    places = list(_places(document))
    if not places or random.randrange(40) == 0:
        return random.choice(WRONG_VALUES)
    holder, key = random.choice(places)
    action = random.randrange(6)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(holder[key])] * random.choice((1, 2, 500))
    elif action == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif action == 2:
        other, its_key = random.choice(places)
        holder[key] = copy.deepcopy(other.get(its_key) if isinstance(other, dict) else holder[key])
    else:
        holder[key] = copy.deepcopy(random.choice(WRONG_VALUES))
    return document


def _places(document: Any) -> Any:
    """Yield every value of a document, as what holds it and its key there."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(items):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


def wrong_json(random: Random, content: bytes) -> bytes:
    """Damage a JSON text: its values as a rule, at times its bytes."""
    if random.randrange(4) == 0:
        return damaged(random, content)
    return json.dumps(wrong_document(random, json.loads(content))).encode()
