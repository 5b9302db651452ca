"""The description of a degradation: how a low-quality image (lq) is made from the ground truth (gt).

The stages are those of Real-ESRGAN (arXiv:2107.10833): passes of blur, resize, noise and compression, then a
last resize to the size of lq, a sinc filter and a last compression. Each stage has a probability.
`srcx.data.degradation` applies it; `srcx/config/degradations/` has the descriptions with a name.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from srcx.config.values import Count, Defaulted, Number, Section, Tuple, sentence, wrong

__all__ = [
    "ROUNDING",
    "Blur",
    "Compression",
    "DegradationOptions",
    "FactorRange",
    "Filters",
    "Final",
    "Kernels",
    "Noise",
    "Pass",
    "PositiveRange",
    "QualityRange",
    "Resize",
    "ScaleRange",
    "Share",
    "SigmaRange",
]

ROUNDING = 0.015
"""Shares may miss a sum of 1 by this much: people write 0.33 for a third."""
LARGEST_KERNEL_PX = 255
"""Twelve times Real-ESRGAN's largest; a mistyped size would otherwise end in an error of memory."""


def _rising(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) != 2 or value[0] > value[1]:
        raise wrong("a range [low, high] with low at most high")
    return value


def _within(low: float, high: float = math.inf) -> AfterValidator:
    def check(value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] < low or value[1] > high:
            upper = "on" if high == math.inf else f"to {high:g}"
            raise wrong(f"a range [low, high] from {low:g} {upper}")
        return value

    return AfterValidator(check)


def _odd(value: tuple[int, ...]) -> tuple[int, ...]:
    sizes = range(3, LARGEST_KERNEL_PX + 1, 2)
    if len(value) != 2 or value[0] > value[1] or any(size not in sizes for size in value):
        raise wrong(f"a range [low, high] of odd kernel sizes from 3 to {LARGEST_KERNEL_PX}")
    return value


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A probability, 0 to 1."""
Range = Annotated[Tuple[Number], AfterValidator(_rising)]
"""[low, high]; a value is drawn evenly between them."""
PositiveRange = Annotated[Range, _within(0.01)]
"""Of standard deviations of kernels in pixels, and of their exponents."""
FactorRange = Annotated[Range, _within(0.05, 8)]
"""Of factors of an image's sides."""
SigmaRange = Annotated[Range, _within(0, 255)]
"""Of standard deviations of noise in levels of 255."""
ScaleRange = Annotated[Range, _within(0)]
"""Of factors of Poisson noise."""
QualityRange = Annotated[Range, _within(1, 100)]
"""Of an encoder's quality."""
KernelSizes = Annotated[Tuple[Count], AfterValidator(_odd)]
"""[low, high], odd, from 3 to 255; every odd size between them is as likely."""


class _Shares(Section):
    """Probabilities of the kinds of one thing, of which one is drawn; they add up to 1, or nearly so."""

    @model_validator(mode="after")
    def _add_up(self) -> "_Shares":
        total = sum(self.as_dict().values())
        if abs(total - 1) > ROUNDING:
            raise sentence(f"the shares add up to {total:g}, not to 1")
        return self

    def as_dict(self) -> dict[str, float]:
        """Each kind with its share, in the order of the fields."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class Kernels(_Shares):
    """Shares of the blur kernels."""

    iso: Share = 0.0
    """Gaussian, the same in all directions."""
    aniso: Share = 0.0
    """Gaussian, longer in one direction."""
    generalized_iso: Share = 0.0
    """exp(-r^2beta / 2): flatter or more pointed than a Gaussian."""
    generalized_aniso: Share = 0.0
    """The same, longer in one direction."""
    plateau_iso: Share = 0.0
    """1 / (1 + r^2beta): a flat top, like a lens out of focus."""
    plateau_aniso: Share = 0.0
    """The same, longer in one direction."""
    sinc: Share = 0.0
    """A circular low-pass filter: overshoot and ringing."""


class Filters(_Shares):
    """Shares of the resize filters."""

    area: Share = 0.0
    """Means over the area of each new pixel."""
    bilinear: Share = 0.0
    """Bilinear, not antialiased."""
    bicubic: Share = 0.0
    """Bicubic, not antialiased."""
    bicubic_antialiased: Share = 0.0
    """MATLAB's bicubic, of which the clean benchmark sets are made."""


