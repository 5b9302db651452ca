"""The style loss: which features of a fixed network occur together, wherever they are."""

from torch import Tensor

from srcx.losses.perceptual import PerceptualLoss

__all__ = ["GramLoss", "gram_matrix"]


def gram_matrix(features: Tensor) -> Tensor:
    """Products of all pairs of channels, summed over positions and divided by C H W.

    Args:
        features: Shape (N, C, H, W).

    Returns:
        Shape (N, C, C), symmetric.

    References:
        Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016; the divisor is
        that of Johnson et al., ECCV 2016, arXiv:1603.08155, as in BasicSR.

    Example:
        >>> import torch
        >>> gram_matrix(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
        tensor([[[0.5000, 1.0000],
                 [1.0000, 2.0000]]])
    """
    vectors = features.flatten(2)  # (N, C, positions)
    return vectors @ vectors.transpose(1, 2) / features[0].numel()


class GramLoss(PerceptualLoss):
    """Weighted sum, over layers, of the distance between the Gram matrices of two images' features.

    The arguments are those of `PerceptualLoss`; sr and gt may differ in height and width. Equal to BasicSR's
    PerceptualLoss with `style_weight: 1` and `perceptual_weight: 0`.
    """

    def layer_distance(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.distance(gram_matrix(sr), gram_matrix(gt))
