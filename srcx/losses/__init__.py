"""Losses: formulas as functions, and as modules called with (sr, gt) that return an unweighted scalar.

Importing them needs torch alone: a loss that needs more packages imports them when it is first used.
"""

from typing import TYPE_CHECKING

from srcx.lazy import lazily

if TYPE_CHECKING:
    from srcx.losses.aesop import AESOPLoss
    from srcx.losses.color import ColorLoss
    from srcx.losses.contextual import ContextualLoss, contextual_loss
    from srcx.losses.contextual_bilateral import ContextualBilateralLoss, contextual_bilateral_loss
    from srcx.losses.distributions import FDLLoss, SlicedWassersteinLoss, sliced_wasserstein
    from srcx.losses.dists import DISTSLoss
    from srcx.losses.feature_loss import FeatureLoss
    from srcx.losses.frequency import FocalFrequencyLoss, GridLoss, LowFrequencyLoss
    from srcx.losses.gan import GANLoss, MultiScaleGANLoss
    from srcx.losses.locally_discriminative import LDLLoss, artifact_map
    from srcx.losses.lpips import LPIPSLoss
    from srcx.losses.perceptual import GramLoss, PerceptualLoss, gram_matrix
    from srcx.losses.pixel import (
        CharbonnierLoss,
        L1Loss,
        MSELoss,
        TotalVariationLoss,
        charbonnier,
        total_variation,
    )
    from srcx.losses.ssim import MSSSIMLoss, SSIMLoss
    from srcx.losses.weighted_sum import WeightedSum

__all__ = [
    "AESOPLoss",
    "CharbonnierLoss",
    "ColorLoss",
    "ContextualBilateralLoss",
    "ContextualLoss",
    "DISTSLoss",
    "FDLLoss",
    "FeatureLoss",
    "FocalFrequencyLoss",
    "GANLoss",
    "GramLoss",
    "GridLoss",
    "L1Loss",
    "LDLLoss",
    "LPIPSLoss",
    "LowFrequencyLoss",
    "MSELoss",
    "MSSSIMLoss",
    "MultiScaleGANLoss",
    "PerceptualLoss",
    "SSIMLoss",
    "SlicedWassersteinLoss",
    "TotalVariationLoss",
    "WeightedSum",
    "artifact_map",
    "charbonnier",
    "contextual_bilateral_loss",
    "contextual_loss",
    "gram_matrix",
    "sliced_wasserstein",
    "total_variation",
]

_NAMES = {
    "aesop": ("AESOPLoss",),
    "color": ("ColorLoss",),
    "contextual": ("ContextualLoss", "contextual_loss"),
    "contextual_bilateral": ("ContextualBilateralLoss", "contextual_bilateral_loss"),
    "distributions": ("FDLLoss", "SlicedWassersteinLoss", "sliced_wasserstein"),
    "dists": ("DISTSLoss",),
    "feature_loss": ("FeatureLoss",),
    "frequency": ("FocalFrequencyLoss", "GridLoss", "LowFrequencyLoss"),
    "gan": ("GANLoss", "MultiScaleGANLoss"),
    "locally_discriminative": ("LDLLoss", "artifact_map"),
    "lpips": ("LPIPSLoss",),
    "perceptual": ("GramLoss", "PerceptualLoss", "gram_matrix"),
    "pixel": ("CharbonnierLoss", "L1Loss", "MSELoss", "TotalVariationLoss", "charbonnier", "total_variation"),
    "ssim": ("MSSSIMLoss", "SSIMLoss"),
    "weighted_sum": ("WeightedSum",),
}
__getattr__, __dir__ = lazily(
    __name__, {name: f"srcx.losses.{module}" for module, names in _NAMES.items() for name in names}
)
