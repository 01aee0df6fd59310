"""The three families of models: what each is called, where it stands, and the folders of tissues."""

from collections.abc import Sequence
from typing import Literal, get_args

from scnym.base.file_names import distinct_names

Family = Literal["independent", "dependent", "specific"]
"""independent: all cells, whatever their tissue; dependent: the tissue is read beside the genes; specific: a model for
each tissue."""
FAMILIES: tuple[Family, ...] = get_args(Family)
FOLDERS: dict[str, str] = {
    "independent": "tissue_independent",
    "dependent": "tissue_dependent",
    "specific": "tissues",
}
"""Folder of each family below the output folder."""
COMMANDS: dict[str, str] = {family: f"train_tissue_{family}" for family in FAMILIES}
TISSUES_FILE = "summary.csv"
"""In the folder of the specific family: every tissue, with its folder and its figures, or why it has none."""
TRAINED, SKIPPED = "trained", "skipped"
"""What became of a tissue there: column `status`."""
CATEGORIES_FILE = "tissue_categories.csv"
"""In the folder of the dependent family: code and name of each tissue."""
TAKEN = {TISSUES_FILE, "report.html", "summary.json"}
"""File names that no tissue's folder may have."""


def title_of(family: Family, tissue: str | None = None) -> str:
    """Give the heading of a run's report."""
    return f"Tissue {family} training" + (f": {tissue}" if tissue is not None else "")


def folder_names(tissues: Sequence[str]) -> tuple[str, ...]:
    """Give each tissue a folder name that is safe on every file system, and unlike all others in whatever case."""
    return distinct_names(tissues, TAKEN)
