"""The command line as users know it: spellings, config files, errors of one line, quiet when piped."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import anndata
import pandas as pd
import pytest
from helpers import clustered_adata, dense, telling_adata, write_csv, write_h5ad, write_text
from typer.testing import CliRunner

from cli.main import app
from scnym import Store

QUICK = ["--n_folds", "2", "--n_epochs", "2", "--n_hidden", "8", "--batch_size", "64", "--lower_group", "cell_type"]
TREE = ("cache", "tissue_independent")


def scnym(*arguments: object, expect: int = 0) -> str:
    """Run a command in this process; give what it printed, stdout then stderr."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output
    return result.stdout + result.stderr


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_h5ad(tmp_path / "cells.h5ad", clustered_adata(120))


def settings_of(out: Path) -> dict:
    return json.loads((out / "tissue_independent" / "all_data" / "all_data_parameters.json").read_text())["settings"]


def test_the_main_job_runs_from_counts_to_labels(cells: Path, tmp_path: Path):
    store, out = tmp_path / "cells.zarr", tmp_path / "out"
    assert "120" in scnym("convert", cells, store)
    printed = scnym("train_tissue_independent", "--input_counts", store, "--out_path", out, *QUICK)
    assert "macro-F1" in printed
    model = out / "tissue_independent" / "all_data" / "model.safetensors"
    assert str(model) in printed.replace("\n", "")
    printed = scnym("predict_cell_types", "--input_counts", cells, "--model_path", model, "--out_path", out)
    assert "60 of the model's 60 (100.0%" in printed
    assert len(pd.read_csv(out / "predictions" / "predictions.csv")) == 120


def test_dashes_and_underscores_are_the_same_and_the_command_may_stand_anywhere(cells: Path, tmp_path: Path):
    spelled = ["--input-counts", cells, "train-tissue-independent", "--out-path", tmp_path / "a"]
    scnym(*spelled, "--n-folds=0", "--n_epochs", "1", "--lower-group", "cell_type", "--overwrite")
    assert settings_of(tmp_path / "a")["split"]["n_folds"] == 0
    last = ["--out_path", tmp_path / "b", "--input_counts", cells, "--overwrite", *QUICK, "train_tissue_independent"]
    scnym(*last)
    assert settings_of(tmp_path / "b")["split"]["n_folds"] == 2


def test_an_options_value_that_looks_like_a_command_stays_a_value(cells: Path, tmp_path: Path):
    out = tmp_path / "convert"
    adata = clustered_adata(120)
    adata.obs["convert"] = adata.obs["cell_type"]
    cells = write_h5ad(tmp_path / "named.h5ad", adata)
    scnym("--lower_group", "convert", "--input_counts", cells, "--out_path", out, "--n_folds", 0, "--n_epochs", 1,
          "train_tissue_independent")  # fmt: skip
    assert settings_of(out)["label_column"] == "convert"


@pytest.mark.parametrize("suffix", ["yaml", "json", "txt"])
def test_the_command_line_wins_over_the_config_and_the_config_over_the_defaults(
    suffix: str, cells: Path, tmp_path: Path
):
    values = {"lower_group": "cell_type", "n_folds": 0, "n-epochs": 1, "n_hidden": 8, "batch_size": 32, "l1_reg": 1e-4}
    text = json.dumps(values) if suffix == "json" else "".join(f"{k}: {v}\n" for k, v in values.items())
    config = write_text(tmp_path / f"config.{suffix}", text)
    scnym("train_tissue_independent", "-c", config, "--input_counts", cells, "--out_path", tmp_path / "out",
          "--n_hidden", 4)  # fmt: skip
    used = settings_of(tmp_path / "out")
    assert used["network"]["n_hidden"] == 4
    assert used["stream"]["batch_size"] == 32
    assert used["network"]["init_dropout"] == 0.3


def test_the_sample_config_is_the_first_releases_recipe(cells: Path, tmp_path: Path):
    config = Path(__file__).parent.parent / "configs" / "default_config.txt"
    adata = clustered_adata(120)
    adata.obs["cell_ontology_class"] = adata.obs["cell_type"]
    cells = write_h5ad(tmp_path / "named.h5ad", adata)
    scnym("-c", config, "--input_counts", cells, "--out_path", tmp_path / "out", "--n_folds", 0, "--n_epochs", 1,
          "train_tissue_independent")  # fmt: skip
    used = settings_of(tmp_path / "out")
    assert used["label_column"] == "cell_ontology_class"
    assert used["stream"]["class_balance"] == "seed"
    assert used["training"]["weight_decay"] == 1e-6
    assert (used["network"]["n_hidden"], used["network"]["n_layers"], used["network"]["residual"]) == (256, 1, True)


