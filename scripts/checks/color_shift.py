"""Measure how far models shift the colours of images, with and without --lock-color.

python scripts/checks/color_shift.py FOLDER --model real-x4 srgan-cx-x4

The shift is the CIE76 difference in Lab between the mean colours of blocks of 32 x 32 pixels of the image and
of the same blocks of the result: 1 is just visible side by side. Of each image the middle is taken.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

from srcx import load_model
from srcx.imaging import ImageArray, list_images, read_image, to_rgb
from srcx.inference.color_lock import lock_color

BLOCK_PX = 32


def block_colours(image: ImageArray, block_px: int) -> NDArray[np.float64]:
    """Return the Lab colour of the mean of each block, (rows, columns, 3)."""
    rows, columns = (side // block_px for side in image.shape[:2])
    cut = image[: rows * block_px, : columns * block_px].astype(np.float32) / 255
    return np.asarray(rgb2lab(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA)))


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", nargs="+", default=["real-x4"])
    parser.add_argument("--side", type=int, default=256, help="longest side of the middle that is taken")
    arguments = parser.parse_args()
    images = []
    for path in list_images(arguments.folder):
        image = to_rgb(read_image(path))
        top, left = (max(side - arguments.side, 0) // 2 for side in image.shape[:2])
        images.append(image[top : top + arguments.side, left : left + arguments.side])
    print(f"{len(images)} images | mean | 95 % of the blocks | largest")
    for name in arguments.model:
        upscaler = load_model(name, precision="fp32", backend="torch")
        shifts: dict[str, list[NDArray[np.float64]]] = {name: [], f"{name} --lock-color": []}
        for image in images:
            result = upscaler(image)
            for row in shifts.values():
                large = block_colours(result, BLOCK_PX * int(upscaler.scale))
                row.append(np.linalg.norm(large - block_colours(image, BLOCK_PX), axis=2).ravel())
                lock_color(result, image)  # for the second row
        for words, row in shifts.items():
            every = np.concatenate(row)
            print(
                f"{words} | {every.mean():.2f} | {np.quantile(every, 0.95):.2f} | {every.max():.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
