r"""Time the ways of running MSRResNet 64 x 16 on a 320 x 180 image, and a small image from start to file.

The ways take their turns, so that whatever else the machine does meets all of them; each is given with the
middle of its times, its ratio to eager fp32 and its PSNR against it. int8 is what `srcx export --int8` makes
of the images of --calibration; --set prints what of PSNR-Y each way loses on a benchmark set. Ways whose
package is not installed are left out, and so is bf16 where the processor does not multiply it. Run it on an
idle machine.

    python scripts/bench/upscale.py --model srresnet-x4 --threads 2 --runs 7 \
        --calibration datasets/train --set datasets/benchmark/Set5
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from _bench import in_turn, load, seconds
from torch import Tensor

from srcx.archs import MSRResNet
from srcx.errors import SrcxError
from srcx.imaging import imresize, list_images, read_image, to_image, to_tensor, write_image
from srcx.inference import Model, Upscaler, find_model
from srcx.inference.autotune import engines_for
from srcx.inference.backends import BACKENDS, psnr_db
from srcx.inference.export import photograph
from srcx.inference.quantize import export_int8
from srcx.inference.runner import Runner
from srcx.metrics import psnr

HEIGHT, WIDTH = 180, 320

Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of each way (2)")
    parser.add_argument("--runs", type=int, default=7, help="turns timed (7)")
    parser.add_argument("--image", type=Path, help="a photograph; one of scikit-image's without it")
    parser.add_argument("--model", help="NAME or FILE; fresh weights of MSRResNet 64 x 16 without it")
    parser.add_argument("--calibration", type=Path, help="folder of images to make int8 with")
    parser.add_argument("--set", type=Path, help="folder with HR and LR_bicubic/X4 to take PSNR-Y on")
    parser.add_argument("--tiles", type=int, nargs="*", default=[], help="sides of tiles to try too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lq = image_of(args.image or photograph())
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = temporary  # the fastest way is measured now
        model = (
            find_model(args.model)
            if args.model
            else Model("fresh", 4, "MSRResNet", "0", net=MSRResNet().eval())
        )
        net = model.net
        if net is None:
            sys.exit(f"{args.model}: has no network")
        if args.calibration:
            file = Path(temporary) / "int8.xml"
            export_int8(model, file, list_images(args.calibration, recursive=True))
            model = replace(model, int8=file)
        found = ways(model, net)
        print(f"{args.threads} threads, {args.runs} turns, {load()}")
        compare(found, lq, args.runs)
        compare(tiled(model, lq, [0, "auto", *args.tiles]), lq, args.runs)
        if args.set:
            losses(found, args.set)
    start_to_file(args.model, args.runs, args.threads)


def image_of(path: Path) -> Tensor:
    """A photograph at 320 x 180, (1, 3, 180, 320)."""
    return to_tensor(imresize(read_image(path)[..., :3], size=(HEIGHT, WIDTH)))


def ways(model: Model, net: Run) -> dict[str, Run]:
    """What is compared, by its name; the first is what the others are measured against."""
    found = {"torch fp32, NCHW": net}
    for backend in BACKENDS:
        if backend.available():
            for engine in engines_for(model, "cpu", backend=backend.name, precision="auto"):
                found[f"srcx {engine}"] = by_arrays(Runner(model, engine, "cpu"))
    return found


def by_arrays(runner: Runner) -> Run:
    """Let a runner take tensors."""
    return lambda lq: torch.from_numpy(runner(lq.numpy()))


def tiled(model: Model, lq: Tensor, sides: list[int | Literal["auto"]]) -> dict[str, Run]:
    """The way the product chooses, in tiles as it cuts them and of these sides; 0 is no tiles."""

    def run_of(side: int | Literal["auto"]) -> Run:
        up = Upscaler(model, tile=side)
        return lambda lq: to_tensor(up(to_image(lq)))

    chosen = Upscaler(model)
    chosen.measure(to_image(lq))
    chosen(to_image(lq))
    return {f"auto: {chosen.engine}, tile {side}": run_of(side) for side in sides}


@torch.inference_mode()
def compare(found: dict[str, Run], lq: Tensor, runs: int) -> None:
    """Print a line for each way."""
    outputs = {name: run(lq).float().clamp(0, 1) for name, run in found.items()}  # and warm up
    times = in_turn({name: partial(run, lq) for name, run in found.items()}, runs, warm_up=0)
    plain, *_ = found
    for name in found:
        median = statistics.median(times[name])
        ratio = statistics.median(times[plain]) / median
        near_db = psnr_db(outputs[name].numpy(), outputs[plain].numpy())
        print(f"{name:32} {median:6.3f} s  {ratio:5.2f} x  {near_db:6.1f} dB")


@torch.inference_mode()
def losses(found: dict[str, Run], folder: Path) -> None:
    """Print PSNR-Y of each way on a set, and what it loses against the first."""
    low = list_images(folder / "LR_bicubic/X4")
    pairs = [
        (to_tensor(read_image(lq)), read_image(gt))
        for lq, gt in zip(low, list_images(folder / "HR"), strict=True)
    ]
    means = {}
    for name, run in found.items():
        means[name] = statistics.mean(psnr(to_image(run(lq)), gt) for lq, gt in pairs)
        lost = next(iter(means.values())) - means[name]
        print(f"{name:32} {folder.name} {means[name]:.3f} dB, {lost:.4f} lost")


def start_to_file(model: str | None, runs: int, threads: int) -> None:
    """Time `srcx upscale` of a 64 x 48 image, from start to end: at first use, and later."""
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary) / "small.png", Path(temporary) / "large.png"
        write_image(small, imresize(read_image(photograph()), size=(48, 64)))
        command = [sys.executable, "-m", "srcx", "upscale", str(small), "-o", str(large), "--overwrite"]
        command += ["--model", model] if model else []
        cache = str(Path(temporary) / "cache")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "XDG_CACHE_HOME": cache}
        first, *times = [
            seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))
            for _ in range(runs + 1)
        ]
    name, median = "start to file, 64 x 48", statistics.median(times)
    print(f"{name:32} {median:6.3f} s  ({min(times):.3f} to {max(times):.3f}); at first use {first:.3f} s")


if __name__ == "__main__":
    try:
        main()
    except SrcxError as error:
        sys.exit(str(error))
