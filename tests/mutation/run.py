"""Changes one thing at a time in a module, and counts the changes that its tests do not notice: ``make mutation``.

The changes (mutants) are those of cosmic-ray, all but those of annotations, which do nothing at run time. Each is
tested in a fork of a process that has imported the libraries, so that one takes about a second; it is written to no
file. Of a module with more than `--most` a sample is taken, the same for the same seed.
"""

import argparse
import ast
import difflib
import multiprocessing
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from types import CodeType
from typing import Any

import pytest
from rich.console import Console

ROOT = Path(__file__).parents[2]
AIMS = {
    "scnym/feed/genes.py": ("tests/test_genes.py",),
    "scnym/feed/plan.py": ("tests/test_plan.py",),
    "scnym/results/scored_cells.py": ("tests/test_metrics.py",),
    "scnym/results/metrics.py": ("tests/test_metrics.py",),
    "scnym/runs/folds.py": ("tests/test_folds.py",),
}
"""Modules, and the tests that aim at them."""
LIBRARIES = (
    *("anndata", "h5py", "hypothesis", "numba", "pandas", "scipy.sparse", "sklearn.metrics"),
    *("sklearn.model_selection", "torch", "zarr", "zarrs"),
)
OPTIONS = (
    *("-x", "--no-header", "--hypothesis-profile=mutation", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
MOST_SECONDS = 40
"""CPU time until a mutant is taken for one without end."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads would not live through a fork."""
OUT = Console(markup=False, highlight=False, soft_wrap=True)
FORK = multiprocessing.get_context("fork")
KILLED, ENDLESS, SURVIVED = "killed", "endless", "survived"


@dataclass(frozen=True)
class Mutant:
    """A module in which one thing is another."""

    operator: str
    line: int
    code: str


def main() -> int:
    """Run the tests on mutants, list those that survive, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="modules; all by default")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="most mutants of a module; all by default")
    parser.add_argument("--seed", type=int, default=0, help="decides the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants that are tested at a time")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ.update(ONE_THREAD)
    for library in LIBRARIES:
        import_module(library)
    rows = []
    for module in given.modules or AIMS:
        every = list(mutants_of(Path(module).read_text()))
        some = Random(given.seed).sample(every, min(given.most, len(every)))
        fates = _test(module, some, given.jobs)
        rows.append((module, len(every), len(some), *(fates[fate] for fate in (KILLED, ENDLESS, SURVIVED))))
    OUT.print(f"\n{'module':<28}{'mutants':>9}{'tested':>9}{'killed':>9}{'endless':>9}{'survived':>10}{'share':>8}")
    for module, n_mutants, n_tested, killed, endless, survived in rows:
        share = (killed + endless) / max(1, n_tested)
        OUT.print(f"{module:<28}{n_mutants:>9,}{n_tested:>9,}{killed:>9,}{endless:>9,}{survived:>10,}{share:>8.1%}")
    return 0


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module once."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    annotations, seen = _annotations(source), {None, _meaning(source)}
    for name in operator_names():
        if get_operator(name).arguments():
            continue  # those that need to be told what to replace
        operator = get_operator(name)()
        places = [place for node in ast_nodes(get_ast(source)) for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            if any(low <= start < high for low, high in annotations):
                continue
            code = mutate_code(source, operator, occurrence) or ""
            if code and (meaning := _meaning(code)) not in seen:
                seen.add(meaning)
                yield Mutant(name.removeprefix("core/"), start[0], code)


def _meaning(code: str) -> str | None:
    """Return what two mutants share that differ in nothing but how they are written; None for what is no Python."""
    try:
        return ast.dump(ast.parse(code))
    except SyntaxError:
        return None


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations of types begin and end, as line and column."""
    nodes = [
        getattr(node, field)
        for node in ast.walk(ast.parse(source))
        for field in ("annotation", "returns")
        if getattr(node, field, None) is not None
    ]
    return [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in nodes]


def _test(module: str, mutants: list[Mutant], jobs: int) -> Counter[str]:
    """Test the module as it is, and then its mutants, several at a time; print those that survive."""
    source = Path(module).read_text()
    if _fate(_started(module, source)) != SURVIVED:
        raise SystemExit(f"{module}: its own tests fail")
    fates: Counter[str] = Counter()
    waiting, running = mutants[::-1], {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            process = _started(module, mutant.code)
            running[process.sentinel] = process, mutant
        for sentinel in wait(list(running)):
            process, mutant = running.pop(sentinel)
            fate = _fate(process)
            fates[fate] += 1
            if fate == SURVIVED:
                OUT.print(
                    f"{module}:{mutant.line}: {mutant.operator} ({fates.total():,} of {len(mutants):,} tested)\n"
                    f"{_difference(source, mutant.code)}"
                )
    return fates


def _difference(source: str, code: str) -> str:
    lines = difflib.unified_diff(source.splitlines(), code.splitlines(), n=0, lineterm="")
    return "\n".join(f"    {line}" for line in lines if not line.startswith(("---", "+++", "@@")))


def _started(module: str, code: str) -> Any:
    process = FORK.Process(target=_run_tests, args=(module, code))
    process.start()
    return process


def _fate(process: Any) -> str:
    process.join()
    if process.exitcode < 0:
        return ENDLESS
    if process.exitcode in {pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR}:
        raise SystemExit("pytest could not be started")
    return SURVIVED if process.exitcode == pytest.ExitCode.OK else KILLED


def _run_tests(module: str, code: str) -> None:
    """Run the tests that aim at a module, with other code in its place; its exit code is pytest's."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.meta_path.insert(0, _Finder(module, code))
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        exit_code = pytest.main([*OPTIONS, *AIMS[module]])
    os._exit(exit_code)


class _Finder:
    """Finds one module, and loads other code for it."""

    def __init__(self, module: str, code: str) -> None:
        self._name, self._path, self._code = module.removesuffix(".py").replace("/", "."), module, code

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self._name:
            return None
        path = str(ROOT / self._path)
        return spec_from_file_location(name, path, loader=_Loader(name, path, self._code))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._code, self.get_filename(fullname), "exec")


if __name__ == "__main__":
    sys.exit(main())
