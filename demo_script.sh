#!/usr/bin/env bash
# Train on Tabula Muris (10x, twelve tissues of the mouse), find the genes behind each type, and say how good it is.
#
#     ./demo_script.sh [OUT]
#
# Fetches it the first time into OUT/public_data, from figshare, or from SCNYM_MIRROR. Where neither can be
# reached, it trains on the cells that ship with scanpy instead. DEMO_OPTIONS are passed to the training.
set -euo pipefail
root=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo_out}
export PATH="$root/.venv/bin:$PATH"

if ! scnym data get tabula_muris_10x --out_path "$out/public_data"; then
    echo "Tabula Muris could not be fetched: training on the cells that ship with scanpy instead." >&2
    echo "(With the data on another machine: SCNYM_MIRROR=FOLDER, see data/README.md.)" >&2
    SCNYM_DATA="" exec python "$root/data/demo.py" "$out/embedded"
fi

python "$root/data/tabula_muris.py" "$out/public_data/tabula_muris_10x" "$out"
scnym convert "$out/samples.csv" "$out/tabula_muris.zarr" --training_metadata "$out/labels.csv" --overwrite
scnym train_tissue_independent -c "$root/configs/default_config.txt" --input_counts "$out/tabula_muris.zarr" \
    --min_cells_per_class 10 --out_path "$out" --resume ${DEMO_OPTIONS:-}
scnym find_cell_type_markers --model_path "$out/tissue_independent" --input_counts "$out/tabula_muris.zarr" \
    --out_path "$out" --overwrite
echo "Read $out/tissue_independent/report.html and $out/tissue_ind_class_optimums/markers.csv"
