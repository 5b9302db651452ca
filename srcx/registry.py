"""Every part that an option file can name as `type:`, with one sentence each, and the check of its arguments.

To add a part, write its file and then its line here. Its sentence is the first line of its docstring.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
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
from srcx.archs.community import PREFIX
from srcx.config.problems import in_words
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
from srcx.metrics import dists, lpips, ma, niqe, perceptual_index, psnr, rmse, ssim
from srcx.metrics.metric import MetricFunction
from srcx.nearest import LIKE_AN_OPTION, nearest
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
    "argument_problems",
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

GIVEN_BY_SRCX = {"gt", "params", "sr"}
"""Arguments that no option file gives: images of metrics, weights of optimizers."""
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def sentence(part: Callable[..., Any]) -> str:
    """Return the first line of the part's docstring; for parts of PyTorch and spandrel, their own name.

    Example:
        >>> sentence(perceptual_index)
        'Return ((10 - Ma) + NIQE) / 2.'
    """
    if part.__module__.startswith("torch."):
        return f"PyTorch's `torch.optim.{part.__name__}`."
    if part.__module__.startswith(PREFIX):
        return f"The {part.__name__} of spandrel."
    return (inspect.getdoc(part) or "").partition("\n")[0]


def known_arguments(part: Callable[..., Any], *, eval_str: bool = False) -> dict[str, inspect.Parameter]:
    """Return the arguments that an option file can give, without those only a `**kwargs` would take.

    Nor can a file give a class or a function, as networks take for their kind of normalisation.

    Args:
        part: A class or function.
        eval_str: Whether annotations that are text are evaluated, as `inspect.signature` does.
    """
    return {
        name: parameter
        for name, parameter in inspect.signature(part, eval_str=eval_str).parameters.items()
        if parameter.kind in NAMED
        and name not in GIVEN_BY_SRCX
        and (parameter.default is inspect.Parameter.empty or not callable(parameter.default))
    }


def argument_problems(
    part: Callable[..., Any], args: Mapping[str, object], *, check_values: bool
) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with `args` as keyword arguments of `part`, without making the part.

    Arguments that only a `**kwargs` would take count as unknown: misspelt ones go there.

    Args:
        part: A class or function.
        args: Arguments by name, with values as YAML gives them.
        check_values: Whether the values must fit the part's annotations, where it has some.

    Yields:
        The argument's name, or None where it is missing, and what is wrong.

    Example:
        >>> def blur(sr, *, sigma: float, size: int = 21): ...
        >>> list(argument_problems(blur, {"sigm": 3}, check_values=True))
        [('sigm', "unknown argument; did you mean 'sigma'?"), (None, "blur needs the argument 'sigma'")]
        >>> list(argument_problems(blur, {"sigma": 3, "size": "21"}, check_values=True))
        [('size', "expected a whole number, got '21'")]
    """
    known = known_arguments(part, eval_str=check_values)
    for name, value in args.items():
        if name not in known:
            near = nearest(name, known, least=LIKE_AN_OPTION)
            takes = f"takes {', '.join(known)}" if known else "takes no arguments"
            meant = f"did you mean '{near}'?" if near else f"{part.__name__} {takes}"
            yield name, f"unknown argument; {meant}"
        elif check_values and known[name].annotation is not inspect.Parameter.empty:
            adapter = TypeAdapter(known[name].annotation, config=ConfigDict(arbitrary_types_allowed=True))
            try:
                adapter.validate_json(json.dumps(value), strict=True)  # as JSON, a list is a tuple too
            except ValidationError as error:
                yield name, in_words(error.errors(include_url=False)[0], value)
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in args:
            yield None, f"{part.__name__} needs the argument '{name}'"
