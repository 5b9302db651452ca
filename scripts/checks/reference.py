"""Compare every figure of the developers' reference folder with ours; exit 1 if one is out of tolerance.

The folder (see its NOTES.md) holds figures that the authors' MATLAB code gave under GNU Octave. For LPIPS,
AlexNet's weights must be available ($SRCX_WEIGHTS, or `srcx weights fetch alexnet`).

    python scripts/checks/reference.py ../shared
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from srcx.errors import WeightsError
from srcx.imaging.color import rgb_to_grey
from srcx.imaging.io import read_image
from srcx.imaging.resize import imresize
from srcx.metrics import lpips, ma_features, niqe, psnr, rmse, rmse_of_set, ssim
from srcx.metrics.ma_model import read_mat

ImageArray = NDArray[np.uint8]

LPIPS_OF_EXAMPLES = {"ex_p0": 0.7219, "ex_p1": 0.1376}
"""Where the authors' NIQE moves by less than this with the order of its sums, ours must be as near."""


class Check(NamedTuple):
    """One figure: `excess` is the difference over the tolerance, so up to 1 is right."""

    group: str
    what: str
    difference: float
    tolerance: float

    @property
    def excess(self) -> float:
        return self.difference / self.tolerance


class Reference:
    """The folder of figures, and the images they were measured on."""

    def __init__(self, shared: Path) -> None:
        self.folder, self.data = shared / "reference", shared / "data"
        files = json.loads((self.data / "MANIFEST.json").read_text())["files"]
        self._file_of = {one.get("path"): self.data / one["file"] for one in files}

    def hr(self, name: str, index: int) -> ImageArray:
        """The ground truth, by its number in SelfExSR."""
        return self._read(self._file_of[f"data/{name}/image_SRF_4/img_{index:03d}_SRF_4_HR.png"])

    def bicubic(self, name: str, index: int) -> ImageArray:
        """The stored x4 image that was measured, or ours (equal to it) where none is stored."""
        stored = self.folder / "bicubic" / name / f"img_{index:03d}.png"
        return self._read(stored) if stored.is_file() else self.our_bicubic(name, index)

    def our_bicubic(self, name: str, index: int) -> ImageArray:
        """The x4 image of our own imresize."""
        lr = self._read(self._file_of[f"data/{name}/image_SRF_4/img_{index:03d}_SRF_4_LR.png"])
        return imresize(lr, scale=4).astype(np.uint8)

    @staticmethod
    def _read(path: Path) -> ImageArray:
        return read_image(path).astype(np.uint8)


def as_rgb(image: ImageArray) -> ImageArray:
    """Repeat a grey image in three channels."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def check_distortion_and_niqe(reference: Reference) -> Iterator[Check]:
    """PSNR, SSIM, RMSE and NIQE of each image, and the sets' means."""
    stored = json.loads((reference.folder / "metrics.json").read_text())
    means: dict[str, list[tuple[float, float]]] = {}
    for one in stored["images"]:
        name, index = one["set"], one["idx"]
        hr, sr = reference.hr(name, index), reference.bicubic(name, index)
        ours = float(np.abs(reference.our_bicubic(name, index).astype(int) - sr).max())
        where = f"{name} {index:03d} {one['variant']}"
        yield Check("bicubic x4 (grey levels)", where, ours, 0.5)
        if one["variant"] == "gray_as_rgb":
            hr, sr = as_rgb(hr), as_rgb(sr)
        yield Check("PSNR (dB)", where, abs(psnr(sr, hr) - one["PSNR_Y"]), 0.0005)
        yield Check("SSIM", where, abs(ssim(sr, hr) - one["SSIM_Y"]), 1e-6)
        yield Check("RMSE", where, abs(rmse(sr, hr) - one["RMSE"]), 1e-4)
        if one["variant"] != "gray_as_Y":
            means.setdefault(name, []).append((psnr(sr, hr), rmse(sr, hr)))
        for kind, image in (("HR", hr), ("bicubic", sr)):
            yield check_niqe(
                f"{where} {kind}", niqe(image), one[f"NIQE_{kind}"], one.get(f"NIQE_{kind}_roundoff")
            )
    for name, values in means.items():
        summary = stored["summary"][name]
        decibels = abs(float(np.mean([value for value, _ in values])) - summary["PSNR_Y"])
        yield Check("PSNR of a set (dB)", name, decibels, 0.0005)
        levels = abs(rmse_of_set(value for _, value in values) - summary["RMSE_pirm_sqrt_of_mean_MSE"])
        yield Check("RMSE of a set", name, levels, 1e-4)


