"""What an option file may say, and what it says."""

from srcx.config.load import load_options
from srcx.config.parts import Parts
from srcx.config.schema import (
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

__all__ = [
    "DatasetOptions",
    "Datasets",
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
    "load_options",
]
