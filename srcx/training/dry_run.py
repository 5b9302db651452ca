"""One forward and backward pass on zeros, so that options that do not fit are found before a run begins."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from srcx.config import Options
from srcx.errors import OptionsError
from srcx.hardware import NO_VIEW
from srcx.losses.gan import Logits, scales
from srcx.losses.jitter import jittered
from srcx.losses.weighted_sum import WeightedSum
from srcx.training.model import SRModel

__all__ = ["channels", "try_once"]

T = TypeVar("T")

IMAGES = 2
"""Batch norm needs two."""


def channels(options: Options) -> int:
    """Return the number of channels of training images."""
    assert options.datasets.train is not None
    return 1 if options.datasets.train.color == "y" else 3


def try_once(model: SRModel, options: Options) -> None:
    """Run copies of the networks, and every loss, on a small batch of zeros; nothing of `model` changes.

    Raises:
        OptionsError: a network or a loss cannot take what the options give it; names the option and its line.
    """
    assert options.train is not None
    assert options.datasets.train is not None
    device, size = model.accelerator.device, options.datasets.train.gt_size
    count = min(IMAGES, options.datasets.train.batch_size_per_gpu)
    lq, gt = (
        torch.zeros(count, channels(options), side, side, device=device).to(memory_format=model.memory_format)
        for side in (size // options.scale, size)
    )
    nets = {name: copy.deepcopy(net) for name, net in model.bare_nets.items()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), model.accelerator.autocast():
        sr = _attempt(options, "network_g", lq, lambda: nets["net_g"](lq).float())
        _check_output(options, nets["net_g"], sr, gt)
        total, others = sr.new_zeros(()), {"lq": lq, "gt_sharp": gt, "sr_ema": sr.detach()}
        for name in model.losses.losses:
            option = name if name in options.train.losses else name.removesuffix("_style")
            one = _only(model.losses, name)
            term = _attempt(options, f"train.{option}_opt", sr, partial(_total, one, sr, gt, others))
            if term.dim():
                shape = tuple(term.shape)
                raise _problem(options, f"train.{option}_opt", f"gives {shape} values, and a loss gives one")
            total = total + term
        if "net_d" in nets:
            images = jittered(gt, sr, jitter_px=model.losses.jitter_px)
            total = total + _attempt(
                options, "network_d", images[0], lambda: sum(_mean(nets["net_d"](one)) for one in images)
            )
        _attempt(options, "network_g", lq, total.backward)


def _mean(logits: Logits) -> Tensor:
    return torch.stack([one.mean() for one in scales(logits)]).mean()


def _only(losses: WeightedSum, name: str) -> WeightedSum:
    """Return the objective of one term."""
    return WeightedSum(
        {name: (losses.losses[name], losses.weights[name])},
        against={key: other for key, other in losses.against.items() if key == name},
        jitter_px=losses.jitter_px,
    )


def _total(losses: WeightedSum, sr: Tensor, gt: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    total: Tensor = losses(sr, gt, **others)[0]
    return total


def _check_output(options: Options, net: nn.Module, sr: Tensor, gt: Tensor) -> None:
    if sr.shape == gt.shape:
        return
    if sr.shape[:2] != gt.shape[:2]:
        said = f"makes images of {sr.shape[1]} channels, and training images have {gt.shape[1]}"
        raise _problem(
            options, "network_g", f"{type(net).__name__} {said}; change num_out_ch or datasets.train.color"
        )
    lq_size = gt.shape[-1] // options.scale
    said = (
        f"makes {sr.shape[-1]} x {sr.shape[-2]} pixels of {lq_size} x {lq_size}, and with scale "
        f"{options.scale} ground truth has {gt.shape[-1]} x {gt.shape[-2]}; give it the file's scale"
    )
    raise _problem(options, "network_g", f"{type(net).__name__} {said}")


def _attempt(options: Options, option: str, images: Tensor, work: Callable[[], T]) -> T:
    try:
        return work()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # networks and losses of others raise errors of any kind
        said = str(error).strip().split("\n")[0] or type(error).__name__
        if NO_VIEW in said:
            said = "it works on images with the channels first alone; set train.channels_last to false"
            raise _problem(options, option, said) from error
        shape = tuple(images.shape)
        given = f"cannot work on images of shape {shape}, which scale, gt_size, jitter and color make"
        raise _problem(options, option, f"{given}: {said}") from error


def _problem(options: Options, option: str, said: str) -> OptionsError:
    return OptionsError(f"{options.where(option)}: {option}: {said}")
