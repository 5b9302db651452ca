"""DISTS: structure and texture similarity of a network's features of two images."""

import torch
from torch import Tensor

from srcx.features.dists_network import dists_distance, dists_network
from srcx.features.extractor import FeatureExtractor
from srcx.metrics.lpips import copy_on
from srcx.metrics.metric import batch_pair_metric

__all__ = ["dists"]


@batch_pair_metric(higher_is_better=False)
def dists(sr: Tensor, gt: Tensor, /) -> Tensor:
    """Return 1 - the deep structure and texture similarity; on RGB, nothing shaved, nothing resized.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey (taken as RGB), rounded to
            8 bits, or a float tensor (N, 3, H, W) in [0, 1], taken as it is.
        gt: Ground truth of the same kind and shape.

    Returns:
        0 for equal images, lower is better; a tensor (N,) for tensors.

    Raises:
        ImageError: the images differ in shape, are no images, or are smaller than 16 x 16.
        WeightsError: VGG16's weights are not available.

    References:
        Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022,
        arXiv:2004.07728, and `DISTS.forward` in the authors' package dists-pytorch, which does not resize.
        Differs from the paper, whose experiments resize the shorter side to 256 first (`prepare_image` with
        resize=True in that code): that would hide the details that a model adds.
    """
    network = copy_on(dists_network(), sr.device)
    assert isinstance(network, FeatureExtractor)
    with torch.no_grad():
        return dists_distance(network, sr.float(), gt.float())
