"""What every command prints with --json: these classes and nothing else, key by key.

``docs/json.md`` and ``docs/json.schema.json`` are made from them by ``make json``.
What is promised stays; new keys may come.
"""

from pydantic import BaseModel

from . import data_results as data
from . import model_results as model

RESULTS: dict[str, type[BaseModel]] = {
    "convert": data.Converted,
    "inspect": data.Inspected,
    "verify": data.Verified,
    "export": data.Exported,
    "train_tissue_independent": model.Trained,
    "train_tissue_dependent": model.Trained,
    "train_tissue_specific": model.TrainedTissues,
    "compare": model.Compared,
    "predict_cell_types": model.Predicted,
    "predict_cell_types --by_sample": model.PredictedSamples,
    "evaluate": model.Evaluated,
    "find_cell_type_markers": model.FoundMarkers,
    "report": model.WrittenPages,
    "data list": data.ListedData,
    "data get": data.FetchedDataSet,
}
