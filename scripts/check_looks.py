r"""What no metric says of a model: its shift of colours, its grid and its seams.

Colour: the mean of R, G or B of an output, less that of the bicubic picture; the largest of any picture and
channel, and the mean size, in levels of 255.

Grid: a tail that enlarges by shuffles or strides may leave a pattern of its period. The energy of the second
differences of Y is gathered by place in squares of scale x scale pixels over all pictures: strongest
place over weakest, in dB. The originals' figure, which have no grid, stands beside it.

Seams: tiles of 64 x 64 against the whole picture; the largest difference of any value, in levels of 255.

    python scripts/check_looks.py --model srgan-cx-x4 --pictures datasets/benchmark/Set5/LR_bicubic/X4 \
        --originals datasets/benchmark/Set5/HR
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srcx.imaging import Picture, imresize, list_pictures, read_picture, rgb_to_y, to_rgb
from srcx.inference import Upscaler, find_model

TILE_PX = 64


def energy_by_place(picture: Picture, period: int) -> NDArray[np.float64]:
    """Mean square of the second differences of Y, (period, period), by row and column in the grid."""
    y = rgb_to_y(np.asarray(picture, np.uint8)).astype(float)
    rough = np.zeros_like(y)
    rough[1:-1] += np.diff(y, 2, axis=0) ** 2
    rough[:, 1:-1] += np.diff(y, 2, axis=1) ** 2
    whole = rough[
        period : len(y) // period * period - period, period : y.shape[1] // period * period - period
    ]
    rows, columns = (side // period for side in whole.shape)
    return whole.reshape(rows, period, columns, period).mean((0, 2))


def decibels(places: NDArray[np.float64]) -> float:
    """Strongest over weakest."""
    return float(10 * np.log10(places.max() / places.min()))


def read_all(folder: Path) -> list[Picture]:
    """Its pictures as RGB."""
    return [to_rgb(read_picture(path)) for path in list_pictures(folder)]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="NAME or FILE")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of small pictures")
    parser.add_argument(
        "--originals", type=Path, required=True, help="folder of large ones, in the same order"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (2)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures = read_all(args.pictures)
    for name in args.model:
        model = find_model(name)
        whole, tiled = (
            Upscaler(model, precision="fp32", backend="torch", tile=tile) for tile in (0, TILE_PX)
        )
        shifts, seams, places = [], [], []
        for picture in pictures:
            output, bicubic = whole(picture), imresize(picture, scale=model.scale)
            shifts.append(output.mean((0, 1)) - bicubic.mean((0, 1)))
            seams.append(int(np.abs(output.astype(int) - tiled(picture)).max()))
            places.append(energy_by_place(output, model.scale))
        originals = [energy_by_place(picture, model.scale) for picture in read_all(args.originals)]
        sizes = np.abs(shifts)
        print(
            f"{name}, {len(pictures)} pictures: colour at most {sizes.max():.2f}, mean {sizes.mean():.2f}; "
            f"grid {decibels(np.mean(places, 0)):.2f} dB (originals {decibels(np.mean(originals, 0)):.2f}); "
            f"seams at most {max(seams)}"
        )


if __name__ == "__main__":
    main()
