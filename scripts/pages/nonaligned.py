r"""Train every loss on pairs that are off by up to 0, 2, 4 and 8 pixels, and write the page of the outcome.

Without --experiment, it runs two experiments. One is x4 super-resolution with lq of a crop and gt of a
moved crop (options/nonaligned/sr_*.yml, evaluated on Set14). The other is Figure 6 of the contextual loss's
paper: one noisy image and clean crops moved at random (options/nonaligned/denoise_*.yml, evaluated on that
image). --experiment real takes real pairs (options/nonaligned/real_*.yml, which say how to make the pairs;
evaluated on pairs that are not trained on). All runs of an experiment start from the same weights and take
about the same time: the option files give cheaper losses more steps. Finished runs stay in
experiments/nonaligned and are not repeated. A stopped run continues with the same command. The images on
the page are scikit-image's. Real pairs may not be published, so the page shows none of them.

    python scripts/pages/nonaligned.py
    python scripts/pages/nonaligned.py --experiment sr --loss l1 cx cobi --offset 0 4
    python scripts/pages/nonaligned.py --no-train
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from _page import Bytes, command_block, side_by_side, write_markdown
from skimage import data

from srcx.atomic import atomic_path, make_folder
from srcx.cli import main as srcx
from srcx.errors import SrcxError
from srcx.imaging import ImageArray, imresize, list_images, read_image, rgb_to_grey, write_image
from srcx.imaging.color import rgb_to_y
from srcx.inference.load import load_model
from srcx.metrics import lpips, niqe, psnr
from srcx.prepare.shifts import register, smooth

LOSSES = ("l1", "l2", "perceptual", "cx", "cobi")
OFFSETS = (0, 2, 4, 8)
SET14 = Path("datasets/benchmark/Set14")
NOISY = Path("datasets/nonaligned")
NOISE_SIGMA = 25.0
"""Of 255."""
BORDER_PX = 12
"""Not looked at for the PSNR after alignment, as a moved image has nothing there."""
CROP_PX = 128
CROPS = {"sr": (96, 248), "denoise": (64, 176)}
"""Top and left in scikit-image's coffee (shrunk and upscaled) and astronaut (noisy)."""
TITLES = {
    "sr": "Super-resolution x4",
    "denoise": "Denoising, Figure 6 of arXiv:1803.02077",
    "real": "Real pairs, as they came out of `srcx data align`",
}
SYNTHETIC = ("sr", "denoise")
HELD_OUT = Path("datasets/nonaligned/real_held_out")
FIGURES = ("lpips", "niqe", "gradient energy", "psnr aligned")

SHOWN = {"sr": "coffee", "denoise": "astronaut"}
"""Images of scikit-image whose crops are on the page."""

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Case:
    """One run: an experiment by one loss with offsets up to so many pixels."""

    experiment: str
    loss: str
    offset: int

    @property
    def name(self) -> str:
        return f"{self.experiment}_{self.loss}_offset{self.offset}"

    def model(self, root: Path) -> Path:
        """Where its weights are once it is trained."""
        return root / self.name / "models/net_g_latest.pth"

    @property
    def options(self) -> Path:
        return Path(f"options/nonaligned/{self.experiment}_{self.loss}.yml")


def train(case: Case, root: Path, iters: int | None) -> Path:
    """The case's model; it is trained if it is not there yet, from where an earlier call was stopped."""
    model = case.model(root)
    if not model.exists():
        changes = [
            f"name={case.name}",
            f"datasets:train:max_offset={case.offset}",
            f"path:experiments_root={root}",
        ]
        if iters is not None:
            changes += [f"train:total_iter={iters}", f"val:val_freq={iters}"]
        if code := srcx(["train", "-opt", str(case.options), "--auto_resume", "--force_yml", *changes]):
            sys.exit(code)
    return model


def evaluate(case: Case, model: Path) -> Figures:
    """Return the mean figures of the case's images; a file beside the model stores them."""
    cached = model.parent.parent / "figures.json"
    if not cached.exists():
        net = load_model(model, precision="fp32")
        means = _means([figures(_bytes(net(lq)), gt) for lq, gt in images(case.experiment)])
        with atomic_path(cached) as temporary:
            temporary.write_text(json.dumps(means, indent=1), "utf-8")
    found: Figures = json.loads(cached.read_text("utf-8"))
    return found


def figures_of_lq(experiment: str) -> Figures:
    """Mean figures of the experiment's lq images themselves, brought to the size of gt by bicubic."""
    return _means(
        [
            figures(lq if lq.shape == gt.shape else _bytes(imresize(lq, scale=4.0)), gt)
            for lq, gt in images(experiment)
        ]
    )


