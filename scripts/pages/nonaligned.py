r"""Train on by every loss with pairs that do not line up, and write the page of the outcome.

A run starts from a network that L1 trained on aligned pairs, and trains on by one loss alone. Every run takes
the same processor time of one core: a loss's step is timed first, and a cheaper loss gets more steps. Cases
and losses are on the page. Finished runs stay in experiments/nonaligned and are not repeated, so a stopped
command continues; all runs of one seed come before those of the next. Most cases need photographs; "warp"
and "real" need real pairs too, which these commands make of two folders of the same names:

    srcx data align SHORT LONG --scale 1 --write datasets/nonaligned/real
    srcx data align SHORT_HELD_OUT LONG_HELD_OUT --scale 1 --write datasets/nonaligned/real_held_out

The crops on the page are of scikit-image's pictures.

    python scripts/pages/nonaligned.py
    python scripts/pages/nonaligned.py --case "offset 8" warp --loss l1 cx fdl --seeds 1
    python scripts/pages/nonaligned.py --no-train
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch
from _nonaligned_page import Figures, changes, cost_table, figure_tables, losses_of
from _nonaligned_pairs import (
    BATCH,
    CASES,
    GT_PX,
    Data,
    Folders,
    batches,
    gradient_energy,
    noisy_pair,
    offset,
    picture,
)
from _page import Bytes, command_block, side_by_side, write_markdown
from torch import Tensor, nn

from srcx.archs import SRVGGNetCompact
from srcx.atomic import atomic_path, make_folder
from srcx.errors import SrcxError
from srcx.hardware import keep_freed_memory
from srcx.imaging import imresize, read_image, rgb_to_grey, to_image, to_tensor, write_image
from srcx.inference import find_model
from srcx.losses import (
    AESOPLoss,
    ContextualBilateralLoss,
    ContextualLoss,
    FDLLoss,
    L1Loss,
    PerceptualLoss,
    SlicedWassersteinLoss,
)
from srcx.losses.weighted_sum import jittered
from srcx.metrics import dists, lpips, psnr
from srcx.prepare.shifts import register, smooth
from srcx.weights.checkpoint import load_state

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "l1": L1Loss,
    "perceptual": partial(PerceptualLoss, {"conv3_3": 1.0}, "vgg16", criterion="l2"),
    "cx": partial(ContextualLoss, {"conv3_3": 1.0}, "vgg16"),
    "cx-sym": partial(ContextualLoss, {"conv3_3": 1.0}, "vgg16", symmetric=True),
    "cobi": partial(ContextualBilateralLoss, "features", {"conv3_3": 1.0}, "vgg16"),
    "fdl": partial(
        FDLLoss,
        dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), 1.0),
        "vgg16",
        stride=2,
        directions=64,
    ),
    "swd": partial(SlicedWassersteinLoss, vgg_type="vgg16"),
    "aesop": partial(AESOPLoss, "fast-x4"),
}
LR = 2e-4
JITTER_PX = 4
"""The stride of conv3_3."""
START_STEPS = 300
"""By L1, of the small network of the cases without a scale."""
BORDER_PX = 12
"""Left out of the PSNR after alignment, as a moved image has nothing there."""
WARM_UP, TIMED = 2, 5
"""Steps."""
SHOWN = ("offset 0", "offset 8", "warp", "denoise")

SETUP = (
    "Every run starts from a network that L1 trained on aligned pairs, and trains on by one loss alone, with "
    "nothing else in the objective. The network is `fast-x4`; where lq has the size of gt, it is a small "
    f"one, trained by {START_STEPS} steps of L1 beforehand. All runs of a case have the same crops in the "
    f"same order, {BATCH} of {GT_PX} pixels a step, and Adam with a rate of {LR:g} that falls to 0. All "
    "figures are of held-out crops. For PSNR, the result is first registered to the ground truth, and "
    f"{BORDER_PX} pixels at the border are left out. The runs are short: they show how each loss changes a "
    "network, not where a long training ends."
)
LOSSES_IN_WORDS = (
    "`perceptual` is the mean square of the difference of VGG16's conv3_3; `cx` and `cobi` are the "
    "contextual and the contextual bilateral loss of the same layer; `cx-sym` is the contextual loss with "
    "the similarity of both directions; `fdl` is the frequency distribution loss of five layers "
    "(arXiv:2402.18192); `swd` the local sliced Wasserstein distance of three "
    "(arXiv:2405.02171); `aesop` is L1 of auto-encoded images (arXiv:2412.00124), with `fast-x4` as the "
    "decoder. FDL and the sliced Wasserstein distance have VGG16 here, their authors use VGG19. FDL has 64 "
    "of its 256 directions and every second patch: all of them would leave it a few steps."
)
COSTS_IN_WORDS = (
    "A step is one at x4 and includes the network. The time is the least of several steps, in processor time "
    "of one core; other programs on that core can change it a little. The memory is the peak "
    "beyond the network, the loss and the batch. A case with lq of gt's size has another network, and so "
    "another number of steps."
)
FIGURES_IN_WORDS = (
    "The mean of the seeds; ± their standard deviation where there are several. Bold is the best mean of a "
    "case. A dash: this run is not finished. The start is the network before the runs."
)


@dataclass(frozen=True)
class Cost:
    """Of one step on one core."""

    step_s: float
    memory_mib: float
    """Peak beyond the network, the loss and the batch."""


@dataclass(frozen=True)
class Run:
    """One training: a case by a loss with a seed."""

    case: str
    loss: str
    seed: int

    def path(self, root: Path, suffix: str) -> Path:
        return root / f"{self.case.replace(' ', '_')}-{self.loss}-{self.seed}{suffix}"


def network(scale: int) -> nn.Module:
    """Return the network of a scale: `fast-x4`, which L1 trained, or a small one with random weights."""
    if scale == 1:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return SRVGGNetCompact(num_feat=32, num_conv=6, upscale=1)
    net = find_model(f"fast-x{scale}").net
    assert net is not None
    return net.requires_grad_(True)


def start(case: str, data: Data, root: Path) -> nn.Module:
    """Return the network that a case's runs start from."""
    net = network(data.scale)
    if data.scale == 1:
        cached = root / f"start_{case}.pth"
        if not cached.exists():
            train(net, L1Loss(), batches(data, partial(offset, most=0), seed=0), START_STEPS, rate=5 * LR)
            with atomic_path(cached) as temporary:
                torch.save(net.state_dict(), temporary)
        net.load_state_dict(load_state(cached))
    return net


