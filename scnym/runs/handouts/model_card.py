"""The card of a model in Markdown: what it names, what it learnt from, how good it is, and what it is not for."""

import hashlib
from pathlib import Path

from scnym.disk.features import gene_naming
from scnym.model.snapshot import Snapshot
from scnym.runs.folder import FINAL_FOLDER, METRICS_FILE
from scnym.runs.handouts.document import MEASURES, filled
from scnym.runs.handouts.files import optional_json

CARD_FILE = "model_card.md"


def model_card(model: Path) -> str:
    """Give the card of a model file; of the final model in the folder of its run with what its folds have shown.

    Raises
    ------
    UserError
        If there is no model, or a damaged one.
    """
    card = Snapshot.load(model).card
    run = optional_json(model.parent.parent / METRICS_FILE) if model.parent.name == FINAL_FOLDER else {}
    held_out = (run.get("held_out") or {}) if tuple(run.get("classes", ())) == card.classes else {}
    return filled(
        "model_card.md",
        card=card,
        cells_of=dict(zip(card.classes, card.cells_per_class, strict=False)),
        naming=gene_naming(card.genes),
        file=model.name,
        sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        figures=MEASURES,
        held_out=held_out,
        per_class=held_out.get("per_class", {}),
        not_judged=run.get("not_judged", ()) if held_out else (),
        n_folds=len(run.get("folds", ())),
        spread=run.get("spread", {}),
        baseline=(run.get("baseline") or {}).get("held_out"),
    )


def write_model_card(model: Path, path: Path) -> None:
    """Write the card of a model file; see `model_card`."""
    path.write_text(model_card(model), encoding="utf-8")
