"""The whole table, theme by theme."""

from faults.fault import Fault
from faults.values import VALUES

THEMES: dict[str, tuple[Fault, ...]] = {
    "Values": VALUES,
}
FAULTS = tuple(fault for faults in THEMES.values() for fault in faults)
