"""Classify single cells at atlas scale. Names load when they are first used; importing scnym stays light."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scnym.base.errors import ScnymError, UserError
    from scnym.base.settings import (
        ConvertSettings,
        EvaluateSettings,
        MarkerSettings,
        NetworkSettings,
        PredictSettings,
        RunSettings,
        SplitSettings,
        StreamSettings,
        TrainSettings,
        parse_bytes,
    )
    from scnym.base.workers import ClusterSettings
    from scnym.disk.convert import convert
    from scnym.disk.public_data import DataFile, DataSet, FetchedData, data_sets, get_data
    from scnym.disk.store import Store, open_store
    from scnym.disk.verify import VerifyReport, verify
    from scnym.feed.batches import Batch
    from scnym.feed.genes import gene_list
    from scnym.feed.stream import StreamDataset, in_order_stream, training_stream
    from scnym.model.snapshot import Snapshot
    from scnym.runs.batch_prediction import SamplePredictions, predict_samples
    from scnym.runs.comparison import Comparison, compare
    from scnym.runs.cross_validation import RunSummary
    from scnym.runs.evaluation import Evaluation, evaluate
    from scnym.runs.export import export
    from scnym.runs.inspection import Inspection, inspect
    from scnym.runs.markers import MarkerSummary, find_markers
    from scnym.runs.prediction import PredictionSummary, predict
    from scnym.runs.report import report
    from scnym.runs.tissue_models import TissueModels
    from scnym.runs.training import train_tissue_dependent, train_tissue_specific
    from scnym.runs.training import train_tissue_independent as train

_HOMES = {
    "Batch": "scnym.feed.batches:Batch",
    "ClusterSettings": "scnym.base.workers:ClusterSettings",
    "Comparison": "scnym.runs.comparison:Comparison",
    "ConvertSettings": "scnym.base.settings:ConvertSettings",
    "DataFile": "scnym.disk.public_data:DataFile",
    "DataSet": "scnym.disk.public_data:DataSet",
    "EvaluateSettings": "scnym.base.settings:EvaluateSettings",
    "Evaluation": "scnym.runs.evaluation:Evaluation",
    "FetchedData": "scnym.disk.public_data:FetchedData",
    "Inspection": "scnym.runs.inspection:Inspection",
    "MarkerSettings": "scnym.base.settings:MarkerSettings",
    "MarkerSummary": "scnym.runs.markers:MarkerSummary",
    "NetworkSettings": "scnym.base.settings:NetworkSettings",
    "PredictSettings": "scnym.base.settings:PredictSettings",
    "PredictionSummary": "scnym.runs.prediction:PredictionSummary",
    "RunSettings": "scnym.base.settings:RunSettings",
    "RunSummary": "scnym.runs.cross_validation:RunSummary",
    "SamplePredictions": "scnym.runs.batch_prediction:SamplePredictions",
    "ScnymError": "scnym.base.errors:ScnymError",
    "Snapshot": "scnym.model.snapshot:Snapshot",
    "SplitSettings": "scnym.base.settings:SplitSettings",
    "Store": "scnym.disk.store:Store",
    "StreamDataset": "scnym.feed.stream:StreamDataset",
    "StreamSettings": "scnym.base.settings:StreamSettings",
    "TissueModels": "scnym.runs.tissue_models:TissueModels",
    "TrainSettings": "scnym.base.settings:TrainSettings",
    "UserError": "scnym.base.errors:UserError",
    "VerifyReport": "scnym.disk.verify:VerifyReport",
    "compare": "scnym.runs.comparison:compare",
    "convert": "scnym.disk.convert:convert",
    "data_sets": "scnym.disk.public_data:data_sets",
    "evaluate": "scnym.runs.evaluation:evaluate",
    "export": "scnym.runs.export:export",
    "find_markers": "scnym.runs.markers:find_markers",
    "gene_list": "scnym.feed.genes:gene_list",
    "get_data": "scnym.disk.public_data:get_data",
    "in_order_stream": "scnym.feed.stream:in_order_stream",
    "inspect": "scnym.runs.inspection:inspect",
    "open_store": "scnym.disk.store:open_store",
    "parse_bytes": "scnym.base.settings:parse_bytes",
    "predict": "scnym.runs.prediction:predict",
    "predict_samples": "scnym.runs.batch_prediction:predict_samples",
    "report": "scnym.runs.report:report",
    "train": "scnym.runs.training:train_tissue_independent",
    "train_tissue_dependent": "scnym.runs.training:train_tissue_dependent",
    "train_tissue_specific": "scnym.runs.training:train_tissue_specific",
    "training_stream": "scnym.feed.stream:training_stream",
    "verify": "scnym.disk.verify:verify",
}

__all__ = [
    "Batch",
    "ClusterSettings",
    "Comparison",
    "ConvertSettings",
    "DataFile",
    "DataSet",
    "EvaluateSettings",
    "Evaluation",
    "FetchedData",
    "Inspection",
    "MarkerSettings",
    "MarkerSummary",
    "NetworkSettings",
    "PredictSettings",
    "PredictionSummary",
    "RunSettings",
    "RunSummary",
    "SamplePredictions",
    "ScnymError",
    "Snapshot",
    "SplitSettings",
    "Store",
    "StreamDataset",
    "StreamSettings",
    "TissueModels",
    "TrainSettings",
    "UserError",
    "VerifyReport",
    "compare",
    "convert",
    "data_sets",
    "evaluate",
    "export",
    "find_markers",
    "gene_list",
    "get_data",
    "in_order_stream",
    "inspect",
    "open_store",
    "parse_bytes",
    "predict",
    "predict_samples",
    "report",
    "train",
    "train_tissue_dependent",
    "train_tissue_specific",
    "training_stream",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scnym' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
