"""Install the rivals, each at pinned versions in a virtual environment of its own, beside the project's.

The project's constraints do not hold for them: each gets the newest versions that it works with, named here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Rival:
    """What is installed, and with which Python."""

    name: str
    requirements: tuple[str, ...]
    min_python: tuple[int, int]

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return ROOT / f".venv-{self.name}"

    @property
    def python(self) -> Path:
        """The interpreter there."""
        return self.folder / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        """Whether exactly these requirements have been installed."""
        return self._stamp.is_file() and self._stamp.read_text(encoding="utf-8") == self._wanted

    def install(self) -> None:
        """Make the environment anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([find_python(self.min_python), "-m", "venv", self.folder], check=True)
        unconstrained = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        pip = [self.python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *self.requirements], check=True, env=unconstrained)
        self._stamp.write_text(self._wanted, encoding="utf-8")

    @property
    def _stamp(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def _wanted(self) -> str:
        return "\n".join(self.requirements) + "\n"


ANNBATCH = Rival(
    "annbatch",
    # Without torch, which its sparse batches do not need.
    ("annbatch==0.3.1", "anndata==0.13.4", "numba==0.68.1", "scipy==1.18.1", "zarr==3.4.2", "zarrs==0.2.3"),
    (3, 12),
)
SCDATASET = Rival("scdataset", ("scDataset==0.3.0", "anndata==0.12.19", "torch==2.13.0"), (3, 11))

CELLTYPIST = Rival(
    "celltypist",
    # scikit-learn 1.8 has taken away an argument that it gives.
    ("celltypist==1.7.1", "scikit-learn==1.7.2", "scanpy==1.12.4", "anndata==0.13.4"),
    (3, 12),
)
RIVALS = (ANNBATCH, SCDATASET, CELLTYPIST)


def find_python(at_least: tuple[int, int]) -> str:
    """Find an interpreter that is new enough: this one, one on the PATH, or one of pyenv's.

    Raises
    ------
    SystemExit
        If there is none.
    """
    for candidate in _interpreters(at_least):
        check = f"import sys; sys.exit(sys.version_info < {at_least})"
        if subprocess.run([candidate, "-c", check], check=False, capture_output=True).returncode == 0:
            return candidate
    raise SystemExit(f"Python {'.'.join(map(str, at_least))} or newer is needed; put one on the PATH, or in pyenv")


def _interpreters(at_least: tuple[int, int]) -> Iterator[str]:
    yield sys.executable
    for minor in range(at_least[1], at_least[1] + 4):
        on_path = shutil.which(f"python3.{minor}")
        if on_path:
            yield on_path
        yield from sorted(map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")), reverse=True)


def main(names: Sequence[str]) -> None:
    """Install what is not there yet: the named ones, or all."""
    for rival in (rival for rival in RIVALS if not names or rival.name in names):
        if not rival.is_installed:
            rival.install()
        print(f"{rival.name}: {', '.join(rival.requirements)} in {rival.folder.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
