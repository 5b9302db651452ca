"""Make the two images of README.md and docs/index.md: bicubic beside srcx, on a damaged and on a clean image.

python scripts/pages/home.py

The photographs are scikit-image's. Writes docs/home/damaged.webp and docs/home/clean.webp.
"""

from pathlib import Path

from _page import side_by_side
from skimage import data

from srcx.atomic import make_folder
from srcx.config import load_degradation
from srcx.data.degradation import degrade, seeded
from srcx.imaging import ImageArray, imresize, write_image
from srcx.inference import load_model

SCALE = 4
SQUARE_PX = 96  # of lq
DEGRADATION = "web"
DAMAGED, CLEAN = "coffee", "chelsea"


def comparison(lq: ImageArray, corner: tuple[int, int], model: str) -> ImageArray:
    """Return a square of lq by bicubic and by the model, side by side."""
    top, left = corner
    square = lq[top : top + SQUARE_PX, left : left + SQUARE_PX]
    return side_by_side(
        [imresize(square, scale=SCALE), load_model(model, precision="fp32")(square)], gap_px=8
    )


def main() -> None:
    """Write both images."""
    folder = make_folder(Path("docs/home"))
    options = load_degradation(DEGRADATION)
    damaged = degrade(getattr(data, DAMAGED)(), options, scale=SCALE, rng=seeded(0, options, DAMAGED))
    write_image(folder / "damaged.webp", comparison(damaged, (4, 40), "real-x4"), quality=90)
    clean = imresize(getattr(data, CLEAN)()[:, :448], scale=1 / SCALE)
    write_image(folder / "clean.webp", comparison(clean[:72], (0, 12), "srgan-cx-x4"), quality=90)


if __name__ == "__main__":
    main()
