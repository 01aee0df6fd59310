"""The options that say which processes share out independent jobs, declared once."""

from dataclasses import dataclass
from typing import Annotated

import typer

from scnym.base.workers import ClusterSettings

CLUSTER = "Many processes"

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Share out the inputs among so many processes on this machine; each takes --max_memory.",
        show_default="this process alone",
        rich_help_panel=CLUSTER,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Share out the inputs among the workers of a Dask cluster that runs: its address, such as "
        "tcp://10.0.0.1:8786.",
        rich_help_panel=CLUSTER,
    ),
]
SchedulerFile = Annotated[
    str | None,
    typer.Option(
        "--scheduler_file",
        help="The same, with the file that `dask scheduler --scheduler-file FILE` has written.",
        rich_help_panel=CLUSTER,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which processes a command was told to use. A command that has many independent jobs takes a subclass."""

    workers: Workers = None
    scheduler: Scheduler = None
    scheduler_file: SchedulerFile = None

    def cluster(self) -> ClusterSettings | None:
        """Turn options into settings; None for this process alone."""
        given = (self.workers, self.scheduler, self.scheduler_file)
        if all(option is None for option in given):
            return None
        return ClusterSettings(workers=self.workers, scheduler=self.scheduler, scheduler_file=self.scheduler_file)
