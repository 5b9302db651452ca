"""The adversarial loss of the generator and of the discriminator."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from srcx.errors import OptionsError

__all__ = ["GANLoss", "GanType", "Logits", "MultiScaleGANLoss", "r1_penalty", "scales"]

GanType = Literal["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"]
Logits = Tensor | Sequence[Tensor | Sequence[Tensor]]
"""A discriminator's output: logits of any shape, or a list with those of each scale."""


class GANLoss(nn.Module):
    """Adversarial loss on logits, for the generator (`is_disc=False`) or the discriminator.

    Args:
        gan_type: `vanilla` is the cross entropy of Goodfellow et al., arXiv:1406.2661, in its
            non-saturating form; `lsgan` the squared distance to the labels, arXiv:1611.04076; `wgan`
            the mean, arXiv:1701.07875 (without its weight clipping); `wgan_softplus`
            the logistic loss of StyleGAN2, arXiv:1912.04958; `hinge` that of arXiv:1705.02894.
        real_label_val: Label of real images, for vanilla and lsgan.
        fake_label_val: Label of generated images, for vanilla and lsgan.

    Called with logits of any shape, `target_is_real` (the class to compare them with) and `is_disc` (True in
    the discriminator's step), it returns a scalar.

    References:
        Goodfellow et al., "Generative Adversarial Networks", NeurIPS 2014, arXiv:1406.2661, and the others
        named at `gan_type`.

    Example:
        >>> GANLoss("hinge")(torch.tensor([2.0, 0.5]), True, is_disc=True)
        tensor(0.2500)
    """

    def __init__(self, gan_type: GanType, real_label_val: float = 1.0, fake_label_val: float = 0.0) -> None:
        super().__init__()
        if gan_type not in get_args(GanType):
            known = ", ".join(get_args(GanType))
            raise OptionsError(f"GANLoss: gan_type must be one of {known}; got {gan_type!r}")
        self.gan_type = gan_type
        self.labels = {True: real_label_val, False: fake_label_val}

    @property
    def undecided(self) -> float:
        """The logit of a discriminator that cannot classify: the best one for both labels."""
        middle = sum(self.labels.values()) / 2
        if self.gan_type == "lsgan":
            return middle
        return math.log(middle / (1 - middle)) if self.gan_type == "vanilla" and 0 < middle < 1 else 0.0

    def forward(self, logits: Tensor, target_is_real: bool, *, is_disc: bool = False) -> Tensor:
        logits = logits.float()
        signed = logits if target_is_real else -logits
        if self.gan_type == "wgan" or (self.gan_type == "hinge" and not is_disc):
            return -signed.mean()
        if self.gan_type == "hinge":
            return functional.relu(1 - signed).mean()
        if self.gan_type == "wgan_softplus":
            return functional.softplus(-signed).mean()
        labels = torch.full_like(logits, self.labels[target_is_real])
        if self.gan_type == "lsgan":
            return functional.mse_loss(logits, labels)
        return functional.binary_cross_entropy_with_logits(logits, labels)


class MultiScaleGANLoss(GANLoss):
    """Mean of GANLoss over the scales of a discriminator that returns a list of logits, one for each scale.

    References:
        Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs", CVPR
        2018, arXiv:1711.11585; numbers as in BasicSR's MultiScaleGANLoss.
    """

    def forward(self, logits: Logits, target_is_real: bool, *, is_disc: bool = False) -> Tensor:
        """Return the mean of GANLoss over the scales of `logits`."""
        values = [GANLoss.forward(self, one, target_is_real, is_disc=is_disc) for one in scales(logits)]
        return torch.stack(values).mean()


def r1_penalty(net_d: Callable[[Tensor], Logits], real: Tensor) -> Tensor:
    """Return the mean over images of |d logit / d image|^2, whose gradient makes the discriminator smooth.

    Args:
        net_d: The discriminator.
        real: Real images, (N, C, H, W).

    Returns:
        A scalar that is differentiable in the weights of `net_d`; unweighted.

    References:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        arXiv:1801.04406, equation 9 without gamma / 2.
        Differs from the paper: where an image has several logits, their mean is its logit.

    Example:
        >>> r1_penalty(lambda image: 3 * image.sum((1, 2, 3)), torch.zeros(2, 1, 2, 2))  # 4 pixels, 3^2 each
        tensor(36.)
    """
    real = real.detach().requires_grad_(True)
    logits = torch.stack([one.reshape(len(real), -1).mean(1) for one in scales(net_d(real))]).mean(0)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def scales(logits: Logits) -> list[Tensor]:
    """Return the logits of each scale; a scale that is a list of layers has its logits in the last one."""
    if isinstance(logits, Tensor):
        return [logits]
    return [one if isinstance(one, Tensor) else one[-1] for one in logits]
