"""The sets of a benchmark, and the lq images of each: stored, made by MATLAB's bicubic, or damaged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import srcx
from srcx.benchmarks.layout import BenchmarkSet, ImagePair, find_sets, image_folder
from srcx.config import DegradationOptions, load_degradation
from srcx.counted import counted
from srcx.data.degradation import degrade, seeded
from srcx.errors import DataError, ImageError, UsageError
from srcx.imaging import Border, ImageArray, image_size, imresize, rgb_to_grey, to_rgb

__all__ = ["BICUBIC_LQ", "LQ_BORDER", "Degradation", "Source", "find_sources", "load_degradations", "make_lq"]

BICUBIC_LQ = (
    "made from the ground truth by MATLAB's bicubic imresize with repeated borders, as the published ones"
)
LQ_BORDER: Border = "replicate"
"""As in the old MATLAB that made the published sets; with today's mirrored borders Set14 has 0.003 dB less"""


@dataclass(frozen=True)
class Degradation:
    """A degradation with the name and the seed it has in a benchmark."""

    name: str
    options: DegradationOptions
    seed: int

    def rng(self, image: str) -> np.random.Generator:
        """Return the generator of an image's random choices, the same as that of `srcx data degrade`."""
        return seeded(self.seed, self.options, image)

    def made_of(self) -> str:
        """Return the part of the cache key that determines the damage, except for the image."""
        return f"{self.name} {self.options.model_dump_json()} seed {self.seed} srcx {srcx.__version__}"


@dataclass(frozen=True)
class Source:
    """A set at one scale, and the degradation that makes its lq images, if there is one."""

    set: BenchmarkSet
    degradation: Degradation | None = None

    @property
    def name(self) -> str:
        return self.set.name

    @property
    def scale(self) -> int:
        return self.set.scale

    @property
    def pairs(self) -> tuple[ImagePair, ...]:
        return self.set.pairs

    @property
    def damage(self) -> str:
        """Return the degradation's name, or an empty string."""
        return self.degradation.name if self.degradation else ""

    @property
    def folder(self) -> str:
        """Return the folder of this set's results, relative to a model's folder."""
        return f"{self.name}/{self.damage}" if self.damage else self.name

    @property
    def lq(self) -> str:
        """Describe the origin of the lq images in a few words."""
        if self.degradation:
            return f"made from the ground truth by degradation {self.damage}, seed {self.degradation.seed}"
        if any(pair.gt is None for pair in self.pairs):
            return f"the images of {self.set.lq_folder} themselves"
        return f"stored in {self.set.lq_folder}" if self.set.lq_folder else BICUBIC_LQ


def load_degradations(names: Sequence[str], seed: int) -> list[Degradation]:
    """Load degradations by the names of presets or by files; a file is named by its stem.

    Raises:
        OptionsError: there is no such degradation, or its file is wrong.
        UsageError: two have one name.

    Example:
        >>> [one.name for one in load_degradations(["web"], seed=0)]
        ['web']
    """
    found: dict[str, Degradation] = {}
    for given in dict.fromkeys(names):
        name = Path(given).stem
        if name in found:
            raise UsageError(f"{given}: there is already a degradation of the name '{name}'; rename the file")
        found[name] = Degradation(name, load_degradation(given), seed)
    return list(found.values())


def find_sources(
    data: Path,
    names: Sequence[str] | None,
    degradations: Sequence[Degradation],
    *,
    scale: int,
    every: int,
    without_gt: bool,
) -> list[Source]:
    """Return the sets to test at one scale, each once for every degradation, or once with its own lq images.

    Args:
        data: Folder of sets, or, `without_gt`, of images.
        names: Sets to take; None takes all there are.
        degradations: What makes the lq images; none takes those that are stored, or bicubic ones.
        scale: The scale.
        every: Of each set's images, take the first and then every `every`-th.
        without_gt: `data` is a folder of images without ground truth.

    Raises:
        DataError: sets or images are missing or do not fit together.
    """
    sets = [image_folder(data, scale=scale)] if without_gt else find_sets(data, names, scale=scale)
    sets = [replace(one, pairs=one.pairs[::every]) for one in sets]
    if not degradations:
        for one in sets:
            _check_sizes(one)
        return [Source(one) for one in sets]
    clean = [  # without their stored lq images
        replace(one, pairs=tuple(replace(pair, lq=None) for pair in one.pairs), lq_folder=None)
        for one in sets
    ]
    return [Source(one, degradation) for one in clean for degradation in degradations]


def _check_sizes(one: BenchmarkSet) -> None:
    wrong = []
    for pair in one.pairs:
        if pair.lq is None or pair.gt is None:
            continue
        try:
            (lq_height, lq_width), (height, width) = image_size(pair.lq), image_size(pair.gt)
        except ImageError:
            continue  # its scores are None, with the reason
        if (width // one.scale, height // one.scale) != (lq_width, lq_height):
            wrong.append(f"{pair.name} ({lq_width} x {lq_height} for {width} x {height})")
    if wrong:
        raise DataError(
            f"{one.lq_folder}: {counted(len(wrong))} not 1/{one.scale} the size of the ground truth: "
            f"{', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}; are they of another scale?"
        )


def make_lq(gt: ImageArray, name: str, source: Source) -> ImageArray:
    """Make the lq image of a ground truth, by the set's degradation or by MATLAB's bicubic.

    Args:
        gt: Cut to a multiple of the scale first; grey stays grey.
        name: The image's name, from which its random choices come.
        source: The set it belongs to.

    Raises:
        ImageError: a side is shorter than one lq pixel, or longer than a compression holds.
    """
    scale, degradation = source.scale, source.degradation
    height, width = (side // scale * scale for side in gt.shape[:2])
    if not height or not width:
        raise ImageError(
            f"{name}: has a side of less than {scale} pixels, so nothing is left after the crop to a multiple"
        )
    gt = gt[:height, :width]
    if degradation is None:
        return imresize(gt, scale=1 / scale, border=LQ_BORDER)
    lq = degrade(to_rgb(gt), degradation.options, scale=scale, rng=degradation.rng(name), name=name)
    return rgb_to_grey(lq) if gt.ndim == 2 else lq
