"""Time one training step of MSRResNet 64 x 16, batch 16, GT 96: BasicSR's own SRModel against srcx's.

Each side has a process of its own, set up as its users have it, and the two take their steps in turn, so that
whatever else the machine does meets both. BasicSR's model runs in fp32, which is all it has; srcx's in the
precision and with the convolutions that `srcx train` takes on this machine. Run it on an idle machine.

    python scripts/bench/training.py --threads 2 --steps 20
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _bench import in_turn, load, seconds, spread
from compare_with_basicsr import BasicSRModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from srcx.hardware import keep_freed_memory
from srcx.training import build
from srcx.training.model import SRModel
from srcx.training.options import load_options
from srcx.winograd import BY_TORCH

BATCH, GT_PX, SCALE = 16, 96, 4
PRODUCT = 1024  # side of the matrices whose product is the floor
WARM_UP_STEPS = 3
OPTIONS: dict[str, Any] = {
    "name": "bench",
    "model_type": "SRModel",
    "scale": SCALE,
    "num_gpu": 0,
    "datasets": {
        "train": {"name": "noise", "type": "HighResolutionDataset", "dataroot_gt": "none", "gt_size": GT_PX}
    },
    "network_g": {"type": "MSRResNet", "num_feat": 64, "num_block": 16, "upscale": SCALE},
    "train": {
        "total_iter": 1_000_000,
        "ema_decay": 0.999,
        "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [500_000], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    },
}

Step = Callable[[dict[str, Tensor]], dict[str, float]]


def their_step() -> Step:
    """The training step of BasicSR."""
    return BasicSRModel(OPTIONS).step


def our_model(options: dict[str, Any] = OPTIONS, **train: object) -> SRModel:
    """The training model of srcx, as `srcx train` sets it up, with these options under `train`."""
    keep_freed_memory()
    options = {**options, "train": {**options["train"], **train}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yml"
        path.write_text(json.dumps(options), encoding="utf-8")
        checked = load_options(path)
    return build.model(checked, build.accelerator(checked))


def work(side: str, precision: str, threads: int) -> None:
    """Be one side: take a step for each line that comes in, and answer with its loss."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch = {
        "lq": torch.rand(BATCH, 3, GT_PX // SCALE, GT_PX // SCALE),
        "gt": torch.rand(BATCH, 3, GT_PX, GT_PX),
    }
    if side == "basicsr":
        step, found = their_step(), {"label": "BasicSR SRModel, fp32"}
    else:
        model = our_model(precision=precision)
        dtype = torch.bfloat16 if model.accelerator.mixed_precision == "bf16" else torch.float32
        name = f"srcx SRModel, {str(dtype).removeprefix('torch.')}, convolutions by {model.convolution.way}"
        step, found = model.step, {"label": name, "floor": floor(model, batch, dtype)}
    print(json.dumps(found), flush=True)
    for _ in sys.stdin:
        (loss,) = step(batch).values()
        print(loss, flush=True)


def floor(model: SRModel, batch: dict[str, Tensor], dtype: torch.dtype) -> str:
    """Say how long the step's multiplications would take as one matrix product, without any other work."""
    chosen, model.convolution = model.convolution, BY_TORCH  # whose operations the counter knows
    with FlopCounterMode(display=False) as counter:
        model.step(batch)
    model.convolution = chosen
    matrix = torch.ones(PRODUCT, PRODUCT, dtype=dtype)
    product_s = min(seconds(lambda: matrix @ matrix) for _ in range(5))
    floor_s = counter.get_total_flops() / (2 * PRODUCT**3) * product_s
    return f"{floor_s:.3f} s: {counter.get_total_flops() / 1e9:.0f} GFLOP as a bare matrix product in {dtype}"


class Side:
    """One of the two, in its own process; `label` says what it runs, and `floor` the least time for it."""

    def __init__(self, name: str, precision: str, threads: int) -> None:
        command = [
            sys.executable,
            __file__,
            "--side",
            name,
            "--precision",
            precision,
            "--threads",
            str(threads),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.readline())
        self.label, self.floor = found["label"], found.get("floor")

    def step(self) -> float:
        """Take one step and return its loss."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("step", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        """Let the process end."""
        self.process.communicate()


def bench(precision: str, threads: int, steps: int) -> None:
    """Time the two in turn and print medians, middle halves and their ratio."""
    print(f"{threads} threads, {steps} steps in turn, {load()}")
    sides = {name: Side(name, precision, threads) for name in ("basicsr", "srcx")}
    times = in_turn({name: side.step for name, side in sides.items()}, steps, warm_up=WARM_UP_STEPS)
    for name, side in sides.items():
        side.stop()
        print(f"{side.label:48} {spread(times[name])} a step")
    ratio = statistics.median(times["basicsr"]) / statistics.median(times["srcx"])
    print(f"{'ratio':48} {ratio:.2f}")
    print(f"{'floor of srcx':48} {sides['srcx'].floor}")


def main() -> None:
    """Read the command line; `--side` is for the processes this script starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (2)")
    parser.add_argument("--steps", type=int, default=20, help="steps timed (20)")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto", help="srcx's (auto)")
    parser.add_argument("--side", choices=["basicsr", "srcx"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        work(args.side, args.precision, args.threads)
    else:
        bench(args.precision, args.threads, args.steps)


if __name__ == "__main__":
    main()
