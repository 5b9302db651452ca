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
from _bench import in_turn, load, spread
from compare_with_basicsr import BasicSRModel
from torch import Tensor

from srcx.hardware import keep_freed_memory
from srcx.training import build
from srcx.training.model import SRModel

BATCH, GT_PX, SCALE = 16, 96, 4
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
        checked = build.load_options(path)
    return build.model(checked, build.accelerator(checked))


def work(side: str, precision: str, threads: int) -> None:
    """Be one side: take a step for each line that comes in, and answer with its loss."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if side == "basicsr":
        print("BasicSR SRModel, fp32", flush=True)
        step = their_step()
    else:
        model = our_model(precision=precision)
        found = {"no": "fp32"}.get(model.accelerator.mixed_precision, model.accelerator.mixed_precision)
        print(f"srcx SRModel, {found}", flush=True)
        step = model.step
    batch = {
        "lq": torch.rand(BATCH, 3, GT_PX // SCALE, GT_PX // SCALE),
        "gt": torch.rand(BATCH, 3, GT_PX, GT_PX),
    }
    for _ in sys.stdin:
        (loss,) = step(batch).values()
        print(loss, flush=True)


class Side:
    """One of the two, in its own process; `label` says what it runs."""

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
        self.label = self.process.stdout.readline().strip()

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
        print(f"{side.label:40} {spread(times[name])} a step")
    ratio = statistics.median(times["basicsr"]) / statistics.median(times["srcx"])
    print(f"{'ratio':40} {ratio:.2f}")


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
