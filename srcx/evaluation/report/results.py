"""Results of a benchmark and their files: results.json with everything, results.csv for a spreadsheet.

Published figures to compare with stand at the end.
"""

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srcx.atomic import atomic_path
from srcx.config.values import FORMULA_SIGNS

__all__ = [
    "PUBLISHED",
    "ImageResult",
    "MeanResult",
    "ModelInfo",
    "PublishedRow",
    "Results",
    "SetInfo",
    "set_label",
    "write_csv",
    "write_json",
]


def set_label(name: str, degradation: str, scale: int) -> str:
    """Return a set's heading.

    Example:
        >>> set_label("BSD100", "web", 4)
        'BSD100 web x4'
    """
    return " ".join(word for word in (name, degradation, f"x{scale}") if word)


@dataclass(frozen=True)
class ModelInfo:
    """A model that was run."""

    name: str
    architecture: str
    scale: int
    parameters: int
    """Of all its networks: the model "auto" has one for clean and one for damaged images."""
    sha256: str
    precision: str
    """Number format of its networks, "fp32 or bf16, by image" where it differs; "integers" without any."""


@dataclass(frozen=True)
class SetInfo:
    """A set at one scale, and the origin of its low-resolution images."""

    name: str
    scale: int
    images: int
    lq: str
    degradation: str = ""
    """Name of the degradation that made the low-resolution images, if one did."""

    @property
    def label(self) -> str:
        return set_label(self.name, self.degradation, self.scale)


@dataclass(frozen=True)
class ImageResult:
    """One model's image; a metric that is None has a reason."""

    model: str
    set: str
    scale: int
    image: str
    metrics: dict[str, float | None]
    reasons: dict[str, str]
    sr: str
    """File of the upscaled image, relative to the results."""
    gt: str | None
    lq: str
    """Empty if it had to be made from a ground truth that cannot be read; then there is no result either."""
    sr_sha256: str
    gt_sha256: str | None
    lq_sha256: str
    degradation: str = ""

    @property
    def label(self) -> str:
        return set_label(self.set, self.degradation, self.scale)


@dataclass(frozen=True)
class MeanResult:
    """One model's figures for a set."""

    model: str
    set: str
    scale: int
    metrics: dict[str, float | None]
    reasons: dict[str, str]
    degradation: str = ""

    @property
    def label(self) -> str:
        return set_label(self.set, self.degradation, self.scale)


@dataclass(frozen=True)
class Results:
    """All results of a benchmark."""

    made_at: str
    versions: dict[str, str]
    protocol: dict[str, Any]
    metrics: dict[str, str]
    """Name -> "higher" or "lower", the better direction."""
    models: list[ModelInfo]
    sets: list[SetInfo]
    means: list[MeanResult]
    images: list[ImageResult] = field(default_factory=list)
    degradations: dict[str, Any] = field(default_factory=dict)
    """Name -> its options in full, defaults included."""
    seed: int | None = None
    """Seed of the degradations; None where there are none."""
    every: int = 1
    """Of each set, the first image and then every `every`-th was taken."""
    without_gt: bool = False
    """Whether the images have no ground truth."""

    def missing(self) -> list[str]:
        """Return a sentence for each reason why a value is missing, with the places where it is missing.

        Example:
            >>> mean = MeanResult("bicubic", "Set5", 4, {"ma": None}, {"ma": "its weights are not here"})
            >>> Results("", {}, {}, {"ma": "higher"}, [], [], [mean]).missing()
            ['ma of bicubic on Set5 x4: its weights are not here']
        """
        places: dict[tuple[str, str], list[str]] = {}
        for mean in self.means:
            for name, reason in mean.reasons.items():
                places.setdefault((name, reason), []).append(f"{mean.model} on {mean.label}")
        return [f"{name} of {', '.join(where)}: {reason}" for (name, reason), where in places.items()]


def write_json(path: Path, results: Results) -> None:
    """Write everything; None is null, and its reason is in `reasons`.

    Raises:
        OutputError: the place cannot be written.
    """
    text = json.dumps(dataclasses.asdict(results), indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        # In JSON this escape is the name itself, where a name is not UTF-8.
        temporary.write_text(f"{text}\n", "utf-8", "backslashreplace")


def write_csv(path: Path, results: Results) -> None:
    """Write a line for each image and one, named "mean", for each set; a missing value is empty.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.

    Raises:
        OutputError: the place cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "set", "degradation", "scale", "image", *results.metrics])
    rows: list[ImageResult | MeanResult] = [*results.images, *results.means]
    for row in rows:
        image = row.image if isinstance(row, ImageResult) else "mean"
        names = [_no_formula(name) for name in (row.model, row.set, row.degradation)]
        figures = [row.metrics[name] for name in results.metrics]
        writer.writerow([*names, row.scale, _no_formula(image), *figures])
    with atomic_path(path) as temporary:
        temporary.write_text(buffer.getvalue(), "utf-8", "backslashreplace")


def _no_formula(name: str) -> str:
    return f"'{name}" if name.startswith((*FORMULA_SIGNS, "\t", "\r")) else name


@dataclass(frozen=True)
class PublishedRow:
    """A method's published figures for one set."""

    method: str
    set: str
    scale: int
    metrics: dict[str, float]


def _bsd100(method: str, psnr: float, perceptual_index: float, niqe: float, ma: float) -> PublishedRow:
    metrics = {"psnr": psnr, "perceptual_index": perceptual_index, "niqe": niqe, "ma": ma}
    return PublishedRow(method, "BSD100", 4, metrics)


PUBLISHED = (
    _bsd100("bicubic", 25.957, 6.995, 7.71, 3.72),
    _bsd100("SRResNet-MSE", 27.601, 5.217, 6.24, 5.80),
    _bsd100("SRGAN-MSE", 25.981, 2.802, 4.03, 8.43),
    _bsd100("SRGAN-VGG22", 25.697, 2.631, 3.74, 8.48),
    _bsd100("SRGAN-VGG54", 25.176, 2.351, 3.40, 8.70),
    _bsd100("contextual", 24.581, 2.250, 3.30, 8.80),
)
"""BSD100 x4 by PIRM's protocol; "contextual" is Mechrez et al., ACCV 2018, arXiv:1803.04626.

PSNR and PI as a public README prints them; NIQE read off its figure (within 0.02); Ma = 10 + NIQE - 2 PI.
"""
