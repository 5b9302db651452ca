r"""What no metric says of a model: its shift of colours, its grid and its seams.

Colour: the mean of R, G or B of an output, less that of the bicubic image; the largest of any image and
channel, and the mean size, in levels of 255.

Grid: a tail that enlarges by shuffles or strides may leave a pattern of its period. The energy of the second
differences of Y is gathered by place in squares of scale x scale pixels over all images: strongest
place over weakest, in dB. The originals' figure, which have no grid, stands beside it.

Peaks: the same in terms of frequency. The spectra of the rows and columns of Y at each multiple of
1 / scale, over that of the frequencies beside it, in dB; the mean of all images. Originals stand at 0.

Seams: tiles of 64 x 64 against the whole image; the largest difference of any value, in levels of 255.

    python scripts/checks/looks.py --model srgan-cx-x4 --images datasets/benchmark/Set5/LR_bicubic/X4 \
        --originals datasets/benchmark/Set5/HR
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from srcx.errors import SrcxError
from srcx.imaging import ImageArray, imresize, list_images, read_image, rgb_to_y, to_rgb
from srcx.inference import Upscaler, find_model

TILE_PX = 64
NEAR, FAR = 3, 14
"""The frequencies beside another: more bins away than the window blurs, and no further than that."""


Floats = NDArray[np.float64]


def luma(image: ImageArray) -> Floats:
    """Y, in levels of 255.

    Raises:
        ImageError: the image is of 16 bits.
    """
    return rgb_to_y(cast("NDArray[np.uint8]", image)).astype(float)  # it refuses the others


def energy_by_place(y: Floats, period: int) -> Floats:
    """Mean square of the second differences of Y, (period, period), by row and column in the grid."""
    rough = np.zeros_like(y)
    rough[1:-1] += np.diff(y, 2, axis=0) ** 2
    rough[:, 1:-1] += np.diff(y, 2, axis=1) ** 2
    rows, columns = (side // period for side in y.shape)
    cells = rough[: rows * period, : columns * period].reshape(rows, period, columns, period)
    return cells[1:-1, :, 1:-1].mean((0, 2))  # at the border a second difference is missing


def peaks(y: Floats, period: int) -> Floats:
    """Spectrum of Y at k / period over its surroundings, k = 1 ... period // 2, in dB, (period // 2,)."""
    side = min(y.shape) // (2 * period) * (2 * period)
    square = y[:side, :side]
    lines = np.concatenate([square, square.T])
    lines = (lines - lines.mean(1, keepdims=True)) * np.hanning(side)
    power = (np.abs(np.fft.rfft(lines)) ** 2).mean(0)
    excess = []
    for at in range(side // period, side // 2 + 1, side // period):
        apart = np.abs(np.arange(len(power)) - at)
        beside = power[(apart > NEAR) & (apart <= FAR)]
        excess.append(10 * np.log10(power[apart <= 1].max() / np.exp(np.log(beside).mean())))
    return np.array(excess)


def decibels(places: Floats) -> float:
    """Strongest over weakest."""
    return float(10 * np.log10(places.max() / places.min()))


def read_all(folder: Path) -> list[ImageArray]:
    """Its images as RGB."""
    return [to_rgb(read_image(path)) for path in list_images(folder)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="NAME or FILE")
    parser.add_argument("--images", type=Path, required=True, help="folder of small images")
    parser.add_argument(
        "--originals", type=Path, required=True, help="folder of large ones, in the same order"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (2)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        compare(args.model, read_all(args.images), [luma(one) for one in read_all(args.originals)])
    except SrcxError as error:
        sys.exit(str(error))


def compare(names: Sequence[str], images: Sequence[ImageArray], originals: Sequence[Floats]) -> None:
    """Print a line for each model; of the originals Y is enough."""
    for name in names:
        model = find_model(name)
        whole, tiled = (
            Upscaler(model, precision="fp32", backend="torch", tile=tile) for tile in (0, TILE_PX)
        )
        shifts, seams, places, tops = [], [], [], []
        for image in images:
            output, bicubic = whole(image), imresize(image, scale=model.scale)
            shifts.append(output.mean((0, 1)) - bicubic.mean((0, 1)))
            seams.append(int(np.abs(output.astype(int) - tiled(image)).max()))
            y = luma(output)
            places.append(energy_by_place(y, model.scale))
            tops.append(peaks(y, model.scale))
        without = [energy_by_place(y, model.scale) for y in originals]
        top, top_without = (
            " / ".join(f"{one:.1f}" for one in np.mean(each, 0))
            for each in (tops, [peaks(y, model.scale) for y in originals])
        )
        sizes = np.abs(shifts)
        print(
            f"{name}, {len(images)} images: colour at most {sizes.max():.2f}, mean {sizes.mean():.2f}; "
            f"grid {decibels(np.mean(places, 0)):.2f} dB (originals {decibels(np.mean(without, 0)):.2f}); "
            f"peaks {top} dB (originals {top_without}); "
            f"seams at most {max(seams)}"
        )


if __name__ == "__main__":
    main()
