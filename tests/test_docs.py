"""The site: what it says is run, what it lists is what there is, and it asks nothing of other hosts."""

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fuzz.seeds import write_10x_folder
from helpers import clustered_adata, dense, write_csv, write_h5ad

from cli.main import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
RUN_PAGES = ["quickstart.md", *(page for page in NAV[2]["Guides"] for page in page.values() if "guides/" in page)]
"""Their shell blocks are run, in this order, in one folder."""


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def lines_of(page: str) -> list[str]:
    """The command lines of a page's shell blocks, those that go on joined."""
    blocks = blocks_of(DOCS / page, "shell")
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def write_what_guides_begin_with(folder: Path) -> None:
    labelled, new = clustered_adata(150, 60), clustered_adata(60, 60, seed=3)
    labelled.obs["tissue"] = ["lung", "spleen"] * 75
    labelled.obs["donor"] = [f"donor {k % 3}" for k in range(150)]
    new.obs["tissue"] = ["spleen", "lung"] * 30
    new.obs["leiden"] = new.obs["cell_type"].str[-1]
    write_h5ad(folder / "labelled.h5ad", labelled)
    write_h5ad(folder / "new.h5ad", new[:, np.random.default_rng(0).permutation(60)[:50]].copy())
    write_donors(folder, labelled)
    np.save(folder / "counts.npy", dense(labelled).astype(np.int32))
    (folder / "genes.txt").write_text("\n".join(labelled.var_names))
    write_data_list(folder)


def write_donors(folder: Path, labelled: anndata.AnnData) -> None:
    first, second = labelled[:75].copy(), labelled[75:].copy()
    second.var_names = [f"gene {k}" for k in range(5, 65)]
    first.obs = first.obs[[]]
    write_h5ad(folder / "donor1.h5ad", first)
    write_csv(folder / "donor2.csv.gz", second)
    columns = {name: labelled.obs[name].to_numpy() for name in ("cell_type", "tissue", "donor")}
    pd.DataFrame(columns, index=labelled.obs_names).to_csv(folder / "metadata.csv", index_label="cell")
    samples = {"path": ["donor1.h5ad", "donor2.csv.gz"], "sample": ["one", "two"], "condition": ["well", "ill"]}
    pd.DataFrame(samples).to_csv(folder / "samples.csv", index=False)


def write_data_list(folder: Path) -> None:
    content = b"cell,gene 1\na,1\n"
    mirrored = folder / "mirror" / "toy" / "counts.csv"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(content)
    file = {
        "name": "counts.csv",
        "url": "https://lab.example/counts.csv",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    entry = {
        "title": "Toy",
        "files": [file],
        "page": "https://lab.example",
        "licence": "CC0",
        "citation": "nobody",
    }
    (folder / "lab.json").write_text(json.dumps({"toy": entry}, indent=2))


def write_what_the_readme_begins_with(folder: Path) -> None:
    write_what_guides_begin_with(folder)
    (folder / "sample3").mkdir()
    write_10x_folder(folder / "sample3/filtered_feature_bc_matrix")
    cells = clustered_adata(150, 60)
    cells.obs["cell_ontology_class"] = cells.obs["cell_type"]
    write_h5ad(folder / "cells.h5ad", cells)
    (folder / "configs").symlink_to(ROOT / "configs")


def run_line(line: str, folder: Path) -> None:
    """Run one line as a shell would; scnym's commands in this process, which has loaded everything already."""
    if not line.startswith("scnym "):
        subprocess.run(["bash", "-euc", line], cwd=folder, check=True, capture_output=True)
        return
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True).stdout
    with pytest.raises(SystemExit) as ended:
        app(words.split("\0")[1:-1])
    assert ended.value.code == 0, line


@pytest.mark.slow
def test_every_command_of_quickstart_and_guides_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_what_guides_begin_with(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scnym.base.settings.DEFAULT_EPOCHS", 6)  # what is shown is how, not how good
    monkeypatch.setattr("scnym.base.settings.DEFAULT_MIN_STEPS", 6)
    lines = [line for page in RUN_PAGES for line in lines_of(page)]
    assert len(lines) > 25
    for line in lines:
        run_line(line, tmp_path)
    assert len(pd.read_csv("run/predictions/predictions.csv")) == 60
    assert Path("full/predictions/predictions.h5ad").is_file()


def test_every_command_of_the_readme_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_what_the_readme_begins_with(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scnym.base.settings.DEFAULT_EPOCHS", 6)
    monkeypatch.setattr("scnym.base.settings.DEFAULT_MIN_STEPS", 6)
    lines = lines_of("../README.md")
    assert len(lines) > 8
    for line in lines:
        run_line(line + (" --n_epochs 2" if "-c configs" in line else ""), tmp_path)
    assert len(pd.read_csv("run/predictions/predictions.csv")) == 60
    (loop,) = blocks_of(ROOT / "README.md", "python")
    names: dict[str, Any] = {}
    exec(loop, names)  # noqa: S102 - our own page
    assert names["state"]["epoch"] == 1
    assert names["batch"].x.layout == torch.sparse_csr


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_is_kept_of_it(tmp_path: Path):
    notebook = DOCS / "tutorial.ipynb"
    assert notebook.stat().st_size < 500_000
    assert str(ROOT) not in notebook.read_text()
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", str(tmp_path)]
    done = subprocess.run([*command, str(notebook)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for kept, ran in zip(outputs_of(notebook), outputs_of(tmp_path / "tutorial.ipynb"), strict=True):
        assert kept == ran


def outputs_of(notebook: Path) -> list[list[str]]:
    """What the cells of a notebook show, by kind; words in them may differ in digits between machines."""
    cells = json.loads(notebook.read_text())["cells"]
    return [
        [
            kind
            for output in cell.get("outputs", [])
            for kind in (output["output_type"], *sorted(output.get("data", [])))
        ]
        for cell in cells
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as by `make docs`: any warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Requests(HTMLParser):
    """Collects what a browser fetches to show a page; links that a reader may follow are another thing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in {"canonical", "next", "prev", "edit"}:
            return
        if tag != "a":
            self.found += [value for name in ("src", "srcset", "href") if (value := given.get(name))]


def test_the_site_asks_nothing_of_other_hosts(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text())
        assert len(requests.found) > 3
        assert not [found for found in requests.found if re.match(r"(https?:)?//", found)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def test_equations_are_shown_without_a_script(site: Path):
    page = (site / "method" / "index.html").read_text()
    assert page.count("<math") > 5
    assert r"\(" not in re.sub(r"<code.*?</code>", "", page, flags=re.DOTALL)


def test_the_page_of_commands_names_every_command_and_option(site: Path):
    from test_architecture import FROZEN_OPTIONS

    page = (site / "commands" / "index.html").read_text()
    for command, options in FROZEN_OPTIONS.items():
        section = page.partition(f'id="{command.replace(" ", "-")}"')[2].partition("<h2")[0]
        for option in options.split():
            assert f"<code>{option}</code>" in section, f"{command} {option}"
