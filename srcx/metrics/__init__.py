"""Evaluators that give the original authors' numbers: PSNR, SSIM, RMSE, NIQE."""

from srcx.metrics.metric import PairMetric, SingleMetric
from srcx.metrics.niqe import niqe
from srcx.metrics.psnr import psnr
from srcx.metrics.rmse import rmse, rmse_of_set
from srcx.metrics.ssim import ssim

__all__ = ["PairMetric", "SingleMetric", "niqe", "psnr", "rmse", "rmse_of_set", "ssim"]
