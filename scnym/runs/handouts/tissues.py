"""The page that leads to the report of every tissue."""

from pathlib import Path
from typing import Any

from scnym.runs.folder import SUMMARY_FILE, read_own_json
from scnym.runs.handouts.document import write_page


def write_tissues_page(folder: Path, path: Path) -> None:
    """Write the page over the models of all tissues in a folder."""
    summary: dict[str, Any] = read_own_json(folder / SUMMARY_FILE)
    write_page(
        path,
        "tissues.html",
        [],
        title="Tissue specific training",
        rows=summary["tissues"],
        tissue_column=summary.get("tissue_column", "tissue"),
    )
