r"""Peak memory of `srcx.upscale` and of writing its result, beyond the input and output arrays.

The peak is the process's (VmHWM), less what it had (VmRSS) when the model and the image were loaded and
nothing had run, less the output array. Opening backends counts, and where none was measured on this machine
before, so does that. srresnet-x4 would work for half an hour and more on the 320 megapixels it makes of
20, so there are three cases:

    output    20 megapixels made of 1.25 by the model named (srresnet-x4): the real network, whole
    input     20 megapixels by a small network of the same kind at x2: 80 megapixels made, tiles as they come
    bicubic   20 megapixels by MATLAB's bicubic at x4: 320 megapixels made

Each runs in a process of its own, through the calls that `srcx upscale` makes, and writes a PNG.

    python scripts/bench/memory.py --threads 2 output input bicubic
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from srcx.archs import MSRResNet
from srcx.imaging import imresize, read_image, write_image
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.export import photograph

CASES = ("output", "input", "bicubic")
SIZES = {"output": (968, 1292), "input": (3873, 5164), "bicubic": (3873, 5164)}
"""Height and width of the image that is upscaled."""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", choices=CASES, help="what to run")
    parser.add_argument("--model", default="srresnet-x4", help="NAME or FILE of the case 'output'")
    parser.add_argument("--backend", default="auto", help="as for srcx upscale (auto)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (2)")
    args = parser.parse_args()
    if len(args.cases) == 1:
        measure(args.cases[0], args.model, args.backend, args.threads)
        return
    for case in args.cases:
        words = [case, "--model", args.model, "--backend", args.backend, "--threads", str(args.threads)]
        subprocess.run([sys.executable, __file__, *words], check=True)


def measure(case: str, name: str, backend: str, threads: int) -> None:
    """Upscale and write one image, and print what it took."""
    torch.set_num_threads(threads)
    image = imresize(read_image(photograph())[..., :3], size=SIZES[case])
    up = Upscaler(model_of(case, name), backend=backend)
    forget_peak()
    before, began_s = resident("VmRSS"), time.perf_counter()
    result = up(image)
    upscaled, time_s = resident("VmHWM"), time.perf_counter() - began_s
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        write_image(Path(folder) / "result.png", result)
    peak = resident("VmHWM")
    (height, width), (sr_height, sr_width) = image.shape[:2], result.shape[:2]
    beyond, written = ((most - before - result.nbytes) / 1e6 for most in (upscaled, peak))
    print(
        f"{case:8} {width} x {height} to {sr_width} x {sr_height} by {up.model.name}, {up.engine}: "
        f"{beyond:.0f} MB beyond the arrays, {written:.0f} MB with writing; the process before "
        f"{before / 1e6:.0f} MB; {time_s:.1f} s, load {os.getloadavg()[0]:.2f}"
    )


def model_of(case: str, name: str) -> Model:
    """What upscales in this case."""
    if case == "input":
        torch.manual_seed(0)
        return Model(
            "small", 2, "MSRResNet", "small", net=MSRResNet(num_feat=16, num_block=2, upscale=2).eval()
        )
    return find_model("bicubic" if case == "bicubic" else name)


def forget_peak() -> None:
    """Let VmHWM count from now on."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def resident(what: str) -> int:
    """VmRSS, now, or VmHWM, the most there was: bytes."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


if __name__ == "__main__":
    main()
