"""Third group of Ma's features: singular values of the 5 x 5 patches of each of 3 scales."""

import numpy as np

from srcx.errors import ImageError
from srcx.metrics.images import Floats

PATCH_PX = 5


def pca_features(scales: list[Floats]) -> Floats:
    """75 numbers: the 25 singular values of each scale's patches, largest first.

    Args:
        scales: Images in [0, 1], (H, W), see `ma_dct.three_scales`.

    Returns:
        (75,): scale after scale.

    Raises:
        ImageError: the smallest scale has fewer than 25 patches (a square image under 84 x 84).

    References:
        Ma et al., CVIU 2017, section 3.3: `svd(im2col(im, [5 5], 'distinct'))`.
    """
    matrices = [patches(image) for image in scales]
    if len(matrices[-1]) < PATCH_PX**2:
        height, width = scales[0].shape
        raise ImageError(
            f"ma: needs {PATCH_PX**2} patches of {PATCH_PX} x {PATCH_PX} at a quarter of the size "
            f"(84 x 84 pixels after shaving are enough); "
            f"got {len(matrices[-1])} in one of {width} x {height}"
        )
    return np.concatenate([np.linalg.svd(matrix, compute_uv=False) for matrix in matrices])


def patches(image: Floats) -> Floats:
    """Cut into 5 x 5 patches side by side, black beyond the right and lower edge: (patches, 25)."""
    below, right = (-side % PATCH_PX for side in image.shape)
    padded = np.pad(image, ((0, below), (0, right)))
    rows, cols = (side // PATCH_PX for side in padded.shape)
    return padded.reshape(rows, PATCH_PX, cols, PATCH_PX).swapaxes(1, 2).reshape(-1, PATCH_PX**2)