def check_niqe(where: str, ours: float, theirs: float, round_off: dict[str, Any] | None) -> Check:
    """Compare with Octave's figure, or in images with flat areas with its variant without round-off."""
    if round_off is None or round_off["flat_fraction"] == 0:
        return Check("NIQE", where, abs(ours - theirs), 1e-8)
    return Check("NIQE (round-off in flat areas zero)", where, abs(ours - round_off["C_flat_zeroed"]), 1e-8)


def check_ma_features(reference: Reference) -> Iterator[Check]:
    """The largest relative difference in each group of features of each available image."""
    stored = np.load(reference.folder / "features.npz", allow_pickle=False)
    for row, key in enumerate(stored["keys"]):
        convention, name = str(key).split("__")
        if name.count("_") != 2:
            continue  # "peppers", MATLAB's own image, is not available
        set_name, index, kind = name.split("_")
        image = (reference.hr if kind == "HR" else reference.bicubic)(set_name, int(index))
        if convention == "pirm":
            ours = ma_features(as_rgb(image))
        else:
            ours = ma_features(rgb_to_grey(image), crop_px=0)
        for group, values, table in zip(("DCT", "GSM", "PCA"), ours, ("F1", "F2", "F3"), strict=True):
            relative = float(np.max(np.abs(values / stored[table][row] - 1)))
            yield Check(f"Ma's features, {group} (relative)", str(key), relative, 1e-6)


def check_forests(reference: Reference) -> Iterator[Check]:
    """The toy forests, read from both layouts of the struct."""
    folder = reference.folder / "toy_forest"
    stored = np.load(folder / "model_and_predictions.npz", allow_pickle=False)
    features = np.load(reference.folder / "features.npz", allow_pickle=False)
    for file in sorted(folder.glob("*.mat")):
        model = read_mat(file)
        samples = stored["X1"], stored["X2"], stored["X3"]
        for k, forest in enumerate(model.forests):
            difference = float(np.abs(forest.predict(samples[k]) - stored["P"][:, k]).max())
            yield Check("toy forest", f"{file.name}: forest {k + 1}", difference, 1e-12)
        score = float(np.abs(model.score(samples) - stored["P"][:, 3]).max())
        yield Check("toy forest", f"{file.name}: scores of random samples", score, 1e-12)
        score = float(
            np.abs(model.score((features["F1"], features["F2"], features["F3"])) - stored["s"][:, 3]).max()
        )
        yield Check("toy forest", f"{file.name}: scores of the images", score, 1e-12)


def check_lpips(reference: Reference) -> Iterator[Check]:
    """The LPIPS authors' example pairs, to the four digits known of them."""
    folder = reference.data / "lpips_examples"
    gt = read_image(folder / "ex_ref.png")
    for name, expected in LPIPS_OF_EXAMPLES.items():
        ours = lpips(read_image(folder / f"{name}.png"), gt)
        yield Check("LPIPS (alex)", name, abs(ours - expected), 6e-5)


def table_of(checks: list[Check]) -> Table:
    """One row for each group: how many figures, and the worst of them."""
    table = Table("figure", "number", "largest difference", "tolerance", "worst at", "")
    for group in dict.fromkeys(one.group for one in checks):
        members = [one for one in checks if one.group == group]
        worst = max(members, key=lambda one: one.excess)
        verdict = "ok" if worst.excess <= 1 else "OUT OF TOLERANCE"
        table.add_row(
            group, str(len(members)), f"{worst.difference:.1e}", f"{worst.tolerance:.1e}", worst.what, verdict
        )
    return table


def main() -> int:
    """Run all comparisons and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shared", type=Path, help="the developers' folder with data/ and reference/")
    reference = Reference(parser.parse_args().shared)
    checks: list[Check] = []
    missing = 0
    for check in (check_distortion_and_niqe, check_ma_features, check_forests, check_lpips):
        try:
            checks += check(reference)
        except WeightsError as error:
            print(f"{check.__name__}: not done: {error}", file=sys.stderr)
            missing += 1
    Console(width=140).print(table_of(checks))
    return int(missing > 0 or any(not one.excess <= 1 for one in checks))


if __name__ == "__main__":
    sys.exit(main())
