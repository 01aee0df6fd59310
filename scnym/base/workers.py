"""Independent jobs, run one after the other in this process, or by the workers of a Dask cluster.

A job whose worker dies is run again by another. A job that fails is reported, and the others are finished. Also whether
this process was started by torchrun.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from uuid import uuid4

from scnym.base.errors import BusyError, FormatError, MissingInputError, SettingsError, UserError
from scnym.base.progress import SILENT, Progress, Receiver, Sender
from scnym.base.text import parse_json

if TYPE_CHECKING:
    from distributed import Client, Future

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells every process that it starts."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process among those that were started together."""

    number: int = 0
    """Its number among all of them."""
    count: int = 1
    """How many there are."""
    number_here: int = 0
    """Its number among those on this machine."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Launch":
        """Read what torchrun has told; a process that was told nothing is alone."""
        if any(name not in environment for name in VARIABLES):
            return cls()
        number, count, number_here = (int(environment[name]) for name in VARIABLES[:3])
        return cls(number=number, count=count, number_here=number_here)

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes, and talks to the user."""
        return self.number == 0


ONE_AT_A_TIME = Lock()
"""A process does one job at a time, whatever number of threads its Dask worker has: what the order of a store's bytes
depends on is set for the whole process."""
ALLOWED_DEATHS = 3
"""Processes that a job may take down with it before it counts as failed."""
CONNECT_SECONDS = 10
BUSY_SECONDS = 600
"""How long a job waits for a process that the cluster has lost, but that lives on and still writes the same."""
TOPIC = "scnym"
"""Where workers report to in Dask: one place for all calls, as a scheduler forgets none."""
DASK_CONFIG = {
    "distributed.worker.multiprocessing-method": "spawn",  # the Rust codecs hang after a fork
    "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
    "distributed.admin.low-level-log-length": 0,
}
Job_contra = TypeVar("Job_contra", contravariant=True)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Which processes independent jobs are shared out among. One of the three is given."""

    workers: int | None = None
    """Processes to start on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler that runs already, such as ``tcp://10.0.0.1:8786``."""
    scheduler_file: str | None = None
    """File that a Dask scheduler has written when it was started."""

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) != 1:
            raise SettingsError(
                f"{len(given)} are given", where="--workers, --scheduler, --scheduler_file", way_out="give one of them"
            )
        if self.workers is not None and self.workers < 1:
            raise SettingsError(f"{self.workers} is not possible", where="--workers", way_out="give 1 or more")

    def address(self) -> str:
        """Return the address of the scheduler that runs already.

        Raises
        ------
        MissingInputError, FormatError
            If its file is not there, or is none.
        """
        if self.scheduler_file is None:
            return str(self.scheduler)
        path = Path(self.scheduler_file)
        try:
            return str(parse_json(path.read_bytes())["address"])
        except FileNotFoundError as fault:
            raise MissingInputError(
                "there is no such file", where=path, way_out=f"start: dask scheduler --scheduler-file {path}"
            ) from fault
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise FormatError(
                "not the file of a Dask scheduler", where=path, way_out=f"start: dask scheduler --scheduler-file {path}"
            ) from fault


@dataclass(frozen=True)
class Outcome(Generic[Result_co]):
    """What became of a job."""

    result: Result_co | None = None
    fault: Exception | None = None
    """Why there is no result."""


class Work(Protocol[Job_contra, Result_co]):
    """What is done for every job. It is a module's function, and job and result can be pickled."""

    def __call__(self, job: Job_contra, progress: Progress, /) -> Result_co:
        """Do one job."""
        ...


class Crew(Protocol):
    """Whoever does the jobs."""

    def do(
        self, work: Work[Any, Result], jobs: Sequence[Any], *, name: str, unit: str, progress: Progress
    ) -> Iterator[tuple[int, Outcome[Result]]]:
        """Do all jobs; give the number of each and what became of it, in the order in which they are done.

        Parameters
        ----------
        work, jobs
            What is done, and with what.
        name, unit
            What it is called to the user, and what the jobs are.
        progress
            Where to report jobs done.
        """
        ...


