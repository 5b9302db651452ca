"""One training step of a generator against a discriminator."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from srcx.losses.gan import GANLoss, Logits, scales
from srcx.losses.jitter import jittered
from srcx.losses.weighted_sum import WeightedSum
from srcx.training.frozen import frozen
from srcx.training.means import Means
from srcx.training.model import Learner, Part, SRModel

__all__ = ["ESRGANModel", "SRGANModel"]


class SRGANModel(SRModel):
    """Trains `net_g` on a sum of losses plus an adversarial one, and `net_d` to tell its output from gt.

    Args:
        generator: The generator with its optimizer and schedule.
        discriminator: The discriminator with its own; gives logits of any shape, or lists of them.
        losses: The other terms of the objective; its jitter is the discriminator's too.
        gan_loss: The adversarial loss.
        gan_weight: Its weight for the generator; for the discriminator it is always 1.
        gan_against: What is real to the discriminator: "gt" or "gt_sharp" of the batch.
        net_d_iters: The generator learns every so many iterations.
        net_d_init_iters: For so many iterations at the start only the discriminator learns.
        **common: As for `SRModel`.

    References:
        Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network", CVPR 2017, arXiv:1609.04802; order and numbers as in BasicSR's SRGANModel.
    """

    def __init__(
        self,
        generator: Learner,
        discriminator: Learner,
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
        self._adopt("net_d", discriminator)
        self.gan_loss, self.gan_weight, self.gan_against = gan_loss, gan_weight, gan_against
        self.jitter_px = losses.jitter_px
        self.net_d_iters, self.net_d_init_iters = net_d_iters, net_d_init_iters

    def _learn(self, parts: list[Part]) -> dict[str, float]:
        means = Means(len(parts), self.accelerator)
        if self.iteration % self.net_d_iters == 0 and self.iteration > self.net_d_init_iters:
            outputs = []
            for number, part in enumerate(parts, start=1):
                with self.accumulating("net_g", is_last=number == len(parts)):
                    outputs.append(self._teach_generator(part, len(parts), means))
            self._update("net_g")
        else:
            with torch.no_grad():
                outputs = [self.learners["net_g"].net(part["lq"]) for part in parts]
        for number, (sr, part) in enumerate(zip(outputs, parts, strict=True), start=1):
            with self.accumulating("net_d", is_last=number == len(parts)):
                self._teach_discriminator(sr, part[self.gan_against], len(parts), means)
        self._update("net_d")
        return means.values()

    def _teach_generator(self, part: Part, parts: int, means: Means) -> Tensor:
        """Add this part's gradient to the generator; returns its output, detached."""
        sr = self.learners["net_g"].net(part["lq"])
        total, terms = self.objective(sr, part)
        net_d = self.learners["net_d"].net
        with frozen(self.bare_nets["net_d"]), self.accelerator.no_sync(net_d):
            seen = jittered(sr, part[self.gan_against], jitter_px=self.jitter_px)
            terms["gan"] = self.gan_weight * self.generator_gan(*seen)
            means.add(terms)
            self._backward((total + terms["gan"]) / parts, terms)
        return sr.detach()

    def _teach_discriminator(self, sr: Tensor, gt: Tensor, parts: int, means: Means) -> None:
        """Add this part's gradient to the discriminator, real images first."""
        for side, logits, cost in self.discriminator_gan(*jittered(sr, gt, jitter_px=self.jitter_px)):
            mean = torch.stack([one.detach().mean() for one in scales(logits)]).mean()
            terms = {f"d_{side}": cost, f"out_d_{side}": mean}
            means.add(terms)
            self._backward(cost / parts, terms)

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        """What the discriminator's opinion costs the generator."""
        return self.gan_loss(self.learners["net_d"].net(sr), True)

    def discriminator_gan(self, sr: Tensor, gt: Tensor) -> Iterator[tuple[str, Logits, Tensor]]:
        """Yields (side, logits, cost) for real and then for fake images.

        Each is learned from before the next is seen: batch statistics and memory stay those of one side.
        """
        for side, image in (("real", gt), ("fake", sr)):
            logits = self.learners["net_d"].net(image)
            yield side, logits, self.gan_loss(logits, side == "real", is_disc=True)


class ESRGANModel(SRGANModel):
    """SRGANModel with the relativistic average loss: real must look more real than fake does on average.

    References:
        Wang et al., "ESRGAN", ECCVW 2018, arXiv:1809.00219, after Jolicoeur-Martineau,
        arXiv:1807.00734; order and numbers as in BasicSR's ESRGANModel. Differs from it with `gan_type:
        hinge`, where BasicSR's generator term is 0: its hinge for a generator does not look at the target.
    """

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        judge = self.learners["net_d"].net
        real, fake = judge(gt).detach(), judge(sr)
        as_real = self.gan_loss(fake - real.mean(), True)
        as_fake = self.gan_loss(real - fake.mean(), False)
        return (as_real + as_fake) / 2

    def discriminator_gan(self, sr: Tensor, gt: Tensor) -> Iterator[tuple[str, Logits, Tensor]]:
        judge = self.learners["net_d"].net
        with torch.no_grad():
            fake_mean = judge(sr).mean()
        real = judge(gt)
        yield "real", real, self.gan_loss(real - fake_mean, True, is_disc=True) / 2
        fake = judge(sr)
        yield "fake", fake, self.gan_loss(fake - real.detach().mean(), False, is_disc=True) / 2