def images(experiment: str) -> Iterator[tuple[Bytes, Bytes]]:
    """Return the evaluated pairs: lq and ground truth."""
    if experiment == "denoise":
        name = f"{SHOWN['denoise']}.png"
        yield _read(NOISY / "noisy" / name), _read(NOISY / "clean" / name)
        return
    if experiment == "real":
        for path in list_images(HELD_OUT / "gt"):
            yield _read(HELD_OUT / "lq" / path.name), _read(path)
        return
    for path in list_images(SET14 / "HR"):
        yield _read(SET14 / f"LR_bicubic/X4/{path.stem}x4.png"), _read(path)


def figures(sr: Bytes, gt: Bytes) -> Figures:
    """LPIPS, NIQE, the energy of the gradients in parts of gt's, and the PSNR once sr lies on gt."""
    return {
        "lpips": float(lpips(sr, gt)),
        "niqe": float(niqe(sr)),
        "gradient energy": gradient_energy(sr) / gradient_energy(gt),
        "psnr aligned": float(psnr(aligned(sr, gt), gt, crop_px=BORDER_PX)),
    }


def gradient_energy(image: Bytes) -> float:
    """Mean squared difference of neighbours in Y."""
    y = rgb_to_y(image).astype(np.float64)
    return float((np.diff(y, axis=0) ** 2).mean() + (np.diff(y, axis=1) ** 2).mean())


