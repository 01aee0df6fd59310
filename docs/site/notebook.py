"""The tutorial, a notebook, as a page with its figures."""

from pathlib import Path

from nbconvert import MarkdownExporter

NOTEBOOK = Path(__file__).parent.parent / "tutorial.ipynb"


def notebook_files() -> dict[str, str | bytes]:
    """Give the page and its figures, by their path on the site."""
    page, resources = MarkdownExporter().from_filename(str(NOTEBOOK))
    return {"tutorial.md": page, **resources["outputs"]}
