"""Figures others have printed, for comparison; never ours."""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedRow"]


@dataclass(frozen=True)
class PublishedRow:
    """A method's printed figures for one set."""

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
"""BSD100 x4 in PIRM's setup; "contextual" is Mechrez et al., ACCV 2018, arXiv:1803.04626.

PSNR and PI as a public README prints them; NIQE read off its figure (within 0.02); Ma = 10 + NIQE - 2 PI.
"""
