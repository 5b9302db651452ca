"""What the input pipeline costs a training step, on a folder of images, with a degradation or without.

    python scripts/bench/input.py DIR                    measures a real training step for comparison
    python scripts/bench/input.py DIR --step-ms 410      takes yours
    python scripts/bench/input.py DIR --degradation web --gt-size 256 --batch-size 12

Times are processor time of the whole process, so that workers beside the training are counted too.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from srcx.archs import MSRResNet
from srcx.config import load_degradation
from srcx.data import HighResolutionDataset, train_batches

SCALE: Literal[4] = 4
LEAST_BATCHES = 40  # workers run a few batches ahead, which would show in a shorter measurement
LIMIT, LIMIT_DEGRADED = 0.05, 0.10  # the share of a step that the pipeline may cost


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="high-resolution images, read with their sub-folders")
    parser.add_argument("--step-ms", type=float, help="length of a training step; measured by default")
    parser.add_argument("--degradation", metavar="NAME|FILE", help="web, phone, old or a .yml file")
    parser.add_argument("--gt-size", type=int, default=96, help="side of the ground-truth crops (96)")
    parser.add_argument("--batch-size", type=int, default=16, help="crops to a batch (16)")
    parser.add_argument("--workers", type=int, default=2, help="threads that prepare batches (2)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs with all images decoded (3)")
    parser.add_argument("--cache-mib", type=int, default=1024, help="memory for decoded images (1024)")
    arguments = parser.parse_args()

    start = time.perf_counter()
    dataset = HighResolutionDataset(
        dataroot_gt=arguments.folder,
        scale=SCALE,
        gt_size=arguments.gt_size,
        degradation=load_degradation(arguments.degradation) if arguments.degradation else None,
        cache_mib=arguments.cache_mib,
    )
    print(f"{dataset.describe()}; checked in {time.perf_counter() - start:.2f} s")
    epoch = -(-len(dataset) // arguments.batch_size)
    batches = train_batches(dataset, batch_size=arguments.batch_size, seed=0, workers=arguments.workers)
    cold_ms = cpu_ms(lambda: next(batches), epoch)
    warm_ms = cpu_ms(lambda: next(batches), max(epoch * arguments.epochs, LEAST_BATCHES))
    step_ms = arguments.step_ms or measured_step_ms(arguments.batch_size, arguments.gt_size)

    limit = LIMIT_DEGRADED if arguments.degradation else LIMIT
    made_by = f"degradation {arguments.degradation}" if arguments.degradation else "MATLAB's bicubic"
    print(f"lq by {made_by}, {arguments.batch_size} crops of gt_size {arguments.gt_size}")
    print(f"a training step: {step_ms:.0f} ms of wall time ({'given' if arguments.step_ms else 'measured'})")
    once = f"first epoch, decoding everything, {cold_ms * epoch / 1000:.1f} s in all"
    for name, batch_ms in [(once, cold_ms), ("every later epoch", warm_ms)]:
        share = batch_ms / step_ms
        verdict = "within" if share <= limit else "above"
        print(
            f"{name}: {batch_ms:.2f} ms a batch = {share:.2%} of a step, {verdict} the limit of {limit:.0%}"
        )


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """Mean processor time of this process for each call."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times * 1000


def measured_step_ms(batch_size: int, gt_size: int) -> float:
    """Median wall time of a bf16 L1 step of the 64-channel 16-block network on random images."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = MSRResNet(num_feat=64, num_block=16, upscale=SCALE).to(device)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    lq = torch.rand(batch_size, 3, gt_size // SCALE, gt_size // SCALE, device=device)
    gt = torch.rand(batch_size, 3, gt_size, gt_size, device=device)
    lq, gt = (x.to(memory_format=torch.channels_last) for x in (lq, gt))
    times = []
    for _ in itertools.repeat(None, 8):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16):
            sr = net(lq)
        loss = (sr.float() - gt).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for the device
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[3:])


if __name__ == "__main__":
    main()
