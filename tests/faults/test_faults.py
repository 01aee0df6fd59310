"""Every mistake of the table is explained, and loses nothing."""

from fnmatch import fnmatch

import pytest
from faults.bench import Bench
from faults.fault import Fault
from faults.page import PAGE, page_of
from faults.table import FAULTS


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_mistake_is_one_line_that_names_the_place_and_the_way_out(fault: Fault, bench: Bench):
    outcome = bench.outcome(fault)
    assert outcome.raised is None, outcome.stderr
    assert outcome.exit_code == fault.exit_code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert len(outcome.errors) == 1, outcome.stderr
    (said,) = outcome.errors
    assert said.startswith(fault.where)
    assert fault.says in said
    assert f"; {fault.way_out}" in said
    assert bool(outcome.stdout) == fault.prints, outcome.stdout


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_mistake_changes_nothing_that_was_there_and_leaves_nothing_half_written(fault: Fault, bench: Bench):
    outcome = bench.outcome(fault)
    changed = [name for name, content in outcome.before.items() if outcome.after.get(name, "gone") != content]
    assert not changed
    new = outcome.after.keys() - outcome.before.keys()
    assert not [name for name in sorted(new) if not any(fnmatch(name, pattern) for pattern in fault.leaves)]


def test_the_page_of_mistakes_is_what_scnym_says_now(bench: Bench):
    assert PAGE.read_text(encoding="utf-8") == page_of(lambda fault: bench.outcome(fault).errors[0]), "make faults"


def test_no_mistake_stands_twice():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