def aligned(sr: Bytes, gt: Bytes) -> Bytes:
    """The image sr moved, by a fraction of a pixel too, to where it lies on gt best."""
    still, moved = (smooth(rgb_to_grey(one).astype(np.float32)) for one in (gt, sr))
    _, warp = register(still, moved, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    lying = cv2.warpAffine(sr, warp, sr.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(lying, np.uint8)


def _read(path: Path) -> Bytes:
    return _bytes(read_image(path))


def _bytes(image: ImageArray) -> Bytes:
    assert image.dtype == np.uint8
    return image.astype(np.uint8, copy=False)


def make_noisy() -> None:
    """The clean image and the noisy one, once."""
    clean = getattr(data, SHOWN["denoise"])()
    noise = np.random.default_rng(0).normal(0, NOISE_SIGMA, clean.shape)
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    for kind, image in {"clean": clean, "noisy": noisy}.items():
        path = make_folder(NOISY / kind) / f"{SHOWN['denoise']}.png"
        if not path.exists():
            write_image(path, image)


def strip(experiment: str, models: Sequence[Path]) -> Bytes:
    """A square of lq (as large as gt), of gt, and of what each model makes of it, side by side."""
    if experiment == "denoise":
        lq, gt = next(images(experiment))
        shown = lq
    else:
        gt = getattr(data, SHOWN["sr"])()
        lq = imresize(gt, scale=0.25)
        shown = imresize(lq, scale=4.0)
    top, left = CROPS[experiment]
    square = np.s_[top : top + CROP_PX, left : left + CROP_PX]
    crops = [
        one[square]
        for one in (shown, gt, *(_bytes(load_model(model, precision="fp32")(lq)) for model in models))
    ]
    return side_by_side(crops)


def page(
    results: dict[Case, Figures],
    of_lq: dict[str, Figures],
    strips: dict[tuple[str, int], str],
    command: str,
) -> list[str]:
    """Return the lines of the page in Markdown."""
    parts = [
        "# Learning from pairs that are not aligned",
        "",
        "The command below writes this page and computes every figure in it. It trains the runs first; with "
        "--no-train, it uses the runs that are there.",
        "",
        *command_block(command, not_run="trains for hours"),
        "",
        "All losses of an experiment start from the same weights and train for about the same time; the "
        "option files are in `options/nonaligned`. The crop of the target is moved down and right by random "
        "whole pixels, up to the offset in the table. LPIPS uses AlexNet. Gradient energy is that of Y, "
        "divided by that of the ground truth. For PSNR, the result is first registered to the ground truth, "
        f"and {BORDER_PX} pixels at the border are left out. Bold: the best of an offset.",
        "",
    ]
    for experiment in dict.fromkeys(case.experiment for case in results):
        parts += [f"## {TITLES[experiment]}", "", *_table(experiment, results, of_lq[experiment]), ""]
        parts += [*_verdicts(experiment, results), ""]
        for (of, offset), file in strips.items():
            if of == experiment:
                losses = [case.loss for case in results if (case.experiment, case.offset) == (of, offset)]
                shown = ", ".join(("lq", "ground truth", *losses))
                parts += [f"Offsets up to {offset}; {shown}:", "", f"![offset {offset}]({file})", ""]
    return parts


def _table(experiment: str, results: dict[Case, Figures], of_lq: Figures) -> Iterator[str]:
    yield f"| offset | loss | {' | '.join(FIGURES)} |"
    yield "|---" * (2 + len(FIGURES)) + "|"
    yield f"| - | (lq itself) | {' | '.join(_cell(name, of_lq[name], []) for name in FIGURES)} |"
    for case, row in results.items():
        if case.experiment == experiment:
            beside = [
                other
                for it, other in results.items()
                if (it.experiment, it.offset) == (experiment, case.offset)
            ]
            cells = (_cell(name, row[name], [other[name] for other in beside]) for name in FIGURES)
            yield f"| {case.offset} | {case.loss} | {' | '.join(cells)} |"


def _cell(name: str, value: float | None, others: Sequence[float | None]) -> str:
    """Return the text of a figure, bold if it is the best of all compared ones."""
    if value is None:
        return "-"
    text = f"{value:.2f}" if name in ("niqe", "psnr aligned") else f"{value:.3f}"
    known = [one for one in others if one is not None]
    best = {"lpips": min, "niqe": min, "psnr aligned": max}.get(name)
    return f"**{text}**" if best and known and value == best(known) else text


def _verdicts(experiment: str, results: dict[Case, Figures]) -> Iterator[str]:
    """LPIPS of the contextual losses against L1's with the same offsets, and against their own without."""
    for case, row in results.items():
        if case.experiment == experiment and case.loss in ("cx", "cobi") and case.offset:
            l1, without = Case(experiment, "l1", case.offset), Case(experiment, case.loss, 0)
            said = [
                f"{_change(row['lpips'], results[other]['lpips'])} against {words}"
                for other, words in ((l1, "L1 with the same offsets"), (without, "its own without offsets"))
                if other in results
            ]
            if said:
                yield f"- {case.loss}, offsets up to {case.offset}: LPIPS {' and '.join(said)}."


def _change(value: float | None, of: float | None) -> str:
    return f"{100 * (value / of - 1):+.1f} %" if value and of else "unknown"


def _means(figures: Sequence[Figures]) -> Figures:
    return {name: _mean([one[name] for one in figures]) for name in FIGURES}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known else None


def run(cases: Sequence[Case], root: Path, iters: int | None, out: Path, command: str) -> None:
    """Train, evaluate and write the page OUT/nonaligned.md with its images in OUT/nonaligned/.

    Raises:
        SrcxError: of the kind that fits.
    """
    if any(case.experiment == "denoise" for case in cases):
        make_noisy()
    models, results = {}, {}
    for number, case in enumerate(cases, start=1):
        print(f"{number} of {len(cases)}: {case.name}", file=sys.stderr, flush=True)
        models[case] = train(case, root, iters)
        results[case] = evaluate(case, models[case])
    strips = {}
    folder = make_folder(out / "nonaligned")
    shown = dict.fromkeys((case.experiment, case.offset) for case in cases if case.experiment in SYNTHETIC)
    for experiment, offset in shown:
        beside = [models[case] for case in cases if (case.experiment, case.offset) == (experiment, offset)]
        file = f"{experiment}_offset{offset}.webp"
        write_image(folder / file, strip(experiment, beside))
        strips[experiment, offset] = f"nonaligned/{file}"
    of_lq = {name: figures_of_lq(name) for name in dict.fromkeys(case.experiment for case in cases)}
    write_markdown(out / "nonaligned.md", page(results, of_lq, strips, command))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", nargs="+", choices=tuple(TITLES), default=SYNTHETIC)
    parser.add_argument("--loss", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument(
        "--offset", nargs="+", type=int, default=OFFSETS, help="largest offsets, in gt pixels"
    )
    parser.add_argument("--iters", type=int, help="steps of every run instead of its option file's")
    parser.add_argument(
        "--no-train", action="store_true", help="the page of the runs that are finished already"
    )
    parser.add_argument(
        "--root", type=Path, default=Path("experiments/nonaligned"), help="folder of the runs"
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    cases = [
        Case(experiment, loss, offset)
        for experiment in args.experiment
        for offset in (args.offset if experiment in SYNTHETIC else (0,))
        for loss in args.loss
    ]
    if args.no_train:
        cases = [case for case in cases if case.model(args.root).exists()]
        if not cases:
            sys.exit(f"{args.root}: none of these runs is finished; leave --no-train out to train them")
    try:
        run(cases, args.root, args.iters, args.out, " ".join(["python", *sys.argv]))
    except SrcxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