@pytest.mark.parametrize(
    ("words", "residual", "balance"),
    [
        (["--residual", "--balance_classes"], True, "seed"),
        (["--residual", "True", "--balance_classes", "False"], True, "natural"),
        (["--residual=false", "--balance_classes", "true"], False, "seed"),
        (["--balance_classes", "True", "--class_balance", "power:0.5"], True, "power:0.5"),
        ([], True, "natural"),
    ],
)
def test_switches_mean_what_they_say(words, residual, balance, cells: Path, tmp_path: Path):
    scnym("train_tissue_independent", "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK, "--n_folds", 0,
          *words)  # fmt: skip
    used = settings_of(tmp_path / "out")
    assert used["network"]["residual"] is residual
    assert used["stream"]["class_balance"] == balance


@pytest.mark.parametrize(("line", "used"), [([], "uniform"), (["--balance_classes"], "seed")])
def test_the_line_wins_over_the_file_by_whichever_name_balance_has(line, used, cells: Path, tmp_path: Path):
    config = write_text(tmp_path / "config.yaml", "class_balance: uniform\n")
    scnym("train_tissue_independent", "-c", config, "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK,
          "--n_folds", 0, *line)  # fmt: skip
    assert settings_of(tmp_path / "out")["stream"]["class_balance"] == used


def test_every_option_of_training_reaches_its_setting(cells: Path, tmp_path: Path):
    printed = scnym("train_tissue_independent", "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK,
          *("--patience", 3, "--optimizer", "adamw", "--mixup_alpha", 0.2, "--device", "cpu", "--n_top_genes", 30),
          *("--checkpoint_every", 1, "--upper_group", "organ", "--resume", "--baseline"))  # fmt: skip
    assert "logistic regression: accuracy" in printed
    assert "what the network adds: accuracy " in printed
    used = settings_of(tmp_path / "out")
    training = {name: used["training"][name] for name in ("patience", "optimizer", "mixup_alpha", "checkpoint_every")}
    assert training == {"patience": 3, "optimizer": "adamw", "mixup_alpha": 0.2, "checkpoint_every": 1}
    assert (used["device"], used["n_top_genes"], used["tissue_column"]) == ("cpu", 30, "organ")
    assert (tmp_path / "out" / "tissue_independent" / "fold00" / "model_weights_002.pkl").is_file()


