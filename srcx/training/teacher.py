"""A trained model whose output stands for the ground truth in the first iterations of a run."""

from collections.abc import Mapping

import torch
from torch import Tensor

from srcx.errors import OptionsError
from srcx.hardware import to_channels_last
from srcx.inference.models import Model
from srcx.inference.runner import mean_over_turns
from srcx.inference.tiling import run_padded

__all__ = ["Teacher"]


class Teacher:
    """Makes the target of iteration i: teacher(lq) + min(1, i / iters) * (gt - teacher(lq)).

    No network can predict what gt has beyond the mean of all images that fit lq: to the first steps, this is
    noise. The output of a trained network is near that mean.

    Args:
        model: The teacher.
        iters: From this iteration on the target is gt, and the teacher does not run.
        ensemble: Whether its output is the mean over the eight rotations and reflections of lq, which costs
            eight times as much.

    Raises:
        OptionsError: the model has no network.

    References:
        Lee and Heo, "Noise-free Optimization in Early Training Steps for Image Super-Resolution" (ECO),
        arXiv:2312.17526. Differs from the paper: lq stays that of gt, where the paper shrinks the target.
    """

    def __init__(self, model: Model, *, iters: int, ensemble: bool = False) -> None:
        if model.net is None:
            raise OptionsError(f"{model.name}: has no network; name another model, or a checkpoint")
        self.architecture, self.net, self.multiple_of = model.architecture, model.net, model.multiple_of
        self.iters, self.ensemble = iters, ensemble

    def to(self, device: torch.device, memory_format: torch.memory_format) -> None:
        """Move the network to the run's device."""
        self.net.to(device)
        if memory_format == torch.channels_last:
            to_channels_last(self.net)

    @torch.no_grad()
    def __call__(self, lq: Tensor) -> Tensor:
        """Return the teacher's output for lq, (N, C, H, W): float32 in [0, 1], (N, C, sH, sW)."""

        def run(images: Tensor) -> Tensor:
            return run_padded(self.net, images, self.multiple_of).float().clamp(0, 1)

        return mean_over_turns(run, lq) if self.ensemble else run(lq)

    def target_of(self, part: Mapping[str, Tensor], iteration: int) -> Tensor:
        """Return the target of {"lq": ..., "gt": ...} in this iteration, which counts from 1."""
        if iteration >= self.iters:
            return part["gt"]
        return self(part["lq"]).lerp(part["gt"], iteration / self.iters)
