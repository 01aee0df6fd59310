"""What commands print on a terminal."""

import contextlib
from pathlib import Path

import pytest
from every_command import LINES, prepare, run


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command prints."""
    folder = tmp_path_factory.mktemp("printed")
    prepare(folder)
    with contextlib.chdir(folder):
        found = {name: run(line).stdout for name, line in LINES.items()}
        for stdout in found.values():
            for page in (line.removeprefix("report: ") for line in stdout.splitlines() if line.startswith("report: ")):
                assert Path(page).is_file(), page
    return found


@pytest.mark.parametrize("name", LINES)
def test_whoever_writes_a_page_says_where_it_is(name: str, printed: dict[str, str]):
    writes_a_page = name.startswith(("train", "predict", "find", "report"))
    assert ("report: " in printed[name]) == writes_a_page
