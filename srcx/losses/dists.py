"""DISTS, the distance of structure and texture, as a loss with a gradient."""

from torch import Tensor, nn

from srcx.errors import ImageError
from srcx.features.dists_network import dists_distance, dists_network
from srcx.tensors import check_same_shape

__all__ = ["DISTSLoss"]


class DISTSLoss(nn.Module):
    """Mean DISTS of a batch of pairs: small for other texture of the same kind, large for blur.

    Called with sr and gt, RGB in [0, 1], (N, 3, H, W), H and W at least 16, it returns a scalar, 0 for equal
    images.

    Raises:
        WeightsError: VGG16's weights are missing; the message says how to get them.
        ImageError: the shapes differ, or the images are no RGB images or too small.

    References:
        Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022,
        arXiv:2004.07728. The same formula as `srcx.metrics.dists`: evaluate a model trained on it by other
        metrics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = dists_network()

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        check_same_shape("DISTSLoss", sr, gt)
        if sr.ndim != 4 or sr.shape[1] != 3:
            raise ImageError(f"DISTSLoss: expected RGB images (N, 3, H, W); got {tuple(sr.shape)}")
        return dists_distance(self.network, sr, gt).mean()