def train(
    net: nn.Module, loss: nn.Module, crops: Iterator[tuple[Tensor, Tensor]], steps: int, *, rate: float = LR
) -> None:
    """Train by Adam, whose steps do not depend on a loss's weight; the rate falls to 0."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        lq, gt = next(crops)
        optimizer.zero_grad()
        loss(*jittered(net(lq), gt, jitter_px=JITTER_PX)).backward()
        optimizer.step()
        schedule.step()


def measure(loss: str, scale: int) -> Cost:
    """Time steps of a loss, and measure their memory; best in a process of its own."""
    torch.set_num_threads(1)
    keep_freed_memory()
    net, criterion = network(scale), LOSSES[loss]()
    lq, gt = torch.rand(BATCH, 3, GT_PX // scale, GT_PX // scale), torch.rand(BATCH, 3, GT_PX, GT_PX)
    times: list[float] = []

    def timed() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            times.append(time.process_time())
            yield lq, gt

    train(net, L1Loss(), repeat((lq[..., :8, :8], gt[..., : 8 * scale, : 8 * scale])), 1)  # loads libraries
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # VmHWM counts from here on
    before = _resident("VmRSS")
    train(net, criterion, timed(), WARM_UP + TIMED + 1)
    # The least of some: whatever else runs on the machine only adds.
    return Cost(float(min(np.diff(times)[WARM_UP:])), (_resident("VmHWM") - before) / 2**20)


def costs(losses: Iterable[str], scales: Iterable[int], root: Path) -> dict[str, Cost]:
    """Return the costs of losses by "loss xscale"; a file stores them, so that runs have equal steps."""
    cached = root / "costs.json"
    known = json.loads(cached.read_text("utf-8")) if cached.exists() else {}
    for loss in losses:
        for scale in scales:
            if f"{loss} x{scale}" not in known:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                    known[f"{loss} x{scale}"] = vars(alone.submit(measure, loss, scale).result())
                _write_json(cached, known)
    return {name: Cost(**values) for name, values in known.items()}


def run(one: Run, folders: Folders, steps: int, root: Path) -> None:
    """Train and evaluate; write the figures, and of the first seed also the crop for the page."""
    case = CASES[one.case]
    data = case.data(folders)
    net = start(one.case, data, root)
    torch.manual_seed(one.seed)  # of the jitter and of a loss's random directions
    began_s = time.process_time()
    train(net, LOSSES[one.loss](), batches(data, case.motion(folders), one.seed + 1), steps)
    time_s = time.process_time() - began_s
    if one.seed == 0 and one.case in SHOWN:
        write_image(one.path(root, ".png"), shown_crop(one.case, net))
    _write_json(one.path(root, ".json"), {"steps": steps, "time_s": time_s} | evaluate(net, data))


def evaluate(net: nn.Module, data: Data) -> Figures:
    """Return the mean figures of a network's output on the held-out crops."""
    sr = [upscale(net, lq) for lq, _ in data.held_out]
    gt = [gt for _, gt in data.held_out]
    tensors = [torch.cat([to_tensor(one) for one in side]) for side in (sr, gt)]
    return {
        "lpips": float(lpips(*tensors).mean()),
        "dists": float(dists(*tensors).mean()),
        "energy": fmean(map(gradient_energy, sr)) / fmean(map(gradient_energy, gt)),
        "psnr": fmean(
            float(psnr(aligned(*pair), pair[1], crop_px=BORDER_PX)) for pair in zip(sr, gt, strict=True)
        ),
    }


