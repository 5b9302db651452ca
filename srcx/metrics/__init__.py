"""Metrics with the original authors' numbers, with and without ground truth."""

from srcx.metrics.dists import dists
from srcx.metrics.lpips import lpips
from srcx.metrics.ma import ma, ma_features
from srcx.metrics.metric import PairMetric, SingleMetric
from srcx.metrics.niqe import niqe
from srcx.metrics.perceptual_index import index_of, perceptual_index
from srcx.metrics.psnr import psnr, rmse, rmse_of_set
from srcx.metrics.ssim import ssim

__all__ = [
    "PairMetric",
    "SingleMetric",
    "dists",
    "index_of",
    "lpips",
    "ma",
    "ma_features",
    "niqe",
    "perceptual_index",
    "psnr",
    "rmse",
    "rmse_of_set",
    "ssim",
]
