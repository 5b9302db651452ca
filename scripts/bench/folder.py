r"""Time `srcx upscale` of a folder against what the network alone takes of it, in one process.

100 crops of training images are upscaled by the real command in a process of its own, which adds up the
seconds each image was upscaled, without reading and writing; the ratio is that of the whole process, from
its start to its end, to this sum. The way of running the network is measured before, once. Run it on an idle
machine.

    python scripts/bench/folder.py --images datasets/train --threads 2 --height 120 --width 160
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _bench import load, seconds

from srcx.errors import SrcxError
from srcx.imaging import list_images, read_image, write_image

NETWORK_TIME = """
import json, sys
from srcx.cli import main
from srcx.inference import folder
run, total_s = folder.run, 0.0
def summed(*args, **kwargs):
    global total_s
    for outcome in run(*args, **kwargs):
        total_s += outcome.time_s
        yield outcome
folder.run = summed
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(total_s))
sys.exit(code)
"""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images to take crops of")
    parser.add_argument("--count", type=int, default=100, help="crops (100)")
    parser.add_argument("--height", type=int, default=120, help="of a crop (120)")
    parser.add_argument("--width", type=int, default=160, help="of a crop (160)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (2)")
    parser.add_argument("words", nargs="*", help="for srcx upscale, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        cut(args.images, folder / "in", args.count, args.height, args.width)
        first = next((folder / "in").iterdir())
        timed(folder, [str(first), "-o", str(folder / "first"), *args.words], args.threads)
        print(f"{args.count} images of {args.width} x {args.height}, {load()}")
        whole_s, network_s = timed(
            folder, [str(folder / "in"), "-o", str(folder / "out"), *args.words], args.threads
        )
        print(
            f"process {whole_s:.2f} s, network {network_s:.2f} s, {whole_s / network_s:.3f} times the network"
        )


def cut(images: Path, out: Path, count: int, height: int, width: int) -> None:
    """Write the middles of evenly drawn images."""
    found = list_images(images, recursive=True)
    written = 0
    for path in (found[len(found) * place // (2 * count)] for place in range(2 * count)):
        image = read_image(path)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        if min(top, left) >= 0 and written < count:
            write_image(out / f"{written}.png", image[top : top + height, left : left + width])
            written += 1
    if written < count:
        sys.exit(f"{images}: only {written} of the {2 * count} drawn are {width} x {height} pixels or more")


def timed(folder: Path, words: list[str], threads: int) -> tuple[float, float]:
    """Seconds of `srcx upscale`, from start to end, and of the network in it."""
    file = folder / "network.json"
    command = [sys.executable, "-c", NETWORK_TIME, str(file), "upscale", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    whole_s = seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))
    return whole_s, float(json.loads(file.read_text("utf-8")))


if __name__ == "__main__":
    try:
        main()
    except SrcxError as error:
        sys.exit(str(error))
