"""What --json prints: one document, with every key that ``docs/json.schema.json`` promises and no other."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
from every_command import LINES, prepare, run
from json_page import PAGE, SCHEMA, page, schema

from cli.results import RESULTS

PROMISED = json.loads(SCHEMA.read_text(encoding="utf-8"))
FAILURES = {
    "a file that is not there": ("inspect no.h5ad", 2, "no.h5ad", "there is no such file"),
    "an option that is not known": ("convert a b --n_epoch 3", 2, None, "No such option"),
    "an option that is missing": ("train_tissue_independent --out_path out", 2, None, "Missing option"),
    "a command that is not known": ("trian", 2, "scnym", "no command"),
    "a folder that is a file": ("convert cells.h5ad cells.csv/a.zarr", 2, "/", "Not a directory"),
}


def document(stdout: str) -> dict[str, Any]:
    """Read the one document on stdout, as strict readers do."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(stdout, parse_constant=refuse)


def require_promised(command: str, content: dict[str, Any]) -> None:
    jsonschema.validate(content, {"$ref": PROMISED["commands"][command]["$ref"], "$defs": PROMISED["$defs"]})


def promised_for(line: str) -> str:
    """Name the command of a line, as the schema does."""
    first = " ".join(line.split()[: 2 if line.startswith("data ") else 1])
    return f"{first} --by_sample" if "--by_sample" in line else first


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("json")
    prepare(folder)
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, dict[str, Any]]:
    """What each command prints."""
    del folder
    return {name: document(run(f"{line} --json").stdout) for name, line in LINES.items()}


@pytest.mark.parametrize("name", LINES)
def test_a_result_has_every_key_that_is_promised_and_no_other(name: str, documents: dict[str, dict[str, Any]]):
    require_promised(promised_for(LINES[name]), documents[name])


def test_every_command_is_tested_and_promises_something():
    from test_architecture import commands

    assert {promised_for(line) for line in LINES.values()} == set(RESULTS) == set(PROMISED["commands"]) - {"an error"}
    assert {name.partition(" --")[0] for name in RESULTS} == set(commands())


def test_what_is_promised_is_what_stands_in_the_documentation():
    assert schema() == PROMISED, "make json"
    assert page() == PAGE.read_text(encoding="utf-8"), "make json"


def test_a_key_that_is_missing_and_one_too_many_would_be_noticed(documents: dict[str, dict[str, Any]]):
    exported = documents["export"]
    for other in ({**exported, "more": 1}, {"file": exported["file"]}, {**exported, "bytes": None}):
        with pytest.raises(jsonschema.ValidationError):
            require_promised("export", other)


def test_results_of_all_kinds_are_told(documents: dict[str, dict[str, Any]]):
    """That what may be null is told somewhere, so that its form is tested."""
    trained = documents["train_tissue_independent"]
    assert trained["baseline"]["network_adds"]["accuracy"]["sd"] is not None
    assert documents["train without folds"]["held_out"] is None
    assert documents["train without folds"]["spread"] is None
    assert documents["inspect a table"]["n_cells"] is None
    assert documents["inspect a model"]["model"]["tissues"] == ["liver", "lung"]
    assert documents["predict_cell_types by tissue"]["coverage_by_tissue"].keys() == {"liver", "lung"}
    assert documents["find_cell_type_markers with cells"]["deletions"]
    for name, content in documents.items():
        if "report" in content:
            assert Path(content["report"]).is_file(), name


@pytest.mark.parametrize("failure", FAILURES)
def test_a_mistake_is_a_document_too_and_a_line_on_stderr(failure: str, folder: Path):
    del folder
    line, exit_code, where, what = FAILURES[failure]
    result = run(f"{line} --json", expect=exit_code)
    content = document(result.stdout)
    require_promised("an error", content)
    error = content["error"]
    assert what in error["what"]
    assert (error["where"] or "").startswith(where or "")
    assert error["exit_code"] == exit_code
    assert error["way_out"]
    assert result.stderr.startswith("error: ")
    assert error["way_out"] in result.stderr
    assert run(line, expect=exit_code).stdout == ""


@pytest.mark.parametrize(("raised", "exit_code"), [(KeyboardInterrupt, 130), (ZeroDivisionError, 1)])
def test_what_ends_early_is_a_document_too(raised: type[BaseException], exit_code: int, folder: Path):
    del folder
    with mock.patch("scnym.runs.inspection.inspect", side_effect=raised):
        content = document(run("inspect cells.h5ad --json", expect=exit_code).stdout)
    require_promised("an error", content)
    assert content["error"]["exit_code"] == exit_code


def test_a_config_file_can_ask_for_documents_of_mistakes_too(folder: Path):
    (folder / "json.yaml").write_text("json: true\ninput_counts: no.h5ad\nout_path: out\n")
    failed = run("train_tissue_independent -c json.yaml", expect=2)
    assert document(failed.stdout)["error"]["where"] == "no.h5ad"
    assert "error: no.h5ad" in failed.stderr
    (folder / "json.yaml").write_text("json: true\nno_such_key: 1\n")
    assert "no_such_key" in document(run("train_tissue_independent -c json.yaml", expect=2).stdout)["error"]["what"]


def test_a_store_that_is_damaged_is_told_of_in_one_document(folder: Path):
    run("convert cells.h5ad damaged.zarr")
    shard = next((folder / "damaged.zarr/dataset_0/X/data").rglob("0"))
    shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
    result = run("verify damaged.zarr --json", expect=2)
    content = document(result.stdout)
    require_promised("verify", content)
    assert content["faults"]
    assert content["error"]["exit_code"] == 2
    assert result.stderr.count("error: ") == 1


def test_a_sample_that_fails_is_told_of_in_one_document(folder: Path, documents: dict[str, dict[str, Any]]):
    del documents  # the model is theirs
    (folder / "two.csv").write_text("path\ncells.zarr\nno.h5ad\n")
    line = "predict_cell_types --input_counts two.csv --model_path run/tissue_independent --out_path two --by_sample"
    content = document(run(f"{line} --json", expect=2).stdout)
    require_promised("predict_cell_types --by_sample", content)
    assert [sample["status"] for sample in content["samples"]] == ["labelled", "failed"]
    assert "no.h5ad" in content["error"]["where"]


def test_a_number_that_does_not_exist_is_null_and_names_are_ascii(capsys: pytest.CaptureFixture[str]):
    from cli.model_results import Fault, Spread
    from cli.output import print_json

    print_json(Spread(mean=1.0, sd=float("nan")))
    assert document(capsys.readouterr().out) == {"mean": 1.0, "sd": None}
    print_json(Fault(what="T-Zellen \u00e4", where=None, way_out="", command=None, exit_code=2))
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert document(printed)["what"] == "T-Zellen \u00e4"
