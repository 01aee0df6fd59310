"""The whole table, theme by theme."""

from faults import (
    answers,
    downloads,
    files,
    labels,
    matrices,
    models,
    names,
    options,
    outputs,
    stores,
    strangers,
    tables,
    values,
)
from faults.fault import Fault

THEMES: dict[str, tuple[Fault, ...]] = {
    "Files": files.FAULTS,
    "Matrices": matrices.FAULTS,
    "Names": names.FAULTS,
    "Values": values.FAULTS,
    "Tables": tables.FAULTS,
    "Labels": labels.FAULTS,
    "Stores": stores.FAULTS,
    "Models": models.FAULTS,
    "New cells": strangers.FAULTS,
    "Output": outputs.FAULTS,
    "Options": options.FAULTS,
    "Evaluation": answers.FAULTS,
    "Public data": downloads.FAULTS,
}
FAULTS = tuple(fault for faults in THEMES.values() for fault in faults)
