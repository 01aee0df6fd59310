"""List the samples and labels of Tabula Muris (10x), as fetched by ``scnym data get``, in the form that scnym reads.

``python data/tabula_muris.py FOLDER OUT`` writes ``OUT/samples.csv`` (a 10x folder each) and ``OUT/labels.csv``.
"""

import sys
from pathlib import Path

import pandas as pd

LABELS = ["cell_ontology_class", "tissue"]


def samples_of(folder: Path) -> pd.DataFrame:
    """Find the 10x folders, named TISSUE-CHANNEL."""
    found = sorted({path.parent.resolve() for path in folder.rglob("matrix.mtx*")})
    if not found:
        sys.exit(f"{folder}: there is no matrix.mtx below; fetch it with scnym data get tabula_muris_10x")
    return pd.DataFrame({"path": found, "sample": [path.name for path in found]})


def labels_of(annotations: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return every cell of the samples a row with its annotations, if it has any.

    A cell is called CHANNEL_BARCODE there, and BARCODE-1 in the folder of its sample.
    """
    cells = pd.concat([cells_of(Path(path), name) for path, name in samples.itertuples(index=False)])
    return cells.merge(annotations[["cell", *LABELS]], how="left", on="cell").drop(columns="cell")


def cells_of(folder: Path, sample: str) -> pd.DataFrame:
    """Name the cells of a 10x folder as 10x does, and as the annotations do."""
    (path,) = folder.glob("barcodes.tsv*")
    ids = pd.read_csv(path, header=None, sep="\t")[0]
    channel = sample.partition("-")[2]
    return pd.DataFrame({"sample": sample, "cell_id": ids, "cell": f"{channel}_" + ids.str.removesuffix("-1")})


def main() -> None:
    """Write both tables."""
    folder, out = map(Path, sys.argv[1:3])
    samples = samples_of(folder)
    labels = labels_of(pd.read_csv(folder / "annotations_droplet.csv", low_memory=False), samples)
    samples.to_csv(out / "samples.csv", index=False)
    labels.to_csv(out / "labels.csv", index=False)


if __name__ == "__main__":
    main()
