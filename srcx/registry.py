"""Every part that an option file can name as `type:`, with one sentence each, and its arguments.

To add a part, write its file and then its line here. Its sentence is the first line of its docstring.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn, optim

from srcx.archs import (
    FeatureDiscriminator,
    MSRResNet,
    PatchDiscriminator,
    SRGANDiscriminator,
    SRResNet,
    SRVGGNetCompact,
    UNetDiscriminatorSN,
    VGGStyleDiscriminator,
)
from srcx.config.arguments import for_option_files
from srcx.config.part_options import SPANDREL
from srcx.data import (
    HighResolutionDataset,
    NonAlignedPairDataset,
    PairDataset,
    PairedImageDataset,
    SingleImageDataset,
)
from srcx.losses.aesop import AESOPLoss
from srcx.losses.color import ColorLoss
from srcx.losses.contextual import ContextualLoss
from srcx.losses.contextual_bilateral import ContextualBilateralLoss
from srcx.losses.distributions import FDLLoss, SlicedWassersteinLoss
from srcx.losses.dists import DISTSLoss
from srcx.losses.frequency import FFTLoss, FocalFrequencyLoss, GridLoss, LowFrequencyLoss
from srcx.losses.gan import GANLoss, MultiScaleGANLoss
from srcx.losses.locally_discriminative import LDLLoss
from srcx.losses.lpips import LPIPSLoss
from srcx.losses.perceptual import GramLoss, PerceptualLoss
from srcx.losses.pixel import CharbonnierLoss, L1Loss, MSELoss, PSNRLoss, TotalVariationLoss
from srcx.losses.ssim import MSSSIMLoss, SSIMLoss
from srcx.metrics.dists import dists
from srcx.metrics.lpips import lpips
from srcx.metrics.ma import ma
from srcx.metrics.metric import MetricFunction
from srcx.metrics.niqe import niqe
from srcx.metrics.perceptual_index import perceptual_index
from srcx.metrics.psnr import psnr, rmse
from srcx.metrics.ssim import ssim
from srcx.optim.muon import Muon
from srcx.optim.schedules import Schedule, cosine_annealing_restart, multi_step

__all__ = [
    "DATASETS",
    "LOSSES",
    "METRICS",
    "NETWORKS",
    "OPTIMIZERS",
    "PARTS",
    "SCHEDULES",
    "known_arguments",
    "sentence",
]


DATASETS: Mapping[str, type[PairDataset | SingleImageDataset]] = {
    "HighResolutionDataset": HighResolutionDataset,
    "NonAlignedPairDataset": NonAlignedPairDataset,
    "PairedImageDataset": PairedImageDataset,
    "SingleImageDataset": SingleImageDataset,
}

NETWORKS: Mapping[str, type[nn.Module]] = {
    "FeatureDiscriminator": FeatureDiscriminator,
    "MSRResNet": MSRResNet,
    "PatchDiscriminator": PatchDiscriminator,
    "SRGANDiscriminator": SRGANDiscriminator,
    "SRResNet": SRResNet,
    "SRVGGNetCompact": SRVGGNetCompact,
    "UNetDiscriminatorSN": UNetDiscriminatorSN,
    "VGGStyleDiscriminator": VGGStyleDiscriminator,
}

LOSSES: Mapping[str, type[nn.Module]] = {
    "AESOPLoss": AESOPLoss,
    "CharbonnierLoss": CharbonnierLoss,
    "ColorLoss": ColorLoss,
    "ContextualBilateralLoss": ContextualBilateralLoss,
    "ContextualLoss": ContextualLoss,
    "DISTSLoss": DISTSLoss,
    "FDLLoss": FDLLoss,
    "FFTLoss": FFTLoss,
    "FocalFrequencyLoss": FocalFrequencyLoss,
    "GANLoss": GANLoss,
    "GramLoss": GramLoss,
    "GridLoss": GridLoss,
    "L1Loss": L1Loss,
    "LDLLoss": LDLLoss,
    "LPIPSLoss": LPIPSLoss,
    "LowFrequencyLoss": LowFrequencyLoss,
    "MSELoss": MSELoss,
    "MSSSIMLoss": MSSSIMLoss,
    "MultiScaleGANLoss": MultiScaleGANLoss,
    "PSNRLoss": PSNRLoss,
    "PerceptualLoss": PerceptualLoss,
    "SSIMLoss": SSIMLoss,
    "SlicedWassersteinLoss": SlicedWassersteinLoss,
    "TotalVariationLoss": TotalVariationLoss,
}

METRICS: Mapping[str, MetricFunction] = {
    "dists": dists,
    "lpips": lpips,
    "ma": ma,
    "niqe": niqe,
    "perceptual_index": perceptual_index,
    "psnr": psnr,
    "rmse": rmse,
    "ssim": ssim,
}

OPTIMIZERS: Mapping[str, type[optim.Optimizer]] = {
    "ASGD": optim.ASGD,
    "Adadelta": optim.Adadelta,
    "Adagrad": optim.Adagrad,
    "Adam": optim.Adam,
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
    "Muon": Muon,
    "NAdam": optim.NAdam,
    "RAdam": optim.RAdam,
    "RMSprop": optim.RMSprop,
    "Rprop": optim.Rprop,
    "SGD": optim.SGD,
}

SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "CosineAnnealingRestartLR": cosine_annealing_restart,
    "MultiStepLR": multi_step,
    "MultiStepRestartLR": multi_step,
}

PARTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "network": NETWORKS,
    "loss": LOSSES,
    "metric": METRICS,
    "dataset": DATASETS,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULES,
}
"""Kind of part -> name -> part."""


def sentence(part: Callable[..., Any]) -> str:
    """Return the first line of the part's docstring; for parts of PyTorch and spandrel, their own name.

    Example:
        >>> sentence(perceptual_index)
        'Return ((10 - Ma) + NIQE) / 2.'
    """
    if part.__module__.startswith("torch."):
        return f"PyTorch's `torch.optim.{part.__name__}`."
    if part.__module__.startswith(SPANDREL):
        return f"The {part.__name__} of spandrel."
    return (inspect.getdoc(part) or "").partition("\n")[0]


def known_arguments(part: Callable[..., Any], *, eval_str: bool = False) -> dict[str, inspect.Parameter]:
    """Return the arguments that an option file can give.

    Args:
        part: A class or function.
        eval_str: Whether annotations that are text are evaluated, as `inspect.signature` does.
    """
    return for_option_files(inspect.signature(part, eval_str=eval_str))
