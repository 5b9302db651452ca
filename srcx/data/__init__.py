"""Training and validation images: data sets, checks before a run, and the stream of batches."""

from srcx.data.batches import Batch, train_batches
from srcx.data.dataset import PairDataset, WholePair
from srcx.data.high_resolution import HighResolutionDataset
from srcx.data.non_aligned import NonAlignedPairDataset
from srcx.data.paired import PairedImageDataset
from srcx.data.single import SingleImageDataset

__all__ = [
    "Batch",
    "HighResolutionDataset",
    "NonAlignedPairDataset",
    "PairDataset",
    "PairedImageDataset",
    "SingleImageDataset",
    "WholePair",
    "train_batches",
]
