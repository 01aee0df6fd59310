"""Options that are not known or make no sense, on the line and in config files."""

from collections.abc import Iterator
from functools import partial

from faults.bench import MODEL
from faults.fault import Fault
from faults.tables import write_text_at

TRAIN = "train_tissue_independent --input_counts cells.zarr --out_path out --lower_group cell_type"
PREDICT = f"predict_cell_types --input_counts cells.zarr --out_path out --model_path {MODEL}"
MARKERS = f"find_cell_type_markers --out_path out --model_path {MODEL}"
CONFIG = "config file"


def _on_the_line() -> Iterator[Fault]:
    for what, line, where, says, way_out in (
        ("an option that is not known", f"{TRAIN} --n_epoch 3", "No such option", "--n_epoch", "see scnym train"),
        ("a word for a number", f"{TRAIN} --n_epochs many", "--n_epochs: ", "not a whole number", "see"),
        ("an unknown choice", f"{TRAIN} --optimizer lion", "--optimizer: ", "'lion'", "see scnym"),
        ("an unknown choice", "convert a.h5ad b.zarr --profile tiny", "--profile: ", "'tiny'", "see"),
        ("no counts", "train_tissue_independent --out_path out", "Missing option '--input_counts'", "", "see scnym"),
        (
            "no model",
            "predict_cell_types --input_counts a.h5ad --out_path out",
            "Missing option",
            "--model_path",
            "see",
        ),
        ("an unknown command", "train_everything", "scnym: ", "no command among 'train_everything'", "name one of"),
        ("a size that is none", f"{TRAIN} --max_memory lots", "--max_memory: ", "'lots' is not a size", "write it as"),
        (
            "a size in a unit that is none",
            f"{TRAIN} --stream_memory 1XB",
            "--stream_memory: ",
            "'1XB' is not a size",
            "write it",
        ),
        ("an unknown balance", f"{TRAIN} --class_balance even", "--class_balance: ", "'even' is not possible", "give"),
        ("a device that is not there", f"{TRAIN} --device mps", "--device: ", "'mps' is not there", "give auto or cpu"),
        (
            "two kinds of cluster",
            "convert a.h5ad b.zarr --workers 2 --scheduler c:1",
            "--workers",
            "2 are given",
            "give",
        ),
        ("no worker", "convert a.h5ad b.zarr --workers 0", "--workers: ", "0 is not possible", "give 1 or more"),
        ("no scheduler file", "convert a.h5ad b.zarr --scheduler_file s.json", "s.json: ", "there is no such", "start"),
        (
            "storage of another kind",
            "inspect gs://lab/a.zarr",
            "gs://lab/a.zarr: ",
            "stores are not read",
            "give an s3",
        ),
    ):
        yield Fault(
            what=what,
            form="option",
            line=line,
            needs=("cells.zarr", MODEL) if MODEL in line else ("cells.zarr",),
            where=where,
            says=says or where,
            way_out=way_out,
        )
    for line, option, value in (
        *((TRAIN, name, "-1") for name in ("n_hidden", "n_layers", "n_folds", "seed", "patience", "weight_decay")),
        *((TRAIN, name, "0") for name in ("n_epochs", "batch_size", "n_top_genes", "normalize_to", "max_repeat")),
        *((TRAIN, name, "1.5") for name in ("init_dropout", "logit_adjustment")),
        (TRAIN, "n_folds", "1"),
        (TRAIN, "min_cells_per_class", "-1"),
        (PREDICT, "min_confidence", "1.5"),
        (PREDICT, "min_gene_coverage", "-0.1"),
        (PREDICT, "smooth_k", "-1"),
        (MARKERS, "n_restarts", "0"),
        (MARKERS, "n_steps", "0"),
        (MARKERS, "l1_reg", "-1"),
    ):
        yield Fault(
            what=f"{value} as --{option}",
            form="option",
            line=f"{line} --{option} {value}",
            needs=("cells.zarr", MODEL) if MODEL in line else ("cells.zarr",),
            where=f"--{option}: ",
            says=f"{value} is not possible" if "." in value else value,
            way_out="give",
        )


def _config_files() -> Iterator[Fault]:
    for what, text, where, says, way_out in (
        ("a key that is not known", "n_epoch: 3\n", ": ", "unknown key 'n_epoch'", "did you mean n_epochs?"),
        (
            "a word for a number",
            "n_epochs: many\n",
            ", key n_epochs: ",
            "'many' is not possible",
            "see scnym train_tissue_independent",
        ),
        ("a list", "- n_epochs\n", ": ", "holds no options", "write one `option: value` a line"),
        ("an open bracket", "n_epochs: [3\n", ": ", "neither YAML nor JSON", "write one `option: value` a line"),
        ("a tag that would run code", "seed: !!python/object/apply:os.getpid []\n", ": ", "neither YAML nor", "write"),
        (
            "another config named",
            "config: other.yaml\n",
            ": ",
            "a config file cannot name another",
            "leave out the key",
        ),
        ("empty", "", ": ", "holds no options", "write one `option: value` a line"),
    ):
        yield Fault(
            what=what,
            form=CONFIG,
            line=f"{TRAIN} -c config.yaml",
            needs=("cells.zarr",),
            make=partial(write_text_at, "config.yaml", text),
            where=f"config.yaml{where}",
            says=says,
            way_out=way_out,
            quotes=says.startswith("neither"),
        )
    yield Fault(
        what="not there",
        form=CONFIG,
        line=f"{TRAIN} -c config.yaml",
        where="config.yaml: ",
        says="there is no such config file",
        way_out="check --config",
    )


FAULTS = (*_on_the_line(), *_config_files())
