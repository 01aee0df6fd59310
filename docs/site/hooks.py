"""What MkDocs calls while it builds the site: pages that are made, pages from outside of docs/, equations."""

from typing import Any

from equations import with_mathml
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook import notebook_files
from outside import outside_files, with_site_links
from reference import commands_page


def on_files(files: Files, config: Any) -> Files:
    """Add the page of the commands, the notebook, and what pages link to outside of docs/."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    for name, content in {**notebook_files(), **outside_files()}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Make links that lead out of docs/ lead to where these files are on the site."""
    return with_site_links(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Make equations readable without a script."""
    return with_mathml(html)
