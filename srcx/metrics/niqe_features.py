"""The natural-scene statistics of NIQE: 36 numbers for each block of 96 x 96 pixels."""

import cv2
import numpy as np
from scipy.special import gamma

from srcx.imaging.resize import imresize
from srcx.metrics.images import Floats
from srcx.metrics.shape_table import niqe_table

BLOCK_PX = 96
SIGMA_PX = 7 / 6
ROUND_OFF = 1e-9
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def block_features(y: Floats) -> Floats:
    """Statistics of the normalised image and of products of neighbours, at full and half size.

    Args:
        y: Grey levels 0 to 255, (H, W); what does not fill a block is left out on the right and below.

    Returns:
        (blocks, 36): 18 numbers at full size, then 18 at half size; blocks go down the columns of the
        image. NaN where a block has no values on one side of zero.
    """
    rows, cols = (side // BLOCK_PX for side in y.shape)
    full = np.ascontiguousarray(y[: rows * BLOCK_PX, : cols * BLOCK_PX], dtype=np.float64)
    half = np.asarray(imresize(full, scale=0.5), np.float64)
    return np.concatenate(
        [statistics(blocks_of(normalised(image), rows, cols)) for image in (full, half)], axis=1
    )


def normalised(image: Floats) -> Floats:
    """Return (image - local mean) / (local standard deviation + 1), equation 1 of the paper.

    In a flat area the difference from the local mean is nothing but round-off, yet its sign decides on which
    side of zero a pixel is counted. Such differences are set to zero, whatever order the mean is summed in.
    """
    mean = smooth(image)
    deviation = np.sqrt(np.abs(smooth(image * image) - mean * mean))
    difference = image - mean
    difference[np.abs(difference) < ROUND_OFF] = 0
    return difference / (deviation + 1)


def smooth(image: Floats) -> Floats:
    """The local mean, quickly: equal to the authors' but for round-off."""
    return np.asarray(cv2.GaussianBlur(image, (7, 7), SIGMA_PX, borderType=cv2.BORDER_REPLICATE), np.float64)


def blocks_of(image: Floats, rows: int, cols: int) -> Floats:
    """Cut (rows * B, cols * B) into (rows * cols, B, B), down the columns as MATLAB's blkproc does."""
    side = image.shape[0] // rows
    return image.reshape(rows, side, cols, side).transpose(2, 0, 1, 3).reshape(-1, side, side)


def statistics(blocks: Floats) -> Floats:
    """18 numbers for each block (n, B, B): equations 4 to 10 of the paper."""
    shape, left, right = asymmetric_fit(blocks.reshape(len(blocks), -1))
    columns = [shape, (left + right) / 2]
    around = np.pad(blocks, ((0, 0), (0, 1), (1, 1)), mode="wrap")
    side = blocks.shape[1]
    for down, across in NEIGHBOURS:
        product = blocks * around[:, down : down + side, 1 + across : 1 + across + side]
        shape, left, right = asymmetric_fit(product.reshape(len(blocks), -1))
        columns += [shape, (right - left) * (gamma(2 / shape) / gamma(1 / shape)), left, right]
    return np.stack(columns, axis=1)


def asymmetric_fit(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit an asymmetric generalised Gaussian to each row of (n, k): its shape, left and right scale.

    A row without negative (or positive) values gets NaN for that scale and the smallest shape, as in
    the authors' code.
    """
    below = np.minimum(values, 0)
    above = values - below
    below_squares, above_squares = (np.einsum("nk,nk->n", half, half) for half in (below, above))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(below_squares / np.count_nonzero(below, axis=1))
        right = np.sqrt(above_squares / np.count_nonzero(above, axis=1))
        ratio = left / right
        mean_size = (above.sum(axis=1) - below.sum(axis=1)) / values.shape[1]
        moments = mean_size**2 / ((below_squares + above_squares) / values.shape[1])
        shape = niqe_table().nearest(moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale
