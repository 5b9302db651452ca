"""What an option file may say, and what it says."""

from srcx.config.degradation import DegradationOptions
from srcx.config.load import degradation_names, load_degradation, load_options
from srcx.config.options import (
    DatasetOptions,
    Datasets,
    LoggerOptions,
    LossTerm,
    Metric,
    Optimizer,
    Options,
    Part,
    PathOptions,
    Scheduler,
    TrainDataset,
    TrainOptions,
    ValOptions,
)
from srcx.config.parts import Parts

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
]
