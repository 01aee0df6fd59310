"""What work costs: time and memory, which differ from run to run where everything else is the same."""

import sys
import time
from typing import Any

COST_FILE = "cost.json"
"""In the folder of a run: what it cost."""


class Stopwatch:
    """Tells what has been spent since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def cost(self, n_cells: int) -> dict[str, Any]:
        """Give seconds, the most memory that this process ever held, in bytes (None if unknown), and cells a second."""
        seconds = time.monotonic() - self._began
        return {
            "seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            "n_cells": n_cells,
            "cells_per_second": round(n_cells / max(seconds, 1e-9), 1),
        }


def peak_memory_bytes() -> int | None:
    """Give the most memory that this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
