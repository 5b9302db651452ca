"""Do everything that a GPU is needed for, in one run of under eight minutes, and write a page of Markdown.

    python scripts/check_gpu.py -o gpu.md
    python scripts/check_gpu.py --device cpu --quick -o cpu.md      the same way on a CPU, in seconds

The tests marked cuda; the contextual loss against the plain formula in time, memory and value; a training
step and upscaling in fp32, bf16 and fp16 against BasicSR, where it can be imported; how often a training step
waits for the GPU, and where its time goes. A part that fails is named on the page, and the others go on; a
part that would start too late is left out.
"""

import argparse
import copy
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

sys.path.extend(str(Path(__file__).parent / folder) for folder in ("bench", "pages"))

from _page import write_markdown
from compare_with_basicsr import BasicSRModel
from contextual import Loss, Maps, plain
from training import BATCH, GT_PX, OPTIONS, SCALE, our_model

from srcx import __version__
from srcx.archs import MSRResNet
from srcx.basicsr_compat.importing import open_basicsr
from srcx.data.batches import Batch, copied_ahead
from srcx.errors import BasicSRError, SrcxError
from srcx.imaging import ImageArray, to_image, to_tensor
from srcx.inference import Model, Upscaler
from srcx.losses import contextual_loss
from srcx.training.model import SRModel
from srcx.training.profiling import profile_steps

LIMIT_S = 420.0  # a part that starts later is left out
TESTS_S = 150
PART_S = 10.0  # no more runs of one side after this


class Check(NamedTuple):
    """What is checked, and how large."""

    device: torch.device
    maps: list[Maps]
    runs: int
    num_block: int  # residual blocks of the network, and
    lq_px: tuple[int, int]  # height and width that it upscales
    tests: bool


