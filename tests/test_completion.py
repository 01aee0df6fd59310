"""What a shell offers when Tab is pressed."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "scnym"


def asked(**environment: str) -> str:
    """What scnym answers to a shell."""
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [PROGRAM], env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.stdout


def offered(shell: str, line: str) -> list[str]:
    """The words that scnym offers a shell for the last word of a line."""
    if shell == "bash":
        position = str(line.count(" "))
        return asked(_SCNYM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=position).split()
    answer = asked(_SCNYM_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line)
    return [one.split('"')[1] for one in answer.replace("((", "\n").splitlines() if one.startswith('"')]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scnym pre", ["predict_cell_types"]),
        ("scnym train_tissue_d", ["train_tissue_dependent"]),
        ("scnym convert --clu", ["--cluster_by"]),
        ("scnym predict_cell_types --min", ["--min_gene_coverage", "--min_confidence"]),
        ("scnym convert --profile ", ["fast", "small", "archive"]),
        ("scnym train_tissue_independent --optimizer ada", ["adamw", "adadelta"]),
        ("scnym data g", ["get"]),
        ("scnym data get pbmc_", ["pbmc_10k_v3"]),
        ("scnym data get --registry no.json pbmc_", []),
        ("scnym nothing_like_it", []),
    ],
)
def test_commands_options_and_values_are_offered(shell: str, line: str, words: list[str]):
    found = offered(shell, line)
    expected = [word for word in words if word.startswith(line.rpartition(" ")[2])]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_what_is_put_into_the_shell_calls_scnym(shell: str):
    script = asked(_SCNYM_COMPLETE=f"source_{shell}")
    assert f"_SCNYM_COMPLETE=complete_{shell}" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_with_it(tmp_path: Path):
    script = tmp_path / "scnym.sh"
    script.write_text(asked(_SCNYM_COMPLETE="source_bash"))
    asks = f"source {script}; COMP_WORDS=(scnym pre); COMP_CWORD=1; _scnym_completion scnym; echo ${{COMPREPLY[@]}}"
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asks], check=True, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.stdout == "predict_cell_types\n"