class Blur(Section):
    """A blur by one kernel."""

    prob: Share = 1.0
    """Probability of this stage."""
    kernels: Kernels = Kernels.model_construct(iso=1.0)
    """The kernel."""
    size_px: KernelSizes = (7, 21)
    """Side of the kernel."""
    sigma: PositiveRange = (0.2, 3.0)
    """Standard deviation in pixels; anisotropic kernels draw one for each axis."""
    beta_generalized: PositiveRange = (0.5, 4.0)
    """Exponent of the generalised kernels; 1 is a Gaussian."""
    beta_plateau: PositiveRange = (1.0, 2.0)
    """Exponent of the plateau kernels."""


class Resize(Section):
    """A change of size; the end of the degradation brings the image to the size of lq."""

    of: Literal["gt", "lq"] = "gt"
    """The size that `factor` multiplies."""
    up_prob: Share = 0.2
    """Probability that the image gets larger, by a factor from 1 to the upper end of `factor`."""
    down_prob: Share = 0.7
    """Probability that the image gets smaller, by a factor from the lower end of `factor` to 1."""
    factor: FactorRange = (0.15, 1.5)
    """The smallest and the largest factor."""
    filters: Filters = Filters.model_construct(area=0.34, bilinear=0.33, bicubic=0.33)
    """The filter."""

    @model_validator(mode="after")
    def _possible(self) -> "Resize":
        total = self.up_prob + self.down_prob
        if total > 1 + ROUNDING:
            raise sentence(f"up_prob and down_prob add up to {total:g}, more than 1")
        if (self.up_prob and self.factor[1] < 1) or (self.down_prob and self.factor[0] > 1):
            raise sentence("factor must be a range from at most 1 to at least 1")
        return self


class Noise(Section):
    """Gaussian or Poisson noise."""

    prob: Share = 1.0
    """Probability of this stage."""
    gaussian_prob: Share = 0.5
    """Share of Gaussian noise; the rest is Poisson's."""
    sigma: SigmaRange = (1.0, 30.0)
    """Gaussian: standard deviation in levels of 255."""
    poisson_scale: ScaleRange = (0.05, 3.0)
    """Poisson: factor of the noise of a sensor that counts as many photons as there are levels."""
    grey_prob: Share = 0.4
    """Share of noise that is the same in all channels."""


class Compression(Section):
    """JPEG or WebP, really encoded and decoded."""

    prob: Share = 1.0
    """Probability of this stage."""
    quality: QualityRange = (30.0, 95.0)
    """The encoder's quality, rounded to a whole number."""
    webp_prob: Share = 0.0
    """Share of WebP; the rest is JPEG."""
    subsampling_prob: Share = 0.5
    """JPEG: share with colour at half the resolution (4:2:0); the rest has all of it (4:4:4)."""
    twice_prob: Share = 0.0
    """JPEG: share saved twice, and cropped between so that the two 8 x 8 grids differ."""


class Pass(Section):
    """One pass of blur, resize, noise and compression, in this order; a stage given as null is left out."""

    prob: Share = 1.0
    """Probability of the whole pass."""
    blur: Blur | None = None
    """Blur."""
    resize: Resize | None = None
    """Change of size."""
    noise: Noise | None = None
    """Noise."""
    compression: Compression | None = None
    """Compression."""


class Final(Section):
    """The last stages of every degradation: the size of lq, a sinc filter, a compression."""

    filters: Filters = Filters.model_construct(bicubic_antialiased=1.0)
    """Filter of the resize to the size of lq, where the image has another size."""
    sinc_prob: Share = 0.0
    """Probability of a sinc filter."""
    sinc_size_px: KernelSizes = (7, 21)
    """Side of its kernel."""
    compression: Compression | None = None
    """The last compression."""
    compression_first_prob: Share = 0.5
    """Share in which the compression comes before resize and sinc filter."""


class DegradationOptions(Section):
    """A degradation: the stages that make lq from gt."""

    clean_prob: Share = 0.0
    """Share of images that only MATLAB's bicubic makes smaller, so that clean images stay sharp."""
    sharpen_gt: bool = False
    """Make lq from gt sharpened by an unsharp mask (`srcx.data.degradation.sharpen`)."""
    passes: Tuple[Pass] = ()
    """The passes, one after the other."""
    final: Defaulted[Final] = Final.model_construct()
    """The end."""
