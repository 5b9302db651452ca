"""Compare reading and writing of image files with pyvips, which docs/decisions.md decides on.

pip install pyvips pyvips-binary
python scripts/bench/image_files.py             time in turn, size of the files, peak memory
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from _bench import in_turn, load

from srcx.imaging import ImageArray, read_image, write_image

KINDS = {"8.png": np.uint8, "16.png": np.uint16, "8.jpg": np.uint8, "8.webp": np.uint8, "8.tif": np.uint8}
SAVE: dict[str, dict[str, Any]] = {
    ".png": {"compression": 1, "filter": "avg"},
    ".jpg": {"Q": 95, "subsample_mode": "off"},
    ".webp": {"lossless": True, "exact": True},
    ".tif": {"compression": "lzw", "predictor": "horizontal"},
}


def read_by_vips(path: Path) -> ImageArray:
    """Return the pixels as libvips reads them, with its strictest check."""
    import pyvips

    opened = pyvips.Image.new_from_file(str(path), fail_on="warning", access="sequential")
    pixels: ImageArray = opened.autorot().numpy()
    return pixels


def write_by_vips(path: Path, image: ImageArray) -> None:
    """Write RGB by libvips, with the settings that are nearest to those of srcx."""
    import pyvips

    height, width, channels = image.shape
    depth, colours = ("uchar", "srgb") if image.dtype == np.uint8 else ("ushort", "rgb16")
    made = pyvips.Image.new_from_memory(image.data, width, height, channels, depth)
    made.copy(interpretation=colours).write_to_file(str(path), **SAVE[path.suffix])


def peak_mib(work: Callable[[], object]) -> int:
    """Return the memory that a call takes at its peak, beyond that of before; Linux alone counts it."""
    counters = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    counters[0].write_text("5")  # the peak begins anew
    peaks = []
    for run in (lambda: None, work):
        run()
        line = next(line for line in counters[1].read_text().splitlines() if line.startswith("VmHWM"))
        peaks.append(int(line.split()[1]) >> 10)
    return peaks[1] - peaks[0]


def compare(folder: Path, name: str, image: ImageArray, runs: int) -> str:
    """Return the line of one kind of file; a process of its own measures each peak."""
    ours, theirs = folder / f"srcx{name}", folder / f"vips{name}"
    works: dict[str, dict[str, Callable[[], object]]] = {
        "write": {"srcx": lambda: write_image(ours, image), "vips": lambda: write_by_vips(theirs, image)},
        "read": {"srcx": lambda: read_image(ours), "vips": lambda: read_by_vips(ours)},
    }
    line = []
    for what, both in works.items():
        times = in_turn(both, runs)
        line.append(f"{what} {median(times['srcx']) / median(times['vips']):.2f}")
    line.append(f"bytes {ours.stat().st_size / theirs.stat().st_size:.2f}")
    line.append("same pixels" if np.array_equal(read_image(ours), read_by_vips(ours)) else "other pixels")
    for what, both in works.items():
        commands = [[sys.executable, __file__, "--peak", who, what, str(ours)] for who in both]
        peaks = [subprocess.check_output(command, text=True).strip() for command in commands]
        line.append(f"{what} peak {' / '.join(peaks)} MiB of {image.nbytes >> 20}")
    return f"{name:7} " + ", ".join(line)


def main() -> None:
    """Print a line for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peak", nargs=3, metavar=("srcx|vips", "read|write", "FILE"), help="print one peak")
    parser.add_argument("--width", type=int, default=3000, help="of the image, 3:2; default: 3000")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.peak:
        who, what, file = arguments.peak
        path, target = Path(file), Path(file).with_stem("again")
        image = read_image(path) if what == "write" else np.zeros(0, np.uint8)
        by = {
            ("srcx", "read"): lambda: read_image(path),
            ("vips", "read"): lambda: read_by_vips(path),
            ("srcx", "write"): lambda: write_image(target, image),
            ("vips", "write"): lambda: write_by_vips(target, image),
        }
        import pyvips  # noqa: F401 # its own memory is not counted

        print(peak_mib(by[who, what]))
        return
    coarse = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    size = arguments.width, arguments.width * 2 // 3
    eight = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    print(f"{size[0]} x {size[1]}, {load()}; srcx / pyvips, above 1: pyvips is better")
    with TemporaryDirectory() as folder:
        for name, dtype in KINDS.items():
            deep = (eight.astype(np.uint16) * 257 ^ 0x5A).astype(np.uint16)
            scaled: ImageArray = eight if dtype == np.uint8 else deep
            print(compare(Path(folder), name, scaled, arguments.runs), flush=True)


if __name__ == "__main__":
    main()
