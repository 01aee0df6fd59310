"""The examples for workflow managers: Snakemake's is run, and the commands of the Nextflow module are."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest
import yaml
from helpers import clustered_adata, write_csv, write_h5ad

from scnym import RunSettings, SplitSettings, TrainSettings, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "pipelines"
PATH = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
QUICK = "--n_folds 2 --n_epochs 3"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": PATH, "XDG_CACHE_HOME": str(folder / "home")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labelled cells, and two samples to label."""
    write_h5ad(tmp_path / "labelled.h5ad", clustered_adata(150))
    write_h5ad(tmp_path / "a.h5ad", clustered_adata(40, seed=1))
    write_csv(tmp_path / "b.csv", clustered_adata(50, seed=2))
    samples = pd.DataFrame({"sample": ["well", "ill one"], "path": ["a.h5ad", "b.csv"]})
    samples.to_csv(tmp_path / "samples.csv", index=False)
    return tmp_path


@pytest.mark.slow
def test_snakemake_trains_labels_every_sample_and_does_nothing_twice(folder: Path):
    command = [
        *(sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(EXAMPLES / "Snakefile")),
        *("--config", "labelled=labelled.h5ad", "label_column=cell_type", f"train_options={QUICK}"),
    ]
    done = run(folder, *command)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "scnym_out" / "cell_types.csv")
    assert table.groupby("sample")["cells"].sum().to_dict() == {"well": 40, "ill one": 50}
    assert (folder / "scnym_out" / "run" / "tissue_independent" / "report.html").is_file()
    again = run(folder, *command)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stderr


@pytest.mark.parametrize("part", ["script", "stub"])
def test_the_commands_of_the_nextflow_module_give_what_it_promises(folder: Path, part: str):
    module = (EXAMPLES / "nextflow" / "main.nf").read_text()
    script = re.findall(rf'^    {part}:.*?"""\n(.*?)"""', module, re.DOTALL | re.MULTILINE)[0]
    quick = RunSettings(label_column="cell_type", split=SplitSettings(n_folds=0), training=TrainSettings(n_epochs=3))
    train(folder / "labelled.h5ad", folder / "run", quick)
    given = {
        "task.process": "SCNYM_PREDICT", "task.cpus": "1", "counts": "a.h5ad", "prefix": "sample",
        "model": "run/tissue_independent/all_data/model.safetensors", "args": "--write_h5ad",
    }  # fmt: skip
    done = run(folder, "bash", "-euo", "pipefail", "-c", as_bash(script, given))
    assert done.returncode == 0, done.stderr
    versions = yaml.safe_load((folder / "versions.yml").read_text())
    assert versions == {"SCNYM_PREDICT": {"scnym": run(folder, "scnym", "--version").stdout.split()[1]}}
    promised = re.findall(r'path\("\$\{prefix\}/(\S+?)"\).*', module)
    assert len(promised) == 3
    for path in promised if part == "script" else promised[:2]:
        assert (folder / "sample" / path).exists(), path


def as_bash(script: str, given: dict[str, str]) -> str:
    """Fill in what Nextflow would, and take its escapes and the indentation away, as it does."""
    for name, value in given.items():
        script = re.sub(rf"(?<!\\)\$(\{{{re.escape(name)}\}}|{re.escape(name)}\b)", value, script)
    return dedent(script).replace("\\$", "$").replace("\\\\", "\\")


def test_the_page_names_every_exit_code_that_there_is():
    from cli.group import INTERRUPTED
    from scnym.base.errors import ScnymError, UserError

    page = (ROOT / "docs" / "pipelines.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+)", page, re.MULTILINE)}
    assert codes >= {0, ScnymError.exit_code, UserError.exit_code, INTERRUPTED}
