"""Damage to HDF5 files that their checksums and offsets do not notice: objects of other kinds, shapes and sizes."""

import io
from collections.abc import Callable
from random import Random
from typing import Any

import h5py
import numpy as np
from fuzz.mutations import EDGE_NUMBERS, WRONG_VALUES, damaged

HUGE = 10**15
MOST_BYTES = 10**6
"""Arrays up to this size are changed value by value; those of the seeds are."""
WRONG_ARRAYS: tuple[Any, ...] = (
    *(np.zeros(0), np.zeros((0, 3)), np.zeros(()), np.zeros(1, "i1"), np.full(7, np.nan), np.full(30, -1)),
    *(np.full(7, 2**62), np.zeros((2, 3, 4)), np.zeros(7, "f2"), np.zeros(7, "c16"), np.ones(7, bool)),
    *(np.full(7, b"x"), np.array([b"\xff\xfe", b""]), np.zeros(7, [("index", "S3"), ("x", "i4")]), np.zeros(3, "V4")),
    *("text", b"\xff", 7, -1, h5py.Empty("f8"), np.arange(31), np.arange(6), np.arange(5), np.zeros((6, 5))),
)
NOT_DONE = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    OSError,
    RuntimeError,
    AttributeError,
    OverflowError,
    MemoryError,
)
"""Not every damage can be done to every object."""
Damage = Callable[[Random, h5py.File, str], None]


def wrong_hdf5(random: Random, content: bytes) -> bytes:
    """Damage a file: its objects as a rule, at times its bytes."""
    if random.randrange(3) == 0:
        return damaged(random, content)
    image = io.BytesIO(content)
    with h5py.File(image, "r+") as file:
        for _ in range(random.randint(1, 3)):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                break
            try:
                random.choice(DAMAGES)(random, file, random.choice(names))
            except NOT_DONE:
                continue
    return image.getvalue()


def _remove(random: Random, file: h5py.File, name: str) -> None:
    del random, file[name]


def _replace(random: Random, file: h5py.File, name: str) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = random.choice(WRONG_ARRAYS)
    if random.randrange(2):
        file[name].attrs.update(attributes)


def _make_huge(random: Random, file: h5py.File, name: str) -> None:
    """Claim more elements than any file holds, or more bytes than a machine has; no byte of them is written."""
    element: Any = file[name]
    n_axes = len(element.shape) if isinstance(element, h5py.Dataset) and element.shape else 1
    dtype = element.dtype if isinstance(element, h5py.Dataset) else "f8"
    attributes, n_rows = dict(element.attrs), random.choice((HUGE, 2**40, 10**9, 3 * 10**8))
    del file[name]
    chunks = random.choice((None, (2**10, *[1] * (n_axes - 1)), (2**22, *[1] * (n_axes - 1))))
    file.create_dataset(name, (n_rows, *[1] * (n_axes - 1)), dtype, chunks=chunks)
    file[name].attrs.update(attributes)


def _set_element(random: Random, file: h5py.File, name: str) -> None:
    element: Any = file[name]
    at = random.randrange(element.size)
    values = _values_of(element)
    values.reshape(-1)[at] = random.choice((-1, float("nan"), "\x00", "", *EDGE_NUMBERS))
    element[...] = values


def _values_of(element: Any) -> Any:
    """Return an array's values, unless another damage has made it huge: that memory would count as the reader's."""
    if element.nbytes > MOST_BYTES:
        raise MemoryError
    return element[()]


def _cut(random: Random, file: h5py.File, name: str) -> None:
    element: Any = file[name]
    values, attributes = _values_of(element), dict(element.attrs)
    del file[name]
    file[name] = random.choice((values[:-1], values[::-1], np.concatenate([values, values])))
    file[name].attrs.update(attributes)


def _set_attribute(random: Random, file: h5py.File, name: str) -> None:
    attributes = file[random.choice((name, "/"))].attrs
    key = random.choice(list(attributes) or ["x"])
    del attributes[key]
    if random.randrange(4):
        attributes[key] = random.choice((*WRONG_VALUES, "array", "dict", "csc_matrix", "categorical", "null", "0.1.0"))


def _link(random: Random, file: h5py.File, name: str) -> None:
    names: list[str] = ["/"]
    file.visit(names.append)
    target = random.choice(names)
    del file[name]
    file[name] = random.choice((file[target], h5py.SoftLink(f"/{target}"), h5py.ExternalLink("other.h5", target)))


DAMAGES: tuple[Damage, ...] = (_remove, _replace, _replace, _make_huge, _set_element, _cut, _set_attribute, _link)