def main() -> None:
    """Read the command line, check part by part, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="what to check (cuda)")
    parser.add_argument("--quick", action="store_true", help="small sizes, and no tests: seconds on a CPU")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the page to write")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device here: run it where there is one, or with --device cpu --quick")
    device = torch.device(args.device)
    if args.quick:
        check = Check(device, [Maps(2, 8, 16, True), Maps(1, 12, 16, False)], 2, 1, (12, 16), tests=False)
    else:
        maps = [Maps(16, 24, 256, True), Maps(1, 96, 256, True), Maps(1, 192, 256, device.type == "cuda")]
        check = Check(device, maps, 20, 16, (180, 320), tests=True)
    lines, failed = page(check)
    write_markdown(args.output, lines)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def page(check: Check) -> tuple[list[str], list[str]]:
    """Return the lines of the page, and the parts that failed."""
    start, failed = time.monotonic(), []
    name = torch.cuda.get_device_name() if check.device.type == "cuda" else platform.machine()
    lines = [
        f"# srcx {__version__} on {name}",
        "",
        f"torch {torch.__version__}; by `scripts/check_gpu.py`. Times: medians of {check.runs} runs at most.",
    ]
    parts: dict[str, Callable[[Check], Iterator[str]]] = {
        "Tests marked cuda": tests,
        "Contextual loss, forward and backward": losses,
        "Training step": training,
        "Upscaling": upscaling,
        "Waits of a training step": waits,
        "Where the time of a training step goes": profile,
    }
    for title, part in parts.items():
        lines += ["", f"## {title}", ""]
        if time.monotonic() - start > LIMIT_S:
            lines.append("Left out: the time was over.")
            continue
        try:
            lines += part(check)
        except (SrcxError, RuntimeError, ValueError, AssertionError, OSError) as error:
            failed.append(title)
            lines.append(f"**Failed**: {type(error).__name__}: {str(error).splitlines()[0][:300]}")
    return [*lines, "", f"All in {time.monotonic() - start:.0f} s."], failed


def tests(check: Check) -> Iterator[str]:
    """Run the tests that need a GPU."""
    if not check.tests or check.device.type != "cuda":
        yield "Left out: they need a GPU."
        return
    root = Path(__file__).resolve().parents[1]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "cuda",
        "-q",
        "-p",
        "no:cacheprovider",
        str(root / "tests"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=TESTS_S, check=False)
    yield from ("```", *done.stdout.splitlines()[-25:], "```")
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}")


def losses(check: Check) -> Iterator[str]:
    """Compare the contextual loss with the plain formula, and both with the plain formula in float64."""
    yield "| maps | side | ms | peak MiB | error of loss | error of gradient | the same twice |"
    yield "|---|---|---|---|---|---|---|"
    sides: dict[str, Loss] = {"plain": plain, "srcx": contextual_loss}
    if check.device.type == "cuda":
        sides["srcx, compiled"] = torch.compile(contextual_loss, fullgraph=True)
    for maps in check.maps:
        x, y = (z.detach().to(check.device) for z in maps.features())
        exact = (
            value_and_gradient(plain, x.double(), y.double()) if maps.with_plain and maps.side < 100 else None
        )
        for side, loss in sides.items():
            if side == "plain" and not maps.with_plain:
                continue
            taken_s, peak_mib = measured(partial(value_and_gradient, loss, x, y), check)
            value, gradient = value_and_gradient(loss, x, y)
            again = value_and_gradient(loss, x, y)
            same = torch.equal(value, again[0]) and torch.equal(gradient, again[1])
            errors = ["-", "-"]
            if exact is not None:
                errors[0] = f"{abs(value - exact[0]) / exact[0]:.1e}"
                errors[1] = f"{(gradient - exact[1]).norm() / exact[1].norm():.1e}"
            yield (
                f"| {maps.name} | {side} | {taken_s * 1e3:.2f} | {peak_mib} | {' | '.join(errors)} "
                f"| {'yes' if same else 'no'} |"
            )


def training(check: Check) -> Iterator[str]:
    """Time a training step of MSRResNet in each precision, and BasicSR's SRModel."""
    on_gpu = check.device.type == "cuda"
    options = {**OPTIONS, "num_gpu": int(on_gpu)}
    options["network_g"] = {**OPTIONS["network_g"], "num_block": check.num_block}
    batch_size = BATCH if check.tests else 1
    batch = {
        "lq": torch.rand(batch_size, 3, GT_PX // SCALE, GT_PX // SCALE),
        "gt": torch.rand(batch_size, 3, GT_PX, GT_PX),
    }
    yield from table_head(f"batch {batch_size}, GT {GT_PX}, {check.num_block} blocks", "loss")
    try:
        theirs = BasicSRModel(copy.deepcopy(options), num_gpu=int(on_gpu))
        taken_s, peak_mib = measured(partial(theirs.step, batch), check)
        theirs_s = taken_s
        loss = next(iter(theirs.step(batch).values()))
        yield f"| BasicSR, fp32 | {taken_s * 1e3:.1f} | 1 | {peak_mib} | {loss:.4f} |"
    except BasicSRError as error:
        theirs_s = math.nan
        yield f"| BasicSR: {error} | | | | |"
    ways: list[tuple[str, dict[str, object]]] = [(one, {"precision": one}) for one in precisions(check)]
    if check.device.type == "cuda":
        ways.append(("bf16, compiled", {"precision": "bf16", "compile": True}))
    for name, train in ways:
        step = our_model(options, **train).step
        taken_s, peak_mib = measured(partial(step, batch), check)
        (loss,) = step(batch).values()
        times = f"{taken_s * 1e3:.1f} | {theirs_s / taken_s:.2f}"
        yield f"| srcx, {name} | {times} | {peak_mib} | {loss:.4f} |"


def upscaling(check: Check) -> Iterator[str]:
    """Time the upscaling of an array by MSRResNet in each precision, and by BasicSR's network."""
    height, width = check.lq_px
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    torch.manual_seed(0)
    net = MSRResNet(num_block=check.num_block).eval()
    model = Model("fresh", SCALE, "MSRResNet", "0", net=net)
    exact = Upscaler(model, precision="fp32", device=check.device, backend="torch", tile=0)(image)
    sides: dict[str, Callable[[], ImageArray]] = {}
    yield from table_head(f"{width} x {height}, {check.num_block} blocks", "PSNR against fp32, dB")
    try:
        arch = open_basicsr("basicsr.archs.srresnet_arch").MSRResNet(num_block=check.num_block).eval()
        arch.load_state_dict(net.state_dict())
        sides["BasicSR, fp32"] = partial(by_basicsr, arch.to(check.device), image)
    except BasicSRError as error:
        yield f"| BasicSR: {error} | | | | |"
    for precision in precisions(check):
        up = Upscaler(model, precision=precision, device=check.device, backend="torch", tile=0)
        sides[f"srcx, {precision}"] = partial(up, image)
    theirs_s = math.nan
    for side, work in sides.items():
        taken_s, peak_mib = measured(work, check)
        theirs_s = taken_s if side.startswith("BasicSR") else theirs_s
        off = np.square(work().astype(float) - exact).mean()
        psnr_db = f"{10 * math.log10(255**2 / off):.1f}" if off else "equal"
        yield f"| {side} | {taken_s * 1e3:.1f} | {theirs_s / taken_s:.2f} | {peak_mib} | {psnr_db} |"


def waits(check: Check) -> Iterator[str]:
    """Count the places in which a step waits for the GPU: one, at its end, is what the loop is made for."""
    model, batches = model_and_batches(check)
    for _ in range(3):
        model.step(next(batches))
    batch = next(batches)
    if check.device.type != "cuda":
        yield "Left out: it needs a GPU."
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in said if "synchroniz" in str(one.message)]
    yield f"{len(places)} in a step: {', '.join(places)}"


