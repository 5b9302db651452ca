"""DISTS: structure and texture similarity of a network's features of two images."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srcx.errors import ImageError
from srcx.features.extractor import FeatureExtractor, extractor

__all__ = ["channel_weights", "dists_distance", "dists_network"]

WEIGHTS = Path(__file__).with_name("data") / "dists_weights.npz"
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
CHANNELS = (3, 64, 128, 256, 512, 512)
"""Of the image itself, then of each layer."""
EPS = 1e-6
SMALLEST_PX = 16
"""The least height and width: a position of the last layer stands for 16 pixels."""


def dists_network() -> FeatureExtractor:
    """Return VGG16 with L2 pooling, as `extractor` does.

    Raises:
        WeightsError: its weights are missing; the message says how to get them.
    """
    return extractor("vgg16", pooling="l2")


def dists_distance(network: FeatureExtractor, sr: Tensor, gt: Tensor) -> Tensor:
    """Return DISTS of each pair, differentiable.

    Args:
        network: `dists_network`, or a copy of it.
        sr: RGB in [0, 1], (N, 3, H, W), H and W at least 16.
        gt: Same shape and range.

    Returns:
        (N,), 0 for equal images.

    Raises:
        ImageError: the images are smaller than 16 x 16.

    References:
        Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022,
        arXiv:2004.07728, and `DISTS.forward` in the authors' package dists-pytorch.
    """
    if min(sr.shape[2:]) < SMALLEST_PX:
        raise ImageError(
            f"dists: needs at least {SMALLEST_PX} x {SMALLEST_PX} pixels; got {sr.shape[3]} x {sr.shape[2]}"
        )
    alphas, betas = channel_weights()
    similarity = _stage(sr, gt, alphas[0], betas[0])
    # The layers of both images side by side: without gradient, only one layer of each is held at a time.
    walks = zip(network.walk(sr, LAYERS), network.walk(gt, LAYERS), strict=True)
    for ((_, x), (_, y)), alpha, beta in zip(walks, alphas[1:], betas[1:], strict=True):
        similarity = similarity + _stage(x, y, alpha, beta)
    return 1 - similarity


@lru_cache
def channel_weights() -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the authors' alpha (texture) and beta (structure) by stage; their total is 1."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        alpha, beta = (torch.from_numpy(stored[name]) for name in ("alpha", "beta"))
    total = alpha.sum() + beta.sum()
    return (alpha / total).split(CHANNELS), (beta / total).split(CHANNELS)


def _stage(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return sum(alpha * texture similarity + beta * structure similarity) over the channels, shape (N,)."""
    x_var, x_mean = torch.var_mean(x, dim=(2, 3), correction=0)  # (N, C)
    y_var, y_mean = torch.var_mean(y, dim=(2, 3), correction=0)
    covariance = (x * y).mean(dim=(2, 3)) - x_mean * y_mean
    texture = (2 * x_mean * y_mean + EPS) / (x_mean**2 + y_mean**2 + EPS)
    structure = (2 * covariance + EPS) / (x_var + y_var + EPS)
    return (alpha.to(x.device) * texture + beta.to(x.device) * structure).sum(dim=1)
