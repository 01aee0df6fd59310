"""Damaged files are refused in scnym's own words, or read; nothing else comes out. `make fuzz` does it at length."""

from pathlib import Path
from random import Random

import pytest
from fuzz.targets import TARGETS, attempt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scnym import convert
from scnym.base.errors import FormatError


@pytest.mark.parametrize("name", TARGETS)
def test_of_a_damaged_file_nothing_but_our_own_errors_come_out(name: str, tmp_path: Path):
    execute = TARGETS[name].prepare(tmp_path)

    @settings(
        max_examples=80,
        derandomize=True,
        database=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(st.randoms(use_true_random=False))
    def check(random: Random) -> None:
        attempt(execute, random)

    check()


def test_a_cells_line_that_is_no_utf8_is_named(tmp_path: Path):
    path = tmp_path / "cells.csv"
    path.write_bytes(b"id,a,b\nx,1,2\ny,\xff,3\n")
    with pytest.raises(FormatError, match=r"cells.csv, line 3: .*decode byte 0xff"):
        convert([path], tmp_path / "cells.zarr")