def profile(check: Check) -> Iterator[str]:
    """Say where the time of a step goes, as `srcx train --profile` does."""
    model, batches = model_and_batches(check)
    with tempfile.TemporaryDirectory() as folder:
        measured_steps = profile_steps(model, batches, Path(folder) / "trace.json.gz", steps=check.runs)
    yield from ("```", *measured_steps.table().splitlines()[:-2], "```")


def model_and_batches(check: Check) -> tuple[SRModel, Iterator[Batch]]:
    """Return the training model in the fastest precision, and batches as training takes them."""
    on_gpu = check.device.type == "cuda"
    network = {**OPTIONS["network_g"], "num_block": check.num_block}
    model = our_model({**OPTIONS, "num_gpu": int(on_gpu), "network_g": network}, precision="auto")
    size, count = (GT_PX, BATCH) if check.tests else (32, 2)
    batch = {"lq": torch.rand(count, 3, size // SCALE, size // SCALE), "gt": torch.rand(count, 3, size, size)}
    if on_gpu:
        return model, copied_ahead(
            repeat({name: one.pin_memory() for name, one in batch.items()}), check.device
        )
    return model, repeat(batch)


@torch.inference_mode()
def by_basicsr(net: nn.Module, image: ImageArray) -> ImageArray:
    """Upscale an array as BasicSR's inference scripts do."""
    return to_image(net(to_tensor(image).to(next(net.parameters()).device)))


def precisions(check: Check) -> tuple[Literal["fp32", "bf16", "fp16"], ...]:
    """Return the number formats; a CPU trains in no fp16."""
    return ("fp32", "bf16", "fp16") if check.device.type == "cuda" else ("fp32", "bf16")


def table_head(what: str, last: str) -> Iterator[str]:
    """Yield the head of a table of times."""
    yield f"| {what} | ms | times faster | peak MiB | {last} |"
    yield "|---|---|---|---|---|"


def value_and_gradient(loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return a loss, and its gradient to x."""
    x = x.detach().requires_grad_()
    value = loss(x, y)
    return value.detach(), torch.autograd.grad(value, x)[0]


def measured(work: Callable[[], object], check: Check) -> tuple[float, str]:
    """Return the median seconds of a call, and by how much it raises the peak of a GPU's memory, in MiB."""
    on_gpu = check.device.type == "cuda"
    for _ in range(2):
        work()  # warm up
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times = []
    for _ in range(check.runs):
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if sum(times) > PART_S:
            break
    peak_mib = f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}" if on_gpu else "-"
    return statistics.median(times), peak_mib


if __name__ == "__main__":
    main()
