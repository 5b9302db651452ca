"""Make the validation sets of options/shipped/real_*.yml: good images damaged by the three presets in turn.

    python scripts/release/make_damaged_validation.py datasets/validation_free -o datasets/validation_damaged

writes OUT/x4/gt, OUT/x4/lq, OUT/x2/gt and OUT/x2/lq: the middle 320 x 320 pixels of each image, and its lq.
"""

import argparse
from itertools import cycle
from pathlib import Path

from srcx.config import load_degradation
from srcx.data.degradation import degrade, seeded
from srcx.imaging import list_images, read_image, write_image
from srcx.imaging.color import to_rgb

SIDE_PX = 320
PRESETS = ("web", "phone", "old")


def main() -> None:
    """Read the command line and write the sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="good images of at least 320 x 320 pixels")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the sets")
    args = parser.parse_args()
    for scale in (4, 2):
        gt_folder, lq_folder = (args.output / f"x{scale}" / side for side in ("gt", "lq"))
        gt_folder.mkdir(parents=True, exist_ok=True)
        lq_folder.mkdir(parents=True, exist_ok=True)
        for path, preset in zip(list_images(args.folder), cycle(PRESETS), strict=False):
            image = to_rgb(read_image(path))
            top, left = (side // 2 - SIDE_PX // 2 for side in image.shape[:2])
            gt = image[top : top + SIDE_PX, left : left + SIDE_PX]
            options = load_degradation(preset)
            lq = degrade(gt, options, scale=scale, rng=seeded(0, options, path.stem))
            write_image(gt_folder / f"{path.stem}.png", gt)
            write_image(lq_folder / f"{path.stem}.png", lq)


if __name__ == "__main__":
    main()
