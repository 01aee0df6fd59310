"""Whatever stops a command, at whatever moment, nothing half written counts, and it still ends in the same bytes.

`make kill-tests MOMENTS=50` takes so many moments in place of the few here.
"""

import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from killing import COMMANDS, Bench, Command, tree

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("MOMENTS", "2"))
LONGEST_WAIT = 20.0
"""Seconds; a busy machine is no fault of the code. The times are in docs/testing.md."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def require_no_half(command: Command, out: Path, whole: dict[str, bytes]) -> None:
    """What stands at the target, if anything, is what stands there in the end."""
    if command.target and (out / command.target).exists():
        theirs = {name: content for name, content in whole.items() if name.startswith(f"{command.target}/")}
        assert {f"{command.target}/{name}" for name in tree(out / command.target)} == set(theirs)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=lambda by: by.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_at_any_moment_ends_in_the_same_bytes(name: str, by: signal.Signals, bench: Bench):
    command, (whole, seconds) = COMMANDS[name], bench.whole(name)
    random = np.random.default_rng([zlib.crc32(name.encode()), by])
    codes, waits = [], []
    for number, after in enumerate(
        random.uniform(0, seconds, MOMENTS if by == signal.SIGKILL else max(1, MOMENTS // 5)).tolist()
    ):
        out = bench.folder / f"{name}_{by.name}_{number}"
        code, waited = bench.stopped(command.line, out, after, by)
        codes.append(code)
        waits.append(waited)
        assert code in {0, -signal.SIGKILL if by == signal.SIGKILL else 130}, bench.said(out)
        assert code != 130 or command.way_on in bench.said(out), bench.said(out)
        require_no_half(command, out, whole)
        was_finished = bool(command.target) and (out / command.target).exists()
        again, _ = bench.run(f"{command.line} {command.goes_on}", out)
        assert again == (2 if was_finished else 0), bench.said(out)
        found = tree(out)
        assert found.keys() == whole.keys(), f"stopped after {after:.3f} s"
        assert not [name for name in whole if found[name] != whole[name]], f"stopped after {after:.3f} s"
    assert max(waits) < LONGEST_WAIT
    sys.stdout.write(
        f"\n{name}, {by.name}: {len(codes)} moments of {seconds:.2f} s, {sum(code != 0 for code in codes)} at work, "
        f"ended within {max(waits):.2f} s\n"
    )


@contextmanager
def small_disk(place: Path, n_bytes: int) -> Iterator[Path]:
    """Yield a disk of this many bytes; a largest size of files, in the tests beside, needs no rights to mount one."""
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "scnym", place], check=False).returncode:
        pytest.skip("only who may mount disks can make a small one")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def require_told(bench: Bench, name: str, out: Path, whole: dict[str, bytes]) -> None:
    """A full disk is told of with the place and the way out, and nothing half stands there.

    Of a file that could not be closed HDF5 prints lines of its own, which nothing can be done about.
    """
    errors = [line for line in bench.said(out).splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, bench.said(out)
    assert str(out) in errors[0]
    assert "no space left on device; make room" in errors[0]
    require_no_half(COMMANDS[name], out, whole)


@pytest.mark.parametrize("share", [0.5])
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_told_of_and_with_room_the_same_command_ends_in_the_same_bytes(
    name: str, share: float, bench: Bench
):
    command, (whole, _) = COMMANDS[name], bench.whole(name)
    place = bench.folder / f"{name}_disk_{share}"
    n_bytes = sum(-(-len(content) // 4096) * 4096 for content in whole.values())
    with small_disk(place, int(share * n_bytes)):
        out = place / "full"
        assert bench.run(command.line, out)[0] == 2, bench.said(out)
        require_told(bench, name, out, whole)
        subprocess.run(["mount", "-o", f"remount,size={20 * n_bytes}", place], check=True)
        bench.require(f"{command.line} {command.goes_on}", out)
        assert tree(out) == whole


@pytest.mark.parametrize("share", [0.4])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_finds_no_room_is_told_of_and_with_room_the_same_command_ends_in_the_same_bytes(
    name: str, share: float, bench: Bench
):
    command, (whole, _) = COMMANDS[name], bench.whole(name)
    out = bench.folder / f"{name}_file_{share}"
    largest = int(share * max(map(len, whole.values())))
    assert bench.run(command.line, out, largest)[0] == 2, bench.said(out)
    require_told(bench, name, out, whole)
    bench.require(f"{command.line} {command.goes_on}", out)
    assert tree(out) == whole


@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_with_one_target_do_not_mix(name: str, bench: Bench):
    command, (whole, _) = COMMANDS[name], bench.whole(name)
    out = bench.folder / f"{name}_two"
    both = [bench.begin(command.line, out) for _ in range(2)]
    for process in both:
        process.join()
    codes = sorted(process.exitcode for process in both)
    assert set(codes) <= {0, 2}, bench.said(out)
    assert not command.target or codes == [0, 2]
    bench.run(f"{command.line} {command.goes_on}", out)  # of many samples, both may have done some
    assert tree(out) == whole


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a disk to be read only")
def test_a_place_that_may_only_be_read_is_named(name: str, bench: Bench):
    with small_disk(bench.folder / f"{name}_read_only", 2**20) as place:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        out = place / "never"
        assert bench.run(COMMANDS[name].line, out)[0] == 2
        (error,) = [line for line in bench.said(out).splitlines() if line.startswith("error: ")]
        assert str(out) in error
        assert "Read-only file system; check the path, its rights and the free space" in error
        assert not list(place.iterdir())
