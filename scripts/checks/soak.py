"""Train a tiny network for long, and fail if memory, open files, threads or the log grow with the iterations.

    python scripts/checks/soak.py --iters 2000

Prints a line for each tenth. What is used at the end may be above what was used at a third of the way, when
caches are full, by MEMORY_MIB and not one file or thread; logs may grow by BYTES_AN_ITERATION.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from srcx.imaging import imresize, write_image
from srcx.training.run import run_file

MIB = 2**20
MEMORY_MIB = 16
BYTES_AN_ITERATION = 64

OPTIONS = """
name: soak
model_type: SRGANModel
scale: 4
num_gpu: 0
datasets:
  train: {{name: t, type: HighResolutionDataset, dataroot_gt: {root}, gt_size: 16, batch_size_per_gpu: 2}}
  val: {{name: v, type: HighResolutionDataset, dataroot_gt: {root}}}
network_g: {{type: MSRResNet, num_feat: 4, num_block: 1, upscale: 4}}
network_d: {{type: SRGANDiscriminator, num_feat: 4, input_size: 16}}
train:
  total_iter: {iters}
  ema_decay: 0.99
  optim_g: {{type: Adam, lr: 1e-4}}
  optim_d: {{type: Adam, lr: 1e-4}}
  scheduler: {{type: MultiStepLR, milestones: [1000]}}
  pixel_opt: {{type: L1Loss}}
  gan_opt: {{type: GANLoss, gan_type: vanilla, loss_weight: 1e-3}}
val: {{val_freq: {tenth}, metrics: {{psnr: {{type: psnr}}}}}}
logger: {{print_freq: {tenth}, save_checkpoint_freq: {tenth}, keep_last: 2}}
path: {{experiments_root: {root}/experiments}}
"""


class Use(NamedTuple):
    """What the process uses at one moment."""

    memory_mib: float
    files: int
    threads: int
    log_bytes: int


def use(root: Path) -> Use:
    """What this process uses, and the size of what its run has logged."""
    process = psutil.Process()
    run = root / "experiments/soak"
    logs = [*run.glob("log/*"), run / "metrics.csv"]
    return Use(
        process.memory_info().rss / MIB,
        process.num_fds(),
        process.num_threads(),
        sum(path.stat().st_size for path in logs if path.exists()),
    )


class Watch(logging.Handler):
    """Notes and prints what is used whenever the run logs its losses."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.seen: list[Use] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.funcName == "log_losses":
            now = use(self.root)
            self.seen.append(now)
            print(
                f"{record.getMessage().split(',')[0]}: {now.memory_mib:.1f} MiB, {now.files} files, "
                f"{now.threads} threads, {now.log_bytes} bytes of logs",
                flush=True,
            )


def growth(seen: list[Use], iters: int) -> list[str]:
    """What grew from a third of the way to the end, in words."""
    first, last = seen[len(seen) // 3], seen[-1]
    found = []
    if last.memory_mib > first.memory_mib + MEMORY_MIB:
        found.append(f"memory grew from {first.memory_mib:.1f} to {last.memory_mib:.1f} MiB")
    found += [
        f"{name} grew from {before} to {after}"
        for name, before, after in (
            ("open files", first.files, last.files),
            ("threads", first.threads, last.threads),
        )
        if after > before
    ]
    if last.log_bytes > BYTES_AN_ITERATION * iters:
        found.append(f"logs have {last.log_bytes} bytes after {iters} iterations")
    return found


def main() -> int:
    """Run the soak; 0 if nothing grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iters", type=int, default=2000)
    iters = parser.parse_args().iters
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(4):
            coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
            write_image(root / f"{number}.png", imresize(coarse, size=(32, 32)))
        tenth = max(iters // 10, 1)
        (root / "soak.yml").write_text(OPTIONS.format(root=root, iters=iters, tenth=tenth))
        watch = Watch(root)
        logging.getLogger("srcx").addHandler(watch)
        run_file(root / "soak.yml")
    found = growth(watch.seen, iters)
    print("nothing grew" if not found else "; ".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
