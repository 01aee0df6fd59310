"""The whole table, theme by theme."""

from faults import files, labels, names, tables, values
from faults.fault import Fault

THEMES: dict[str, tuple[Fault, ...]] = {
    "Files": files.FAULTS,
    "Names": names.FAULTS,
    "Values": values.FAULTS,
    "Tables": tables.FAULTS,
    "Labels": labels.FAULTS,
}
FAULTS = tuple(fault for faults in THEMES.values() for fault in faults)
