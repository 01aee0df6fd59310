"""JSON that may come from anyone."""

import json
from typing import Any


def parse_json(document: bytes | str) -> Any:
    """Parse JSON as `json.loads` does; what is nested too deeply for that is a fault of the document as well.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return json.loads(document)
    except RecursionError as fault:
        raise ValueError("it is nested too deeply") from fault
