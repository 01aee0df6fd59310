"""The shape of the house: who may import whom, what is packaged, what loads when."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import scnym
import scnym.base.errors
from cli.main import app
from scnym.base.errors import ScnymError

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "scnym").rglob("*.py") if path != ROOT / "scnym" / "__init__.py")
FROZEN_OPTIONS = {
    "convert": (
        "--cluster_by --config --counts_as --csv_orientation --input_genes --json --layer --library_size --max_memory "
        "--overwrite --profile --scheduler --scheduler_file --training_metadata --workers"
    ),
    "data get": "--json --mirror --out_path --registry",
    "data list": "--json --registry",
    "export": "--json --overwrite",
    "evaluate": (
        "--cell_column --confidence_column --json --lower_group --mapping --out_path --overwrite "
        "--predicted_column --unknown_label"
    ),
    "inspect": "--card --counts_as --csv_orientation --input_genes --json --layer --library_size",
    "verify": "--json",
    "compare": "--json",
    "report": "--json",
    **dict.fromkeys(
        ("train_tissue_independent", "train_tissue_dependent", "train_tissue_specific"),
        "--balance_classes --baseline --batch_size --checkpoint_every --class_balance --config --counts_as "
        "--csv_orientation "
        "--cv_group --device --genes_to_use --init_dropout --input_counts --input_genes --json --layer "
        "--library_size --logit_adjustment --lower_group --max_memory --max_repeat --min_cells_per_class "
        "--mixup_alpha --n_epochs --n_folds --n_hidden --n_layers --n_top_genes --normalize_to --optimizer --out_path "
        "--overwrite --patience --refit_cells --residual --resume --scale_input --seed --shortcut "
        "--stream_memory --training_metadata --upper_group --weight_decay",
    ),
    "predict_cell_types": (
        "--batch_size --by_sample --config --counts_as --csv_orientation --device --embedding "
        "--input_counts --input_genes --json "
        "--layer --scheduler --scheduler_file --workers "
        "--library_size --max_memory --min_confidence --min_gene_coverage --model_path --out_path --overwrite "
        "--probabilities --seed --smooth_k --training_gene_names --training_metadata --unknown_tissue "
        "--upper_group --vote_by --write_h5ad"
    ),
    "find_cell_type_markers": (
        "--classes --config --counts_as --csv_orientation --input_counts --input_genes --json --l1_reg "
        "--layer --library_size --lower_group --max_memory --min_gene_coverage --model_path --n_restarts --n_steps "
        "--out_path "
        "--overwrite --seed --training_gene_names --training_metadata"
    ),
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Names of the project's modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module} | {f"{module}.{a.name}" for a in node.names if is_module(f"{module}.{a.name}")}
    return {name for name in found if name.split(".")[0] in {"scnym", "cli"}}


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_its_own_folder_and_those_listed_above_it(path: Path):
    own = folder_of(name_of(path))
    for other in imports_of(path):
        assert other.startswith("scnym."), f"{name_of(path)} imports {other}"
        assert folder_of(other) <= own, f"{name_of(path)} imports {other}, whose folder is listed below it"


def folder_of(module: str) -> str:
    """Name the folder of a module: the one right below ``scnym``."""
    return module.split(".")[1]


def test_no_imports_form_a_cycle():
    modules = {name_of(path) for path in MODULES}
    graph = TopologicalSorter({name_of(path): imports_of(path) & modules for path in MODULES})
    graph.prepare()  # raises CycleError, which names the modules


def test_the_layering_rule_sees_relative_imports_and_those_inside_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    source = tmp_path / "scnym" / "disk" / "x.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "def f():\n    from scnym.runs.training import a\n    from .store import b\n    from ..feed import c\n"
    )
    assert imports_of(source) == {"scnym.runs.training", "scnym.disk.store", "scnym.feed"}


def test_the_package_list_is_the_folders():
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {name_of(path) for path in (ROOT / "scnym").rglob("__init__.py")}
    assert set(configured) == folders | {"scnym.cli"}


def test_every_public_name_is_listed_and_loads():
    assert sorted(scnym.__all__) == sorted(scnym._HOMES)
    for name, home in scnym._HOMES.items():
        module, _, attribute = home.partition(":")
        assert getattr(scnym, name) is getattr(import_module(module), attribute)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = scnym.nonsense


@pytest.mark.parametrize(
    "statement", ["import scnym", "from cli.main import app; app(['--help'], standalone_mode=False)"]
)
def test_importing_and_asking_for_help_load_nothing_heavy(statement: str):
    heavy = (
        "torch",
        "loompy",
        "anndata",
        "zarr",
        "pandas",
        "numba",
        "numpy",
        "sklearn",
        "matplotlib",
        "dask",
        "distributed",
        "requests",
        "pooch",
    )
    check = f"import sys; {statement}; sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def commands() -> dict[str, Any]:
    """Every command by its full name, those of groups inside the group too."""
    return dict(commands_in(typer.main.get_command(app)))


def commands_in(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_in(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_the_options_of_every_command_are_frozen():
    options = {
        name: " ".join(
            sorted(p.opts[0] for p in command.params if p.param_type_name == "option" and p.opts[0] != "--help")
        )
        for name, command in commands().items()
    }
    assert options == {name: " ".join(sorted(listed.split())) for name, listed in FROZEN_OPTIONS.items()}


def test_every_command_has_help_with_an_example_and_a_line_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name, command in commands().items():
        assert f"scnym {name}" in (command.help or ""), name
        assert f"scnym {name}" in readme, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_no_function_is_longer_than_a_screen_and_no_module_longer_than_480_lines():
    for path in [*MODULES, *(ROOT / "cli").glob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 480, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
                docstring = len((ast.get_docstring(node) or "").splitlines())
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno - docstring <= 50, f"{path.name}: {node.name}"


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    def below(kind: type[Exception]) -> Iterator[str]:
        for one in kind.__subclasses__():
            if one.__module__ == "scnym.base.errors":
                yield one.__name__
                yield from below(one)

    drawn = re.findall(r"─ (\w+Error)", scnym.base.errors.__doc__ or "")
    assert sorted(drawn) == sorted(below(ScnymError))
