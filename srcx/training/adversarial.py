"""One training step of a generator against a discriminator."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from srcx.losses.gan import GANLoss, Logits, scales
from srcx.losses.weighted_sum import WeightedSum, jittered
from srcx.training.model import Part, SRModel, TrainedNetwork, frozen

__all__ = ["ESRGANModel", "SRGANModel"]


class SRGANModel(SRModel):
    """Trains `net_g` on a sum of losses plus an adversarial loss, and `net_d` to classify its output and gt.

    Args:
        generator: The generator with its optimizer and schedule.
        discriminator: The discriminator with its own; it returns logits of any shape, or lists of them.
        losses: The other terms of the objective; its jitter is the discriminator's too.
        gan_loss: The adversarial loss.
        gan_weight: Its weight for the generator; for the discriminator it is always 1.
        gan_against: The real images of the discriminator: "gt" or "gt_sharp" of the batch.
        net_d_iters: The generator is updated every `net_d_iters` iterations.
        net_d_init_iters: In the first `net_d_init_iters` iterations only the discriminator is updated.
        **common: As for `SRModel`.

    References:
        Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network", CVPR 2017, arXiv:1609.04802; order and numbers as in BasicSR's SRGANModel.
    """

    def __init__(
        self,
        generator: TrainedNetwork,
        discriminator: TrainedNetwork,
        losses: WeightedSum,
        gan_loss: GANLoss,
        *,
        gan_weight: float,
        gan_against: Literal["gt", "gt_sharp"] = "gt",
        net_d_iters: int = 1,
        net_d_init_iters: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(generator, losses, **common)
        self.add_network("net_d", discriminator)
        self.gan_loss, self.gan_weight, self.gan_against = gan_loss, gan_weight, gan_against
        self.jitter_px = losses.jitter_px
        self.net_d_iters, self.net_d_init_iters = net_d_iters, net_d_init_iters

    def optimise_networks(self, parts: Sequence[Part]) -> None:
        if self.iteration % self.net_d_iters == 0 and self.iteration > self.net_d_init_iters:
            outputs = self.optimise(["net_g"], parts, self._run_against_discriminator)
        else:
            with torch.no_grad():
                outputs = [self.networks["net_g"](part["lq"]) for part in parts]
        pairs = [(sr, part[self.gan_against]) for sr, part in zip(outputs, parts, strict=True)]
        self.optimise(["net_d"], pairs, self._run_discriminator)

    def _run_against_discriminator(self, part: Part) -> Tensor:
        """Add the gradient of one part to the generator; return the generator's output, detached."""
        sr: Tensor = self.networks["net_g"](part["lq"])
        total, terms = self.objective(sr, part)
        net_d = self.networks["net_d"]
        with frozen(net_d.net), self.accelerator.no_sync(net_d.prepared):
            images = jittered(sr, part[self.gan_against], jitter_px=self.jitter_px)
            terms["gan"] = self.gan_weight * self.generator_gan(*images)
            self.backward(total + terms["gan"], terms)
        return sr.detach()

    def _run_discriminator(self, pair: tuple[Tensor, Tensor]) -> None:
        """Add the gradient of one part (sr, gt) to the discriminator, real images first."""
        for side, logits, loss in self.discriminator_gan(*jittered(*pair, jitter_px=self.jitter_px)):
            mean = torch.stack([one.detach().mean() for one in scales(logits)]).mean()
            self.backward(loss, {f"d_{side}": loss, f"out_d_{side}": mean})

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the generator's adversarial loss, unweighted."""
        return self.gan_loss(self.networks["net_d"](sr), True)

    def discriminator_gan(self, sr: Tensor, gt: Tensor) -> Iterator[tuple[str, Logits, Tensor]]:
        """Yield ("real" or "fake", logits, loss), for real images first.

        The caller runs backward of one side before the other side's forward pass: batch statistics and memory
        are those of one side.
        """
        for side, image in (("real", gt), ("fake", sr)):
            logits = self.networks["net_d"](image)
            yield side, logits, self.gan_loss(logits, side == "real", is_disc=True)


class ESRGANModel(SRGANModel):
    """SRGANModel with the relativistic average loss: real must look more real than fake does on average.

    References:
        Wang et al., "ESRGAN", ECCVW 2018, arXiv:1809.00219, after Jolicoeur-Martineau,
        arXiv:1807.00734; order and numbers as in BasicSR's ESRGANModel. Differs from it with `gan_type:
        hinge`, where BasicSR's generator term is 0: its hinge for a generator does not look at the target.
    """

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        net_d = self.networks["net_d"]
        real, fake = net_d(gt).detach(), net_d(sr)
        as_real = self.gan_loss(fake - real.mean(), True)
        as_fake = self.gan_loss(real - fake.mean(), False)
        return (as_real + as_fake) / 2

    def discriminator_gan(self, sr: Tensor, gt: Tensor) -> Iterator[tuple[str, Logits, Tensor]]:
        net_d = self.networks["net_d"]
        with torch.no_grad():
            fake_mean = net_d(sr).mean()
        real = net_d(gt)
        yield "real", real, self.gan_loss(real - fake_mean, True, is_disc=True) / 2
        fake = net_d(sr)
        yield "fake", fake, self.gan_loss(fake - real.detach().mean(), False, is_disc=True) / 2
