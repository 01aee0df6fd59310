"""The three families of models: what each is called, where it stands, and folder names for tissues of any name."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

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
REPORT_FILE = "report.html"

MAX_NAME_BYTES = 100
"""Of a folder's name; file systems allow 255, and more is added to names while work is under way."""
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}
"""What Windows keeps for devices, with any suffix."""
TAKEN = {TISSUES_FILE, REPORT_FILE, "summary.json"}


def title_of(family: Family, tissue: str | None = None) -> str:
    """Give the heading of a run's report."""
    return f"Tissue {family} training" + (f": {tissue}" if tissue is not None else "")


def folder_names(tissues: Sequence[str]) -> tuple[str, ...]:
    """Give each tissue a folder name that is safe on every file system, and unlike all others in whatever case.

    A name that is safe already stays as it is. In others, what is not a letter, a digit or one of ``-_. `` becomes
    ``_``; a number at the end tells apart what would be alike.
    """
    names: dict[str, str] = {}
    used = {_alike(name) for name in TAKEN}
    for tissue in sorted(tissues, key=lambda tissue: (_safe(tissue) != tissue, tissue)):
        names[tissue] = _unlike(_safe(tissue), used)
        used.add(_alike(names[tissue]))
    return tuple(names[tissue] for tissue in tissues)


def _safe(name: str) -> str:
    kept = re.sub(r"[^\w\-. ]", "_", unicodedata.normalize("NFC", name))
    kept = re.sub(r"^[. ]+|[. ]+$", "_", _cut(kept))
    return f"{kept}_" if kept.partition(".")[0].strip().lower() in DEVICES else kept or "_"


def _cut(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def _unlike(name: str, used: Iterable[str]) -> str:
    """Add a number to a name if it is used."""
    tried, number = name, 1
    while _alike(tried) in used:
        number += 1
        tried = f"{name}-{number}"
    return tried


def _alike(name: str) -> str:
    """Give what two names have in common that some file system holds to be one."""
    return unicodedata.normalize("NFKC", name).casefold()
