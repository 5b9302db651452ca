r"""Train on images without any pairs, by the contextual loss, and write the page of what came of it.

It runs two experiments of options/unpaired. In single-image animation, the frames of one moving face take
the look of one image of another face. In domain transfer, photographs take the look of faded prints of
other photographs; two generators with discriminators (CycleGAN) are trained beside it. Finished runs stay
in experiments/unpaired and are not repeated. A stopped run continues. The images that are evaluated and
shown are scikit-image's. A known formula turns a photograph into a print, so the true print of each image
is known too.

    python scripts/pages/unpaired.py --photographs datasets/train/Kodak
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from _page import Bytes, below, command_block, side_by_side, write_markdown
from numpy.typing import NDArray
from skimage import data

from srcx.atomic import make_folder
from srcx.cli import main as srcx
from srcx.errors import SrcxError, UsageError
from srcx.imaging import imresize, list_images, read_image, to_rgb, write_image
from srcx.inference.load import load_model
from srcx.metrics import lpips, psnr

OPTIONS = Path("options/unpaired")
IMAGES = Path("datasets/unpaired")

SIZE_PX = 128
FRAMES = 24
SHOWN_FRAMES = (0, 4, 8, 12)
MOVING, FACE = "astronaut", (0, 96, 256)
"""The image of scikit-image that is moved; top, left and side of the face in it."""
TARGET, TARGET_FACE = "chelsea", (20, 110, 256)
"""The same of the one, a cat, whose looks the frames are to have."""

HELD_OUT = ("coffee", "chelsea", "astronaut", "rocket")
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
"""The usual matrix, from RGB to RGB."""
FADED = (40.0, 0.7)
"""Black of the print, and what is left of the contrast."""
GRAIN_SIGMA = 8.0
"""Of 255."""
CROP_PX = 160


def make_animation() -> None:
    """The frames of a face that nods, turns and comes nearer, and the one target."""
    top, left, side = FACE
    still, center = getattr(data, MOVING)(), (left + side / 2, top + side / 2)
    for frame in range(FRAMES):
        phase = 2 * math.pi * frame / FRAMES
        motion = cv2.getRotationMatrix2D(center, 8 * math.sin(phase), 1 + 0.06 * math.sin(2 * phase))
        motion[:, 2] += 14 * np.array([math.cos(phase), math.sin(2 * phase)])
        moved = cv2.warpAffine(
            still, motion, still.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        _keep(IMAGES / f"animate/lq/{frame:02}.png", _square(_bytes(moved), FACE))
    _keep(IMAGES / "animate/gt/target.png", _square(getattr(data, TARGET)(), TARGET_FACE))


def make_domain(photographs: Path) -> None:
    """Half of the photographs as they are, prints of the other half, and those to evaluate on.

    Raises:
        UsageError: there are not two photographs.
    """
    paths = list_images(photographs)
    if len(paths) < 2:
        raise UsageError(f"{photographs}: expected two photographs or more, got {len(paths)}; name another")
    random = np.random.default_rng(0)
    for number, path in enumerate(paths):
        image = to_rgb(read_image(path)).astype(np.uint8)
        kind, shown = ("gt", faded_print(image, random)) if number % 2 else ("lq", image)
        _keep(IMAGES / f"domain/{kind}/{path.stem}.png", shown)
    for name in HELD_OUT:
        image = getattr(data, name)()
        _keep(IMAGES / f"domain_held_out/lq/{name}.png", image)
        _keep(IMAGES / f"domain_held_out/gt/{name}.png", faded_print(image, random))


def faded_print(photograph: Bytes, random: np.random.Generator) -> Bytes:
    """An old print of a photograph: brown, faded, with grain."""
    black, contrast = FADED
    brown = black + contrast * np.clip(photograph @ SEPIA.T, 0, 255)
    grain = random.normal(0, GRAIN_SIGMA, photograph.shape[:2])
    return np.clip(np.round(brown + grain[..., None]), 0, 255).astype(np.uint8)


def _square(image: Bytes, place: tuple[int, int, int]) -> Bytes:
    top, left, side = place
    return _bytes(imresize(image[top : top + side, left : left + side], size=(SIZE_PX, SIZE_PX)))


def _keep(path: Path, image: Bytes) -> None:
    make_folder(path.parent)
    if not path.exists():
        write_image(path, image)


def _bytes(image: NDArray[np.generic]) -> Bytes:
    assert image.dtype == np.uint8
    return image.astype(np.uint8, copy=False)


def train(name: str, root: Path, iters: int | None) -> Path:
    """The model of an option file; it is trained if it is not there yet."""
    model = root / name / "models/net_g_latest.pth"
    if not model.exists():
        changes = [f"path:experiments_root={root}"]
        if iters is not None:
            changes += [f"train:total_iter={iters}", f"val:val_freq={iters}"]
        if code := srcx(["train", "-opt", f"{OPTIONS / name}.yml", "--auto_resume", "--force_yml", *changes]):
            sys.exit(code)
    return model


def run_model(model: Path, images: Sequence[Bytes]) -> list[Bytes]:
    """What a model makes of each image."""
    net = load_model(model, precision="fp32")
    return [_bytes(net(image)) for image in images]


def animation(model: Path, folder: Path) -> list[str]:
    """The section of the animation; its image is written to `folder`."""
    frames = [_bytes(read_image(IMAGES / f"animate/lq/{frame:02}.png")) for frame in SHOWN_FRAMES]
    target = _bytes(read_image(IMAGES / "animate/gt/target.png"))
    blank = np.full_like(target, 255)
    rows = [[target, *frames], [blank, *run_model(model, frames)]]
    write_image(folder / "animation.webp", below([side_by_side(row) for row in rows]))
    return [
        "## Single-image animation",
        "",
        f"Upper row: the target and four of {FRAMES} frames. "
        "Lower row: the output of `animate_cx` for each frame.",
        "",
        f"![animation]({folder.name}/animation.webp)",
        "",
        "The layers are the paper's: conv2_2, conv3_2 and conv4_2. Differences from its figures: colours "
        "follow the target, but there is no fur, the eyes have a colour that it does not have, and the "
        "subject has a halo. The network is small, and its training takes minutes.",
        "",
    ]


def domain(models: dict[str, Path], folder: Path) -> list[str]:
    """The section of the prints; its image is written to `folder`."""
    photographs, prints = (
        [_bytes(read_image(IMAGES / f"domain_held_out/{kind}/{name}.png")) for name in HELD_OUT]
        for kind in ("lq", "gt")
    )
    results = {"the photograph itself": photographs}
    results |= {name: run_model(model, photographs) for name, model in models.items()}
    rows = []
    for columns in zip(*results.values(), prints, strict=True):
        top, left = ((side - CROP_PX) // 2 for side in columns[0].shape[:2])
        rows.append(side_by_side([one[top : top + CROP_PX, left : left + CROP_PX] for one in columns]))
    write_image(folder / "domain.webp", below(rows))
    table = ["| image | LPIPS | PSNR |", "|---|---|---|"]
    for name, images in results.items():
        pairs = list(zip(images, prints, strict=True))
        means = [np.mean([float(metric(sr, gt)) for sr, gt in pairs]) for metric in (lpips, psnr)]
        table.append(f"| {name} | {means[0]:.3f} | {means[1]:.2f} |")
    return [
        "## From photographs to faded prints",
        "",
        "Both models train on photographs and on prints of other photographs, and are tested on images of "
        "which neither saw the photograph or the print. Both train for about the same time: some minutes on "
        "two cores, which is little for two generators and two discriminators. No network can predict the "
        "grain of a print, so PSNR has a limit.",
        "",
        *table,
        "",
        f"From left to right: {', '.join(results)}, the true print.",
        "",
        f"![prints]({folder.name}/domain.webp)",
        "",
        "The layers are conv1_2, conv2_2 and conv3_2, each lower than for the animation, since a print "
        "differs in colour and grain. Two things are missing: part of the brown, and the grain.",
        "",
    ]


def run(photographs: Path, root: Path, iters: int | None, out: Path, command: str) -> None:
    """Make the images, train, and write OUT/unpaired.md with its images in OUT/unpaired/.

    Raises:
        SrcxError: of the kind that fits.
    """
    make_animation()
    make_domain(photographs)
    animate = train("animate_cx", root, iters)
    models = {name: train(name, root, iters) for name in ("domain_cx", "domain_cycle")}
    folder = make_folder(out / "unpaired")
    parts = [
        "# Learning without pairs",
        "",
        "The contextual loss can compare images that show different things, so it can train without pairs. "
        "The option files are in `options/unpaired`. The command below writes this page and computes every "
        "number in it.",
        "",
        *command_block(command, not_run="trains for some minutes"),
        "",
        *animation(animate, folder),
        *domain(models, folder),
    ]
    write_markdown(out / "unpaired.md", parts)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, default=Path("datasets/train/Kodak"), help="a folder of photographs"
    )
    parser.add_argument("--iters", type=int, help="steps of each run instead of its option file's")
    parser.add_argument("--root", type=Path, default=Path("experiments/unpaired"), help="folder of the runs")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    try:
        run(args.photographs, args.root, args.iters, args.out, " ".join(["python", *sys.argv]))
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
