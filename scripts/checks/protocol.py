"""Print by how much the figures of one result differ between protocols, on a set of images.

python scripts/checks/protocol.py datasets/benchmark/Set5/HR

Results: bicubic x4, the same with lq by OpenCV, and gt with noise. PSNR is the mean over the set; a
difference is given as the least and the largest of an image.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from srcx.imaging import ImageArray, imresize, list_images, read_image, to_rgb
from srcx.metrics import psnr, ssim

SCALE = 4


def bicubic(gt: ImageArray) -> ImageArray:
    """Return gt made small and large again by MATLAB's bicubic."""
    return imresize(imresize(gt, scale=1 / SCALE), scale=SCALE)


def opencv(gt: ImageArray) -> ImageArray:
    """Return gt made small by OpenCV's bicubic and large again by MATLAB's."""
    height, width = (side // SCALE for side in gt.shape[:2])
    small = cv2.resize(gt, (width, height), interpolation=cv2.INTER_CUBIC)
    return imresize(small.astype(np.uint8), scale=SCALE)


def noisy(gt: ImageArray) -> ImageArray:
    """Return gt with noise of sigma 2.5."""
    noise = np.random.default_rng(0).normal(0, 2.5, gt.shape)
    return np.clip(np.rint(gt + noise), 0, 255).astype(np.uint8)


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="ground truth")
    gts = [to_rgb(read_image(path)) for path in list_images(parser.parse_args().folder)]
    gts = [gt[: gt.shape[0] // SCALE * SCALE, : gt.shape[1] // SCALE * SCALE] for gt in gts]
    makers: tuple[Callable[[ImageArray], ImageArray], ...] = (bicubic, opencv, noisy)
    for make in makers:
        pairs = [(make(gt), gt) for gt in gts]
        rounded, plain = (np.array([psnr(*pair, round_y=on) for pair in pairs]) for on in (True, False))
        similar = [ssim(*pair, round_y=False) - ssim(*pair) for pair in pairs]
        print(
            f"{make.__name__}: PSNR {rounded.mean():.2f} dB; Y not rounded: PSNR "
            f"+{(plain - rounded).min():.3f} to +{(plain - rounded).max():.3f} dB, "
            f"SSIM +{min(similar):.4f} to +{max(similar):.4f}"
        )


if __name__ == "__main__":
    main()
