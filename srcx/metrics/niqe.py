"""NIQE: distance of an image's local statistics from those of pristine photographs."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.special import gamma

from srcx.errors import ImageError
from srcx.imaging.resize import imresize
from srcx.metrics.generalised_gaussian import asymmetric_fit
from srcx.metrics.images import Array, Floats, protocol_view
from srcx.metrics.metric import single_metric

PARAMETERS = Path(__file__).with_name("data") / "niqe_parameters.npz"
BLOCK_PX = 96
SIGMA_PX = 7 / 6
ROUND_OFF = 1e-9
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


@lru_cache
def parameters() -> tuple[Floats, Floats]:
    """Return the authors' mean (36,) and covariance (36, 36) of pristine images."""
    with np.load(PARAMETERS, allow_pickle=False) as stored:
        return stored["mean"], stored["covariance"]


@single_metric(higher_is_better=False)
def niqe(sr: Array, /, *, crop_px: int = 4) -> float:
    """Return the distance between the Gaussian models of this image's blocks and of pristine images' blocks.

    Args:
        sr: Image to rate: uint8 or uint16 array (H, W, 3) RGB or (H, W) grey taken as Y, or a
            float tensor (N, 3, H, W) in [0, 1]. All are measured on 8 bits, on MATLAB's rounded Y.
        crop_px: Pixels shaved from each border.

    Returns:
        0 or more, lower is better; a tensor (N,) for tensors.

    Raises:
        ImageError: no image, or fewer than two blocks of 96 x 96 with structure in them (one block has no
            covariance; a constant one has no statistics).

    References:
        Mittal et al., "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013, and the
        authors' MATLAB code as PIRM 2018 calls it. Differs from it in refusing a single block, for
        which it mixes up the features' variance and the blocks' covariance. In flat areas the authors' code
        counts pixels by the sign of round-off, which depends on the program that runs it (up to 0.5 apart);
        here round-off is zero. This gives MATLAB's value for the one image whose value is published
        (BasicSR's baboon: 5.729574 here, 5.72957338 by MATLAB R2021a). Without flat areas Octave's values
        are equal to 1e-8.
    """
    y = protocol_view("niqe", sr, y_only=True, crop_px=crop_px, least_px=BLOCK_PX)
    mean, covariance = parameters()
    features = block_features(y.astype(np.float64))
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        raise ImageError(
            f"niqe: needs at least two blocks of {BLOCK_PX} x {BLOCK_PX} pixels with structure in them; "
            f"got {len(complete)} of {len(features)} in an image of {sr.shape[1]} x {sr.shape[0]}"
        )
    difference = mean - np.nanmean(features, axis=0)
    pooled = (covariance + np.cov(complete, rowvar=False)) / 2
    inverse = np.linalg.pinv(pooled, rcond=len(pooled) * np.finfo(np.float64).eps)
    return float(np.sqrt(difference @ inverse @ difference))


def block_features(y: Floats) -> Floats:
    """Return statistics of the normalised image and of products of neighbours, at full and half size.

    Args:
        y: Grey levels 0 to 255, (H, W); rows and columns that do not fill a block are left out, below and
            on the right.

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

    In a flat area the difference from the local mean is only round-off, but its sign decides on which
    side of zero a pixel is counted. Such differences are set to zero, so the order of summation in the mean
    does not matter.
    """
    mean = smooth(image)
    deviation = np.sqrt(np.abs(smooth(image * image) - mean * mean))
    difference = image - mean
    difference[np.abs(difference) < ROUND_OFF] = 0
    return difference / (deviation + 1)


def smooth(image: Floats) -> Floats:
    """Return the local mean; it differs from the authors' by round-off only."""
    return np.asarray(cv2.GaussianBlur(image, (7, 7), SIGMA_PX, borderType=cv2.BORDER_REPLICATE), np.float64)


def blocks_of(image: Floats, rows: int, cols: int) -> Floats:
    """Cut (rows * B, cols * B) into (rows * cols, B, B), down the columns as MATLAB's blkproc does."""
    side = image.shape[0] // rows
    return image.reshape(rows, side, cols, side).transpose(2, 0, 1, 3).reshape(-1, side, side)


def statistics(blocks: Floats) -> Floats:
    """Return 18 numbers for each block, (n, B, B) -> (n, 18): equations 4 to 10 of the paper."""
    shape, left, right = asymmetric_fit(blocks.reshape(len(blocks), -1))
    columns = [shape, (left + right) / 2]
    around = np.pad(blocks, ((0, 0), (0, 1), (1, 1)), mode="wrap")
    side = blocks.shape[1]
    for down, across in NEIGHBOURS:
        product = blocks * around[:, down : down + side, 1 + across : 1 + across + side]
        shape, left, right = asymmetric_fit(product.reshape(len(blocks), -1))
        columns += [shape, (right - left) * (gamma(2 / shape) / gamma(1 / shape)), left, right]
    return np.stack(columns, axis=1)
