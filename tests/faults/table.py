"""The whole table, theme by theme."""

from faults import answers, files, labels, models, names, options, outputs, stores, tables, values
from faults.fault import Fault

THEMES: dict[str, tuple[Fault, ...]] = {
    "Files": files.FAULTS,
    "Names": names.FAULTS,
    "Values": values.FAULTS,
    "Tables": tables.FAULTS,
    "Labels": labels.FAULTS,
    "Stores": stores.FAULTS,
    "Models": models.FAULTS,
    "Output": outputs.FAULTS,
    "Options": options.FAULTS,
    "Evaluation": answers.FAULTS,
}
FAULTS = tuple(fault for faults in THEMES.values() for fault in faults)
