"""The demo script: Tabula Muris from a mirror, or cells that are at hand where it cannot be fetched."""

import io
import json
import os
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import clustered_adata, dense
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CHANNELS = ("Bladder-10X_P4_3", "Lung-10X_P7_8")


def stand_in(folder: Path) -> None:
    """A mirror with what Tabula Muris consists of, in small."""
    adata = clustered_adata(160)
    home = folder / "tabula_muris_10x"
    home.mkdir(parents=True)
    annotations = []
    with zipfile.ZipFile(home / "droplet.zip", "w") as archive:
        for number, channel in enumerate(CHANNELS):
            cells = adata[number * 80 : number * 80 + 80]
            # Both channels have the same barcodes, as they may in 10x: only the sample tells cells apart.
            barcodes = ["".join(np.random.default_rng(k).choice(list("ACGT"), 16)) for k in range(80)]
            matrix = io.BytesIO()
            mmwrite(matrix, csr_matrix(dense(cells).T.astype(int)))
            archive.writestr(f"droplet/{channel}/matrix.mtx", matrix.getvalue())
            archive.writestr(f"droplet/{channel}/barcodes.tsv", "".join(f"{barcode}-1\n" for barcode in barcodes))
            genes = "".join(f"{name}\t{name}\n" for name in adata.var_names)
            archive.writestr(f"droplet/{channel}/genes.tsv", genes)
            tissue, _, name = channel.partition("-")
            annotations += [
                {"cell": f"{name}_{barcode}", "tissue": tissue, "cell_ontology_class": label}
                for barcode, label in zip(barcodes, cells.obs["cell_type"], strict=True)
            ]
    pd.DataFrame(annotations[:-10]).to_csv(home / "annotations_droplet.csv", index=False)
    (home / "metadata_droplet.csv").write_text("channel\n")


def run_demo(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", ROOT / "demo_script.sh", folder / "out"], cwd=folder, env={**os.environ, "PATH": path, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_demo_trains_on_tabula_muris(tmp_path: Path):
    stand_in(tmp_path / "mirror")
    quick = {"DEMO_OPTIONS": "--n_folds 2 --n_epochs 3", "SCNYM_MIRROR": str(tmp_path / "mirror")}
    done = run_demo(tmp_path, **quick)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "tissue_independent" / "metrics.json").read_text())
    assert metrics["held_out"]["n_cells"] == 150
    labelled = pd.read_csv(tmp_path / "out" / "tissue_independent" / "held_out_predictions.csv")
    assert labelled["cell_id"].str.match(r"(Bladder|Lung)-10X_P\d_\d:[ACGT]{16}-1").all()
    assert (tmp_path / "out" / "tissue_ind_class_optimums" / "markers.csv").is_file()


def test_where_nothing_can_be_fetched_the_demo_says_so_and_takes_the_cells_at_hand(tmp_path: Path):
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "python $*"\n')
    fake.chmod(0o755)
    script = (ROOT / "demo_script.sh").read_text().replace('"$root/.venv/bin', f'"{fake.parent}:$root/.venv/bin')
    (tmp_path / "demo_script.sh").write_text(script)
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SCNYM_MIRROR": str(tmp_path / "nothing")}
    done = subprocess.run(
        ["bash", tmp_path / "demo_script.sh", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "could not be fetched" in done.stderr
    assert "put it there" in done.stderr
    assert done.stdout == f"python {tmp_path}/data/demo.py out/embedded\n"


def test_a_folder_without_counts_is_named(tmp_path: Path):
    python = Path(sysconfig.get_path("scripts")) / "python"
    command = [python, ROOT / "data" / "tabula_muris.py", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no matrix.mtx" in done.stderr
