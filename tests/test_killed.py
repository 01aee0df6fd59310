"""Whatever stops a command, at whatever moment, nothing half written counts, and it still ends in the same bytes.

`make kill-tests MOMENTS=50` takes so many moments in place of the few here.
"""

import os
import signal
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import COMMANDS, TRAIN, Command, loaded, run, said, stopped, tree, write_inputs

MOMENTS = int(os.environ.get("MOMENTS", "2"))
LONGEST_WAIT = 20.0
"""Seconds; a busy machine is no fault of the code. The times are in docs/testing.md."""


@dataclass
class Workshop:
    """Inputs, a model, and what each command gives when nothing disturbs it."""

    folder: Path
    context: Any
    undisturbed: dict[str, tuple[dict[str, bytes], float]] = field(default_factory=dict)

    def whole(self, name: str) -> tuple[dict[str, bytes], float]:
        """Give the output of a command that was not disturbed, and the seconds that it took."""
        if name not in self.undisturbed:
            out = self.folder / f"{name}_whole"
            code, seconds = run(self.context, COMMANDS[name].line, out)
            assert code == 0, said(out)
            self.undisturbed[name] = tree(out), seconds
        return self.undisturbed[name]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the process from which others are forked
    context = loaded()
    write_inputs(folder)
    line = f"train_tissue_independent --input_counts cells.h5ad --out_path OUT {TRAIN}"
    code, _ = run(context, line, folder / "model")
    assert code == 0, said(folder / "model")
    return Workshop(folder, context)


def require_no_half(command: Command, out: Path, whole: dict[str, bytes]) -> None:
    """What stands at the target, if anything, is what stands there in the end."""
    if command.target and (out / command.target).exists():
        theirs = {name: content for name, content in whole.items() if name.startswith(f"{command.target}/")}
        assert {f"{command.target}/{name}" for name in tree(out / command.target)} == set(theirs)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=lambda by: by.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_at_any_moment_ends_in_the_same_bytes(
    name: str, by: signal.Signals, workshop: Workshop
):
    command, (whole, seconds) = COMMANDS[name], workshop.whole(name)
    random = np.random.default_rng([zlib.crc32(name.encode()), by])
    codes, waits = [], []
    for number, after in enumerate(random.uniform(0, seconds, MOMENTS).tolist()):
        out = workshop.folder / f"{name}_{by.name}_{number}"
        code, waited = stopped(workshop.context, command.line, out, after, by)
        codes.append(code)
        waits.append(waited)
        assert code in {0, -signal.SIGKILL if by == signal.SIGKILL else 130}, said(out)
        assert code != 130 or command.way_on in said(out), said(out)
        require_no_half(command, out, whole)
        was_finished = bool(command.target) and (out / command.target).exists()
        again, _ = run(workshop.context, f"{command.line} {command.goes_on}", out)
        assert again == (2 if was_finished else 0), said(out)
        found = tree(out)
        assert found.keys() == whole.keys(), f"stopped after {after:.3f} s"
        assert not [name for name in whole if found[name] != whole[name]], f"stopped after {after:.3f} s"
    assert max(waits) < LONGEST_WAIT
    sys.stdout.write(
        f"\n{name}, {by.name}: {len(codes)} moments of {seconds:.2f} s, {sum(code != 0 for code in codes)} at work, "
        f"ended within {max(waits):.2f} s\n"
    )