def upscale(net: nn.Module, lq: Bytes) -> Bytes:
    """Return the network's output for an image."""
    with torch.no_grad():
        return np.asarray(to_image(net(to_tensor(lq))), np.uint8)


def aligned(sr: Bytes, gt: Bytes) -> Bytes:
    """Return sr moved, by a fraction of a pixel too, to where it lies on gt best."""
    still, moved = (smooth(rgb_to_grey(one).astype(np.float32)) for one in (gt, sr))
    _, matrix = register(still, moved, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    lying = cv2.warpAffine(sr, matrix, sr.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(lying, np.uint8)


def shown_pair(case: str) -> tuple[Bytes, Bytes]:
    """Return lq and ground truth of the image that a case shows on the page."""
    if case == "denoise":
        return noisy_pair()
    gt = picture("coffee")
    return np.asarray(imresize(gt, scale=0.25), np.uint8), gt


def place_of(case: str) -> tuple[slice, slice]:
    """Return the place of the crop that a case shows on the page."""
    top, left = (64, 176) if case == "denoise" else (96, 248)
    return np.s_[top : top + 128, left : left + 128]


def shown_crop(case: str, net: nn.Module) -> Bytes:
    """Return the crop that a case shows on the page, of a network's output."""
    return upscale(net, shown_pair(case)[0])[place_of(case)]


def finished(runs: Sequence[Run], root: Path) -> dict[tuple[str, str], list[Figures]]:
    """Return the figures of the runs that are there, by case and loss."""
    results: dict[tuple[str, str], list[Figures]] = {}
    for one in runs:
        if one.path(root, ".json").exists():
            figures = json.loads(one.path(root, ".json").read_text("utf-8"))
            results.setdefault((one.case, one.loss), []).append(figures)
    order = {(case, loss): None for case in CASES for loss in LOSSES}
    return {key: results[key] for key in order if key in results}


def write_page(
    results: Mapping[tuple[str, str], Sequence[Figures]],
    *,
    folders: Folders,
    root: Path,
    out: Path,
    head: Sequence[str],
) -> None:
    """Write OUT/nonaligned.md, which begins with `head`, and its images in OUT/nonaligned/."""
    cases, losses = list(dict.fromkeys(case for case, _ in results)), losses_of(results)
    known = costs(losses, (4,), root)
    nets = {case: start(case, CASES[case].data(folders), root) for case in cases}
    starts = {case: evaluate(nets[case], CASES[case].data(folders)) for case in cases}
    parts = [*head, "", SETUP, "", LOSSES_IN_WORDS, "", "The cases:", ""]
    parts += [f"- {case}: {CASES[case].words}." for case in cases]
    parts += ["", "## Costs", "", *cost_table(results, {loss: vars(known[f"{loss} x4"]) for loss in losses})]
    parts += ["", COSTS_IN_WORDS, "", "## Figures", "", FIGURES_IN_WORDS, "", *figure_tables(results, starts)]
    if said := list(changes(results, of="offset 0", to="offset 8")):
        parts += ["From aligned pairs to offsets of up to 8 pixels:", "", *said, ""]
    parts += ["## Crops", ""]
    folder = make_folder(out / "nonaligned")
    for case in (case for case in SHOWN if case in nets):
        files = {loss: Run(case, loss, 0).path(root, ".png") for loss in losses}
        crops = {
            loss: np.asarray(read_image(file), np.uint8) for loss, file in files.items() if file.exists()
        }
        gt = shown_pair(case)[1][place_of(case)]
        image = folder / f"{case.replace(' ', '_')}.webp"
        write_image(image, side_by_side([gt, shown_crop(case, nets[case]), *crops.values()]))
        parts += [f"{case}; ground truth, the start, {', '.join(crops)}:", ""]
        parts += [f"![{case}]({folder.name}/{image.name})", ""]
    write_markdown(out / "nonaligned.md", parts)


def _resident(what: str) -> int:
    """Return VmRSS, what the process has now, or VmHWM, the most it had, in bytes; Linux alone has them."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def _write_json(path: Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), "utf-8")


def main() -> None:
    """Read the command line, train what is not finished, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--loss", nargs="+", choices=tuple(LOSSES), default=tuple(LOSSES))
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds (2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="processor time of a run (10)")
    parser.add_argument("--photographs", type=Path, default=Path("datasets/free"))
    parser.add_argument("--held-out", type=Path, default=Path("datasets/validation_free"))
    parser.add_argument(
        "--pairs", type=Path, default=Path("datasets/nonaligned"), help="folder of real pairs"
    )
    parser.add_argument("--no-train", action="store_true", help="write the page of the finished runs")
    parser.add_argument(
        "--root", type=Path, default=Path("experiments/nonaligned"), help="folder of the runs"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    folders = Folders(args.photographs, args.held_out, args.pairs / "real", args.pairs / "real_held_out")
    root = make_folder(args.root / f"{args.seconds:g}s")  # other seconds are other runs
    runs = [Run(case, loss, seed) for seed in range(args.seeds) for case in args.case for loss in args.loss]
    try:
        for number, one in enumerate(runs if not args.no_train else [], start=1):
            if not one.path(root, ".json").exists():
                print(f"{number} of {len(runs)}: {one}", file=sys.stderr, flush=True)
                scale = CASES[one.case].data(folders).scale
                cost = costs([one.loss], [scale], root)[f"{one.loss} x{scale}"]
                run(one, folders, max(round(args.seconds / cost.step_s), 1), root)
        results = finished(runs, root)
        if not results:
            sys.exit(f"{root}: none of these runs is finished; leave --no-train out to train them")
        head = [
            "# Learning from pairs that are not aligned",
            "",
            "The command below writes this page and computes every figure in it. It trains the runs first; "
            "with --no-train, it uses the runs that are there.",
            "",
            *command_block(" ".join(["python", *sys.argv]), not_run="needs the runs, which take an hour"),
            "",
            f"Each run takes {args.seconds:g} seconds of one core, so a cheaper loss has more steps. "
            f"{sum(map(len, results.values()))} of {len(runs)} runs are finished; seeds: {args.seeds}.",
        ]
        write_page(results, folders=folders, root=root, out=args.out, head=head)
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
