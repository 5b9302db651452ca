"""Option files: the schema, BasicSR's dialect, and every mistake with its line."""

from srcx.config.datasets import DatasetOptions, Datasets, TrainDataset
from srcx.config.degradation import DegradationOptions
from srcx.config.load import Parts, degradation_names, load_degradation, load_options, read_options
from srcx.config.options import LoggerOptions, Options, PathOptions, TrainOptions, ValOptions
from srcx.config.part_options import LossTerm, Metric, Optimizer, Part, Scheduler

__all__ = [
    "DatasetOptions",
    "Datasets",
    "DegradationOptions",
    "LoggerOptions",
    "LossTerm",
    "Metric",
    "Optimizer",
    "Options",
    "Part",
    "Parts",
    "PathOptions",
    "Scheduler",
    "TrainDataset",
    "TrainOptions",
    "ValOptions",
    "degradation_names",
    "load_degradation",
    "load_options",
    "read_options",
]