def crew(cluster: ClusterSettings | None) -> AbstractContextManager[Crew]:
    """Return this process alone, or the processes of a cluster; those that were started for it end with the block.

    Raises
    ------
    UserError
        If there is no scheduler at the address that is given.
    """
    return nullcontext(_Alone()) if cluster is None else _dask_crew(cluster)


def results_of(outcomes: Sequence[Outcome[Result]], what: str) -> list[Result]:
    """Return the results of all jobs.

    Parameters
    ----------
    outcomes
        What became of them.
    what
        What several jobs are called in an error.

    Raises
    ------
    Exception
        What went wrong with the only job that failed; of several faults one that the user cannot mend, if there is any.
    UserError
        If several failed. All others are done then.
    """
    faults = [outcome.fault for outcome in outcomes if outcome.fault is not None]
    ours = [fault for fault in faults if not isinstance(fault, UserError)]
    if len(faults) == 1 or ours:
        raise (ours or faults)[0]
    if faults:
        raise UserError(f"{len(faults):,} of {len(outcomes):,} {what} failed, the first: {faults[0]}")
    return [outcome.result for outcome in outcomes if outcome.result is not None]


class _Alone:
    """The process that asks for the jobs."""

    def do(
        self, work: Work[Any, Result], jobs: Sequence[Any], *, name: str, unit: str, progress: Progress
    ) -> Iterator[tuple[int, Outcome[Result]]]:
        shown = progress if len(jobs) > 1 else SILENT
        with shown.task(name, total=len(jobs), unit=unit) as task:
            for number, job in enumerate(jobs):
                try:
                    outcome = Outcome(work(job, progress))
                except Exception as fault:  # noqa: BLE001 - whatever it is, the others are done before it is raised
                    outcome = Outcome(fault=fault)
                task.advance(1)
                yield number, outcome


@dataclass(frozen=True)
class _OnDask:
    """The workers of a cluster."""

    client: "Client"

    def do(
        self, work: Work[Any, Result], jobs: Sequence[Any], *, name: str, unit: str, progress: Progress
    ) -> Iterator[tuple[int, Outcome[Result]]]:
        from distributed import as_completed

        if not self.client.nthreads():
            progress.say("the cluster has no workers yet; the work begins when there are any")
        submit, ours, call = self.client.submit, version("scnym"), uuid4().hex
        with progress.task(name, total=len(jobs), unit=unit) as task, self._received(call, progress) as receiver:
            futures = [
                submit(partial(_remotely, work, job, ours, call, number), pure=False) for number, job in enumerate(jobs)
            ]
            number_of = {future.key: number for number, future in enumerate(futures)}
            waiting = as_completed(futures, loop=self.client.loop)
            del futures  # a result that has arrived is not held: it would be made again if its worker died
            for future in waiting:
                number = number_of[future.key]
                outcome, lines = _outcome(future)
                receiver.drop(number)
                for line in lines:
                    progress.say(line)
                task.advance(1)
                yield number, outcome

    @contextmanager
    def _received(self, call: str, progress: Progress) -> Iterator[Receiver]:
        """Show here what the jobs of a call report."""
        with Receiver(progress, call) as receiver:
            self.client.subscribe_topic(TOPIC, lambda event: receiver.take(event[1]))
            try:
                yield receiver
            finally:
                self.client.unsubscribe_topic(TOPIC)


def _remotely(work: Work[Any, Result], job: Any, wanted: str, call: str, number: int) -> tuple[Result, Sequence[str]]:
    """Do a job of a call in a worker's process; give its result and what it has to tell the user."""
    from distributed import get_worker

    found = version("scnym")
    if found != wanted:
        raise SettingsError(
            f"the cluster's workers have scnym {found}, here it is {wanted}",
            where="--scheduler",
            way_out="install the same version for both",
        )
    send = partial(get_worker().log_event, TOPIC)
    return _once_free(work, job, lambda: Sender(call, number, send))


