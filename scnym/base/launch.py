"""How this process was started: alone, or by torchrun as one of several that train together."""

from collections.abc import Mapping
from dataclasses import dataclass

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
