"""The main job in under three minutes: train with the combined objective, benchmark, upscale two images.

Images: those that ship with scikit-image, two of them held out. Nothing is downloaded.

Example:
    python scripts/demo.py
"""

import shutil
import sys
from pathlib import Path

import skimage
from PIL import Image
from skimage.io import imread

from srcx.cli import main as srcx
from srcx.imaging.io import write_image
from srcx.imaging.resize import imresize

OUT = Path("demo")
OPTIONS = Path("options/demo/demo_x4.yml")
TRAIN = [
    "astronaut.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "camera.png",
]
TRAIN += ["grass.png", "gravel.png", "brick.png", "retina.jpg"]
HELD_OUT = ["chelsea.png", "coffee.png"]
SCALE = 4
JPEG, JPEG_QUALITY = "rocket.jpg", 60


def prepare() -> None:
    """Lay out the images: high resolution to train on; pairs, in the benchmark's layout, to evaluate on."""
    folder = Path(skimage.__file__).parent / "data"
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "data/train").mkdir(parents=True)
    for name in TRAIN:
        shutil.copy(folder / name, OUT / "data/train" / name)
    for kind in ("HR", "LR_bicubic/X4"):
        (OUT / "data/benchmark/held_out" / kind).mkdir(parents=True)
    for name in HELD_OUT:
        image = imread(folder / name)
        height, width = (side - side % SCALE for side in image.shape[:2])
        gt, stem = image[:height, :width], Path(name).stem
        write_image(OUT / f"data/benchmark/held_out/HR/{stem}.png", gt)
        write_image(
            OUT / f"data/benchmark/held_out/LR_bicubic/X4/{stem}x4.png", imresize(gt, scale=1 / SCALE)
        )
    small = imresize(imread(folder / JPEG), scale=1 / 2)
    Image.fromarray(small).save(OUT / "data" / JPEG, quality=JPEG_QUALITY)  # chroma subsampled, as cameras do


def run(title: str, *words: str) -> None:
    """Run one srcx command, shown as a user would type it."""
    print(f"\n== {title}\n$ srcx {' '.join(words)}", flush=True)
    if code := srcx(list(words)):
        sys.exit(code)


def main() -> None:
    """Prepare, train, benchmark, upscale by the trained model, upscale a JPEG photograph by the default."""
    prepare()
    model = str(OUT / "experiments/demo_x4/models/net_g_latest.pth")
    image = str(OUT / "data/benchmark/held_out/LR_bicubic/X4/chelseax4.png")
    run("train", "train", "-opt", str(OPTIONS))
    run(
        "benchmark", "benchmark", "--model", "bicubic", model, "--data", str(OUT / "data/benchmark"),
        "--sets", "held_out", "-o", str(OUT / "benchmark"),
    )  # fmt: skip
    run(
        "upscale an image",
        "upscale",
        image,
        "--model",
        model,
        "-o",
        str(OUT / "chelsea.png"),
        "--overwrite",
    )
    run(
        "upscale a JPEG photograph: the model is chosen for it, and the line says which and why",
        "upscale", str(OUT / "data" / JPEG), "-o", str(OUT / "rocket.png"), "--overwrite",
    )  # fmt: skip
    print(
        f"\nmodel      {model}\n"
        f"run        {OUT / 'experiments/demo_x4'} (log, metrics.csv, checkpoints)\n"
        f"report     {OUT / 'benchmark/report.html'} (and results.json, results.csv)\n"
        f"images     {OUT / 'chelsea.png'}, {OUT / 'rocket.png'}"
    )


if __name__ == "__main__":
    main()
