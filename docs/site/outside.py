"""Files outside of docs/ that are pages of the site too, under the path that they have in the repository."""

import os
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
DOCS = "docs"
SHOWN = (
    "CHANGELOG.md",
    "SECURITY.md",
    "data/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
    "scnym/disk/public_data.json",
)
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)#\s:]+)(?P<after>(#[^)\s]*)?\))")


def outside_files() -> dict[str, str | bytes]:
    """Give their content, by their path on the site."""
    paths = sorted(path for pattern in SHOWN for path in ROOT.glob(pattern))
    return {path.relative_to(ROOT).as_posix(): _content(path) for path in paths}


def with_site_links(markdown: str, page: str) -> str:
    """Turn links between files of the repository into links between pages of the site.

    Parameters
    ----------
    markdown
        A page.
    page
        Its path on the site.
    """
    shown = outside_files()
    home = PurePosixPath(page).parent
    here = home if page in shown else PurePosixPath(DOCS) / home

    def on_site(found: re.Match[str]) -> str:
        target = os.path.normpath(here / found["target"])
        if target.startswith(f"{DOCS}/"):
            target = target.removeprefix(f"{DOCS}/")
        elif target not in shown:
            return found[0]  # not on the site: MkDocs says so, and fails
        return f"{found['before']}{os.path.relpath(target, home)}{found['after']}"

    return _LINK.sub(on_site, markdown)


def _content(path: Path) -> str | bytes:
    return path.read_bytes() if path.suffix == ".png" else path.read_text(encoding="utf-8")
