"""Transfer styles by the contextual loss, Gram matrices and patch matching, and write the page of them.

The images are scikit-image's. The seconds are of this machine, so run it on an idle one.

    OMP_NUM_THREADS=2 python scripts/pages/transfer.py
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from _page import command_block, side_by_side, write_markdown
from skimage import data

from srcx.atomic import make_folder
from srcx.errors import SrcxError
from srcx.imaging import ImageArray, imresize, to_image, write_image
from srcx.inference.transfer import OBJECTIVES, By, steps

PAIRS = (("astronaut", "chelsea"), ("coffee", "immunohistochemistry"))
"""Content and style: two faces, and two images that share nothing."""
STILL_SHORT = (
    "The paper compares the style by cosines in conv2_2, conv3_2 and conv4_2. Here it is by squared "
    "distances, and in conv1_2 too. With the paper's choice, tried on the first pair at 128 pixels, more "
    "colours of the content stay; with squared distances in its three layers, colours are paler. The "
    "grain is as strong.",
    "",
    "Differences from the paper's figures: coloured grain in flat and dark places, and the same texture all"
    " over. Parts of the style do not go to like parts: the face has no eyes or nose of the cat.",
)


def image_of(name: str, size: int) -> ImageArray:
    """An image of scikit-image, its longer side `size`."""
    whole = getattr(data, name)()
    factor = size / max(whole.shape[:2])
    return imresize(whole, size=(round(whole.shape[0] * factor), round(whole.shape[1] * factor)))


def result(content: ImageArray, style: ImageArray, by: By, iterations: int) -> tuple[ImageArray, float]:
    """The last image and the seconds it took, the loading of VGG16 among them."""
    start_s = time.perf_counter()
    for step in steps(content, style, by=by, iterations=iterations):
        if step.iteration % 10 == 0:
            print(f"{by}: step {step.iteration}, loss {step.loss:.4f}", file=sys.stderr, flush=True)
    return to_image(step.image), time.perf_counter() - start_s


def write_page(size: int, iterations: int, out: Path, command: str) -> None:
    """Write OUT/transfer.md and its images in OUT/transfer/.

    Raises:
        SrcxError: as `steps`.
    """
    folder = make_folder(out / "transfer")
    parts = [
        "# Style transfer",
        "",
        "`srcx transfer` applies the losses to style transfer: it changes the pixels of the content until "
        "its VGG16 features are like those of the style. The result has the colour profile, the EXIF data, "
        "the alpha and the bits of the content; the colours of the style are converted to that profile. The "
        "command below writes this page and computes every number in it.",
        "",
        *command_block(command, not_run="takes ten minutes"),
        "",
        f"{iterations} steps, longer side {size} pixels, {torch.get_num_threads()} threads. From left to "
        f"right: content, style, {', '.join(OBJECTIVES)}.",
        "",
    ]
    for content_name, style_name in PAIRS:
        content, style = image_of(content_name, size), image_of(style_name, size)
        results = {by: result(content, style, by, iterations) for by in OBJECTIVES}
        file = f"{content_name}_{style_name}.webp"
        write_image(folder / file, side_by_side([content, style, *(image for image, _ in results.values())]))
        seconds = ", ".join(f"{by} {time_s:.0f} s" for by, (_, time_s) in results.items())
        parts += [f"![{content_name} in the style of {style_name}](transfer/{file})", "", f"{seconds}.", ""]
    parts += ["## Differences from the paper", "", *STILL_SHORT]
    write_markdown(out / "transfer.md", parts)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=120)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    try:
        write_page(args.size, args.iterations, args.out, " ".join(["python", *sys.argv]))
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