def test_what_is_not_possible_is_one_line_before_any_work(cells: Path, tmp_path: Path):
    def refused(*words: object) -> str:
        line = ["train_tissue_independent", "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK]
        return scnym(*line, *words, expect=2)

    assert "'mps' is not there on this machine; give auto or cpu" in refused("--device", "mps")
    assert "no column 'donor'" in refused("--cv_group", "donor")
    assert "one of --resume and --overwrite" in refused("--resume", "--overwrite")
    assert "--n_top_genes: 0 is not possible" in refused("--n_top_genes", 0)
    assert "--mixup_alpha: -1.0 is not possible" in refused("--mixup_alpha", -1)


def test_a_type_called_na_is_a_missing_value_in_a_table_which_is_said_and_a_type_in_an_h5ad(tmp_path: Path):
    adata = clustered_adata(120)
    adata.obs["cell_type"] = adata.obs["cell_type"].map({"type 0": "NA", "type 1": "T", "type 2": "B"})
    cells = write_h5ad(tmp_path / "cells.h5ad", adata)
    pd.DataFrame({"cell_type": adata.obs["cell_type"]}).to_csv(tmp_path / "labels.csv", index_label="cell_id")
    line = ["train_tissue_independent", "--input_counts", cells, *QUICK, "--n_folds", 0, "--json", "--out_path"]
    assert set(classes_of(scnym(*line, tmp_path / "a"))) == {"B", "NA", "T"}
    printed = scnym(*line, tmp_path / "b", "--training_metadata", tmp_path / "labels.csv")
    assert set(classes_of(printed)) == {"B", "T"}
    assert "labels.csv: taken for missing values: 'NA' in column cell_type." in printed
    assert f"{(adata.obs['cell_type'] == 'NA').sum()} of 120 cells without a label are left out" in printed
    printed = scnym("convert", cells, tmp_path / "c.zarr", "--training_metadata", tmp_path / "labels.csv")
    assert printed.count("taken for missing values: 'NA'") == 1


def classes_of(printed: str) -> list[str]:
    return json.loads(printed[: printed.rindex("}") + 1])["classes"]


def test_ctrl_c_says_how_to_go_on(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    line = ["train_tissue_independent", "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr("scnym.runs.cross_validation._write_summary", interrupt)
        assert "the same command with --resume, and without --overwrite, goes on" in scnym(*line, expect=130)
    assert "unfinished run is in the way" in scnym(*line, expect=2)
    assert "macro-F1" in scnym(*line, "--resume")


def test_results_come_as_json_when_asked_for(cells: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["convert", str(cells), str(tmp_path / "c.zarr"), "--json"])
    assert json.loads(result.stdout)["n_cells"] == 120
    arguments = [
        "train_tissue_independent",
        "--input_counts",
        tmp_path / "c.zarr",
        "--out_path",
        tmp_path / "o",
        *QUICK,
    ]
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    content = json.loads(result.stdout)
    assert content["held_out"]["n_cells"] == 120
    arguments = ["predict_cell_types", "--input_counts", cells, "--model_path", content["model"], "--out_path",
                 tmp_path / "o", "--json"]  # fmt: skip
    assert json.loads(CliRunner().invoke(app, [*map(str, arguments)]).stdout)["coverage"]["share"] == 1.0


def broken_store(cells: Path, target: Path) -> Path:
    """A store that was copied in part."""
    import shutil

    scnym("convert", cells, target)
    shutil.rmtree(target / "dataset_0" / "X" / "data" / "c")
    return target


BASE = ["train_tissue_independent", "--input_counts", "{cells}", "--out_path", "{out}", *QUICK]
PREDICT = ["predict_cell_types", "--input_counts", "{cells}", "--out_path", "{out}", "--model_path"]
MISTAKES = {
    "missing counts": ([*BASE, "--input_counts", "no.h5ad"], "no.h5ad: there is no such file"),
    "unknown label column": ([*BASE, "--lower_group", "nope"], "no column 'nope'", "'cell_type'"),
    "missing metadata": ([*BASE, "--training_metadata", "no.csv"], "no.csv: there is no such file"),
    "missing config": ([*BASE, "-c", "no.yaml"], "no.yaml: there is no such config file"),
    "config that is no mapping": ([*BASE, "-c", "{list_config}"], "holds no options"),
    "config that is no YAML": ([*BASE, "-c", "{bad_yaml}"], "neither YAML nor JSON"),
    "unknown config key": ([*BASE, "-c", "{bad_key}"], "unknown key 'n_epoch'", "did you mean n_epochs?"),
    "bad config value": ([*BASE, "-c", "{bad_value}"], "key n_epochs"),
    "unknown option": ([*BASE, "--n_epoch", "3"], "--n_epoch"),
    "negative seed": ([*BASE, "--seed", "-1"], "--seed: -1 is not possible"),
    "huge seed": ([*BASE, "--seed", "4294967296"], "--seed: 4294967296 is not possible"),
    "huge width": ([*BASE, "--n_hidden", "99999999999"], "--n_hidden"),
    "diverging": ([*BASE, "--weight_decay", "1e30"], "--weight_decay: 1e+30 is not possible"),
    "options without a command": (["--input_counts", "{cells}"], "no command", "train_tissue_independent"),
    "genes that are no text": ([*BASE, "--genes_to_use", "{cells}"], "not text in UTF-8"),
    "config that names itself": ([*BASE, "-c", "{self_config}"], "cannot name another"),
    "config with a tag": ([*BASE, "-c", "{tagged}"], "neither YAML nor JSON"),
    "config nested too deep": ([*BASE, "-c", "{nested}"], "nested too deeply"),
    "text as weights": ([*PREDICT, "{text_pkl}"], "not a file of plain weights"),
    "store without a chunk": ([*BASE, "--input_counts", "{broken}"], "chunks of dataset_0/X/data are missing"),
    "bad number": ([*BASE, "--n_epochs", "many"], "--n_epochs: 'many'", "not a whole number"),
    "impossible number": ([*BASE, "--n_hidden", "-1"], "--n_hidden: -1 is not possible"),
    "bad balance": ([*BASE, "--class_balance", "even"], "natural, seed, uniform, or power:A"),
    "bad size": ([*BASE, "--max_memory", "lots"], "'lots' is not a size"),
    "missing required": (["train_tissue_independent", "--out_path", "{out}"], "--input_counts"),
    "unknown command": (["train_everything"], "train_everything"),
    "missing model": ([*PREDICT, "no.safetensors"], "no.safetensors: there is no such model"),
    "model that is none": ([*PREDICT, "{cells}"], "not a model file"),
    "negative value": ([*BASE, "--input_counts", "{negative}"], "line 3: '-1' in column b is negative"),
    "NaN value": ([*BASE, "--input_counts", "{nan}"], "line 2: 'nan' in column a"),
    "ragged row": ([*BASE, "--input_counts", "{ragged}"], "line 2: 2 fields where 3 were expected"),
    "duplicate genes": ([*BASE, "--input_counts", "{twice}"], "duplicate gene names 'a'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line_and_exit_code_2_and_leaves_nothing_half_written(
    mistake: str, cells: Path, tmp_path: Path
):
    files = {
        "cells": cells,
        "out": tmp_path / "out",
        "list_config": write_text(tmp_path / "list.yaml", "- a\n"),
        "bad_yaml": write_text(tmp_path / "bad.yaml", "a: [1"),
        "bad_key": write_text(tmp_path / "key.yaml", "n_epoch: 3\n"),
        "bad_value": write_text(tmp_path / "value.yaml", "n_epochs: many\n"),
        "self_config": write_text(tmp_path / "self.yaml", "config: self.yaml\n"),
        "tagged": write_text(tmp_path / "tagged.yaml", "n_epochs: !!python/object/apply:os.getpid []\n"),
        "nested": write_text(tmp_path / "nested.yaml", "a: " + "[" * 3000 + "]" * 3000),
        "text_pkl": write_text(tmp_path / "text.pkl", "hello"),
        "broken": broken_store(cells, tmp_path / "broken.zarr"),
        "negative": write_text(tmp_path / "negative.csv", "cell,a,b\nx,1,2\ny,1,-1\n"),
        "nan": write_text(tmp_path / "nan.csv", "cell,a,b\nx,nan,2\n"),
        "ragged": write_text(tmp_path / "ragged.csv", "cell,a,b\nx,1\n"),
        "twice": write_text(tmp_path / "twice.csv", "cell,a,a\nx,1,1\n"),
    }
    arguments, *words = MISTAKES[mistake]
    result = CliRunner().invoke(app, [word.format(**files) for word in arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.strip().splitlines() if not line.startswith("try: ")]
    lines = [line for line in lines if ": read as cells x genes, since " not in line]
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert all(line.startswith(("convert ", "write ", "error: ")) for line in lines)
    for word in words:
        assert word in lines[-1]
    left = [path for path in (tmp_path / "out").rglob("*") if path.parent.name in {"out", "cache"}]
    assert all(path.name == "cache" or path.suffix == ".zarr" for path in left)


def test_output_that_exists_is_refused_and_kept(cells: Path, tmp_path: Path):
    arguments = [*BASE, "--n_folds", "0"]
    filled = [word.format(cells=cells, out=tmp_path / "out") for word in arguments]
    scnym(*filled)
    before = settings_of(tmp_path / "out")
    printed = scnym(*filled, expect=2)
    assert "the output exists already" in printed
    assert "--overwrite" in printed
    assert settings_of(tmp_path / "out") == before


def test_no_shared_genes_is_a_mistake_with_the_reason(cells: Path, tmp_path: Path):
    scnym("train_tissue_independent", "--input_counts", cells, "--out_path", tmp_path / "out", *QUICK, "--n_folds", 0)
    model = tmp_path / "out" / "tissue_independent" / "all_data" / "model.safetensors"
    other = telling_adata()
    other.var_names = [f"ENSG{k:011d}" for k in range(12)]
    new = write_csv(tmp_path / "new.csv", other)
    printed = scnym("predict_cell_types", "--input_counts", new, "--model_path", model, "--out_path", tmp_path / "out",
                    expect=2)  # fmt: skip
    assert "has 0 of the model's 60 genes" in printed
    assert "the data names genes by Ensembl id, the model by symbol" in printed
    assert not (tmp_path / "out" / "predictions").exists()


def test_a_folder_that_cannot_be_written_is_one_line(cells: Path, tmp_path: Path):
    blocked = write_text(tmp_path / "file", "x")
    printed = scnym(
        "train_tissue_independent", "--input_counts", cells, "--out_path", blocked / "out", *QUICK, expect=2
    )
    assert "error: " in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag: str):
    printed = scnym(flag)
    for name in ("convert", "train_tissue_independent", "predict_cell_types"):
        assert name in printed
        assert "scnym" in scnym(name, flag)


def test_completion_finds_commands_after_options():
    import typer

    command = typer.main.get_command(app)
    context = command.make_context("scnym", ["--input_counts", "x"], resilient_parsing=True)
    names = [item.value for item in command.shell_complete(context, "tr")]
    assert "train_tissue_independent" in names


def test_the_version_is_printed():
    assert scnym("--version").startswith("scnym ")


@pytest.mark.slow
def test_the_installed_script_runs_from_another_folder_and_is_plain_when_piped(cells: Path, tmp_path: Path):
    program = Path(sysconfig.get_path("scripts")) / "scnym"
    arguments = ["convert", cells, tmp_path / "c.zarr"]
    done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    steps = [line.partition(" in ")[0] for line in done.stderr.splitlines()]
    assert steps == ["convert cells.h5ad: 120 cells", "write cells.h5ad: 120 cells"]


@pytest.mark.slow
def test_the_first_run_in_the_readme_works_as_it_stands(tmp_path: Path):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    block = readme.partition("## Your own cells")[2].split("```")[1].removeprefix("shell\n")
    assert block.count("scnym ") == 3
    write_h5ad(tmp_path / "labelled.h5ad", clustered_adata(120))
    write_h5ad(tmp_path / "new.h5ad", clustered_adata(50, seed=3))
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", block], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cell_id,cell_type,confidence" in done.stdout
    assert len(pd.read_csv(tmp_path / "run" / "predictions" / "predictions.csv")) == 50
    assert (tmp_path / "run" / "tissue_independent" / "report.html").is_file()


@pytest.mark.slow
def test_the_wheel_holds_the_command_line_inside_the_package(tmp_path: Path):
    root = Path(__file__).parent.parent
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, root]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, "PIP_NO_INPUT": "1"})
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel]
    subprocess.run(install, check=True, capture_output=True)
    assert sorted(path.name for path in target.iterdir() if "." not in path.name) == ["bin", "scnym"]
    assert (target / "scnym" / "runs" / "reports" / "templates" / "training.html").is_file()
    assert (target / "scnym" / "py.typed").is_file()
    done = subprocess.run(
        [sys.executable, target / "bin" / "scnym", "--version"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("scnym ")


def test_progress_bars_show_rate_and_time_left_on_a_terminal():
    from io import StringIO

    from rich.console import Console

    from cli.progress import PlainProgress, TerminalProgress

    screen = StringIO()
    progress = TerminalProgress(Console(file=screen, force_terminal=True, width=120))
    with progress.task("train fold00", total=200, unit="cells") as task:
        task.advance(100, note="epoch 1")
    shown = screen.getvalue()
    assert "cells/s" in shown
    assert "left" in shown
    assert "100/200" in shown
    log = StringIO()
    with PlainProgress(Console(file=log)).task("train fold00", total=200, unit="cells") as task:
        task.advance(200)
    assert log.getvalue().startswith("train fold00: 200 cells in ")
    assert log.getvalue().count("\n") == 1


def test_inspect_shows_what_a_file_a_store_and_a_model_are(cells: Path, tmp_path: Path):
    printed = scnym("inspect", cells)
    assert "120 cells x 60 genes (symbol)" in printed
    assert "values: counts" in printed
    assert "cell_type: 3 values: type" in printed
    assert "convert" in printed
    store, out = tmp_path / "cells.zarr", tmp_path / "out"
    scnym("convert", cells, store)
    found = json.loads(scnym("inspect", store, "--json"))
    assert (found["kind"], found["n_cells"], found["sources"][0]["n_genes"]) == ("store", 120, 60)
    assert sum(found["sources"][0]["columns"]["cell_type"].values()) == 120
    scnym("train_tissue_independent", "--input_counts", store, "--out_path", out, *QUICK)
    printed = scnym("inspect", out / "tissue_independent/all_data/model.safetensors")
    assert re.search(r"names 3 classes of column cell_type: type 0 \d+, type 1 \d+, type 2 \d+\n", printed)
    assert "reads 60 genes by symbol" in printed


def test_inspect_says_what_cannot_be_used_and_why(tmp_path: Path):
    adata = telling_adata()
    adata.X = dense(adata) - 5
    adata.var_names = [f"ENSMUSG{k:011d}.2" for k in range(12)]
    printed = scnym("inspect", write_h5ad(tmp_path / "scaled.h5ad", adata))
    assert "Ensembl id, with versions, mouse, it seems" in printed
    assert "is negative or not a finite number  - cannot be used as they are" in printed
    assert "there is no such file" in scnym("inspect", tmp_path / "none.h5ad", expect=2)


def test_verify_says_what_is_lost_and_fails(cells: Path, tmp_path: Path):
    store = tmp_path / "cells.zarr"
    scnym("convert", cells, store)
    assert "all are what they were" in scnym("verify", store)
    shard = store / "dataset_0/X/data/c/0"
    content = shard.read_bytes()
    shard.write_bytes(content[:40] + b"!" + content[41:])
    printed = scnym("verify", store, expect=2)
    assert "dataset_0/X/data/c/0  has changed" in printed
    assert "1 of " in printed
    assert "120 of 120 cells are lost; copy the store again" in printed
    found = json.loads(scnym("verify", store, "--json", expect=2).partition("verify cells")[0])
    assert found["n_lost_cells"] == 120


def test_a_store_goes_back_to_an_h5ad(cells: Path, tmp_path: Path):
    store, target = tmp_path / "cells.zarr", tmp_path / "back.h5ad"
    scnym("convert", cells, store, "--cluster_by", "cell_type", "--profile", "small")
    assert f"written: {target}" in scnym("export", store, target).replace("\n", "")
    assert "it exists already" in scnym("export", store, target, expect=2)
    assert anndata.read_h5ad(target).shape == (120, 60)


def test_labels_may_be_joined_when_converting(tmp_path: Path):
    table = write_text(tmp_path / "meta.csv", "id,kind\n" + "".join(f"cell {k},k{k % 2}\n" for k in range(40)))
    cells, store = write_csv(tmp_path / "cells.csv"), tmp_path / "cells.zarr"
    scnym("convert", cells, store, "--training_metadata", table, "--cluster_by", "kind", "--max_memory", "200MB")
    assert list(Store(store).obs["kind"]) == ["k0"] * 20 + ["k1"] * 20


def test_columns_of_the_stores_own_are_not_offered_as_labels(tmp_path: Path):
    cells = write_h5ad(tmp_path / "bare.h5ad", anndata.AnnData(clustered_adata(40).X))
    arguments = ("--input_counts", cells, "--out_path", tmp_path / "out", *QUICK)
    printed = scnym("train_tissue_independent", *arguments, expect=2)
    assert "give --training_metadata" in printed
    assert "n_counts" not in printed


def test_quiet_prints_results_alone_and_verbose_adds_memory_wherever_they_stand(cells: Path, tmp_path: Path):
    def told(*before: str, after: str = "") -> tuple[str, str]:
        store = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        result = CliRunner().invoke(app, [*before, "convert", str(cells), str(store), *after.split()])
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    usual, quiet, verbose = told(), told("--quiet"), told("-v")
    assert "cells in" in usual[1]
    assert "peak memory" not in usual[1]
    assert quiet[1] == ""
    assert "store:" in quiet[0]
    assert "peak memory" in verbose[1]
    assert told(after="-q")[1] == ""
    clash = CliRunner().invoke(app, ["-q", "inspect", str(cells), "--verbose"])
    assert clash.exit_code == 2
    assert "opposite" in clash.stderr


def test_a_misspelt_command_is_answered_with_the_right_one():
    result = CliRunner().invoke(app, ["predict_cel_types", "--out_path", "run"])
    assert result.exit_code == 2
    assert "did you mean scnym predict_cell_types" in result.stderr
