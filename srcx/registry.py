"""Names to parts, in the open: what an option file may write as `type:`.

To add a part, write its file and then its line here.
"""

from collections.abc import Callable, Mapping

from torch import nn, optim

from srcx.archs import (
    FeatureDiscriminator,
    MSRResNet,
    PatchDiscriminator,
    SRGANDiscriminator,
    SRResNet,
    UNetDiscriminatorSN,
    VGGStyleDiscriminator,
)
from srcx.data import (
    HighResolutionDataset,
    NonAlignedPairDataset,
    PairDataset,
    PairedImageDataset,
    SingleImageDataset,
)
from srcx.losses.contextual import ContextualLoss
from srcx.losses.contextual_bilateral import ContextualBilateralLoss
from srcx.losses.gan import GANLoss, MultiScaleGANLoss
from srcx.losses.gram import GramLoss
from srcx.losses.grid import GridLoss
from srcx.losses.locally_discriminative import LDLLoss
from srcx.losses.low_frequency import LowFrequencyLoss
from srcx.losses.lpips import LPIPSLoss
from srcx.losses.perceptual import PerceptualLoss
from srcx.losses.pixel import CharbonnierLoss, L1Loss, MSELoss
from srcx.losses.ssim import SSIMLoss
from srcx.losses.total_variation import TotalVariationLoss
from srcx.metrics import dists, lpips, ma, niqe, perceptual_index, psnr, rmse, ssim
from srcx.metrics.metric import MetricFunction
from srcx.optim.muon import Muon
from srcx.optim.schedules import Schedule, cosine_annealing_restart, multi_step

__all__ = ["DATASETS", "LOSSES", "METRICS", "NETWORKS", "OPTIMIZERS", "SCHEDULES"]


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
    "UNetDiscriminatorSN": UNetDiscriminatorSN,
    "VGGStyleDiscriminator": VGGStyleDiscriminator,
}

LOSSES: Mapping[str, type[nn.Module]] = {
    "CharbonnierLoss": CharbonnierLoss,
    "ContextualBilateralLoss": ContextualBilateralLoss,
    "ContextualLoss": ContextualLoss,
    "GANLoss": GANLoss,
    "GramLoss": GramLoss,
    "GridLoss": GridLoss,
    "L1Loss": L1Loss,
    "LDLLoss": LDLLoss,
    "LPIPSLoss": LPIPSLoss,
    "LowFrequencyLoss": LowFrequencyLoss,
    "MSELoss": MSELoss,
    "MultiScaleGANLoss": MultiScaleGANLoss,
    "PerceptualLoss": PerceptualLoss,
    "SSIMLoss": SSIMLoss,
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