def _once_free(work: Work[Any, Result], job: Any, sender: Callable[[], Sender]) -> tuple[Result, Sequence[str]]:
    """Do a job as soon as no other process writes what it is to write; give its result, and what it has to tell."""

    def attempt() -> tuple[Result, Sequence[str]]:
        told = sender()
        with ONE_AT_A_TIME:
            return work(job, told), told.lines

    try:
        return attempt()
    except BusyError as fault:
        busy = fault
    with sender().task(f"wait for another process: {busy.where}", total=None, unit="s") as task:
        for _ in range(BUSY_SECONDS):
            time.sleep(1)
            task.advance(1)
            with suppress(BusyError):
                return attempt()
    raise busy


def _outcome(future: "Future") -> tuple[Outcome, Sequence[str]]:
    """Return what became of a job, and what it has to tell the user.

    Raises
    ------
    UserError
        If the whole cluster has gone.
    """
    from distributed import KilledWorker

    try:
        result, lines = future.result()
    except KilledWorker:
        fault = UserError(
            f"the process that worked on it was killed {ALLOWED_DEATHS + 1} times",
            way_out="see whether the memory is enough for so many at once; give fewer --workers or less --max_memory",
        )
        return Outcome(fault=fault), ()
    except CancelledError as fault:
        raise UserError(
            "the connection to the cluster is lost", where="--scheduler", way_out="the same command goes on"
        ) from fault
    except ModuleNotFoundError as fault:
        lost = SettingsError(f"a worker lacks something: {fault}", where="--scheduler", way_out="install scnym there")
        return Outcome(fault=lost), ()
    except Exception as fault:  # noqa: BLE001 - whatever it is, the others are done before it is raised
        return Outcome(fault=fault), ()
    return Outcome(result), lines


@contextmanager
def _dask_crew(cluster: ClusterSettings) -> Iterator[_OnDask]:
    import dask.config
    import distributed  # noqa: F401 - sets its defaults, which are lost if that happens inside the block below

    with dask.config.set(DASK_CONFIG), _quiet("distributed", "tornado", "asyncio"), ExitStack() as stack:
        if cluster.workers is not None:
            address = stack.enter_context(_local_cluster(cluster.workers))
        else:
            address = cluster.address()
        yield _OnDask(stack.enter_context(_connected(address)))


@contextmanager
def _own_environment() -> Iterator[None]:
    """Restore the environment of this process: Dask sets variables for its workers there, such as OMP_NUM_THREADS."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _local_cluster(n_workers: int) -> Iterator[str]:
    """Start processes on this machine; give the address of their scheduler."""
    from distributed import LocalCluster

    options: dict[str, Any] = {
        "n_workers": n_workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": "127.0.0.1:0",  # any port that is free
        "memory_limit": 0,  # every job keeps to a cap of its own; Dask would kill it on the way there
        "silence_logs": logging.CRITICAL,
    }
    with TemporaryDirectory(prefix="scnym-") as scratch, _own_environment():
        try:
            local = LocalCluster(**options, local_directory=scratch)
        except RuntimeError as fault:
            raise UserError(
                "the processes did not start",
                where="--workers",
                way_out="in a script of your own, call scnym below: if __name__ == '__main__'",
            ) from fault
        with local:
            yield cast("Any", local).scheduler_address


def _connected(address: str) -> "Client":
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as fault:
        raise UserError(
            f"no Dask scheduler answers within {CONNECT_SECONDS} s",
            where=address,
            way_out="check the address; start one with: dask scheduler",
        ) from fault


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Let libraries log nothing: a worker that dies is no news to the user, as its job is done again."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
