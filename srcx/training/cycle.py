"""One training step of two generators in opposite directions, on images that are not paired."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from srcx.losses.gan import GANLoss
from srcx.losses.weighted_sum import WeightedSum, jittered
from srcx.training.model import Part, SRModel, TrainedNetwork, frozen

__all__ = ["CycleGANModel"]


class Direction(NamedTuple):
    """From one domain to the other: the names of its networks, and the suffix of its terms."""

    generator: str
    discriminator: str
    suffix: str


FORWARD, BACK = Direction("net_g", "net_d", ""), Direction("net_g_back", "net_d_back", "_back")


class CycleGANModel(SRModel):
    """Trains `net_g` from the domain of lq to that of gt, and `net_g_back` from that of gt to that of lq.

    The losses compare each image with itself after both generators; a discriminator in each domain
    classifies generated and real images. This is the baseline for unpaired images; the contextual loss needs
    neither a second generator nor a discriminator.

    Args:
        generators: From lq to gt, and back; lq is as large as gt.
        discriminators: Those of the domains of gt and of lq; each returns logits of any shape.
        losses: The cycle losses; its jitter is the discriminators' too.
        gan_loss: The adversarial loss.
        gan_weight: Its weight for the generators; for the discriminators it is always 1.
        **common: As for `SRModel`.

    References:
        Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV
        2017, arXiv:1703.10593.
        Differs from the paper: the discriminators see the newest images, not a pool of earlier ones.
    """

    def __init__(
        self,
        generators: tuple[TrainedNetwork, TrainedNetwork],
        discriminators: tuple[TrainedNetwork, TrainedNetwork],
        losses: WeightedSum,
        gan_loss: GANLoss,
        *,
        gan_weight: float,
        **common: Any,
    ) -> None:
        super().__init__(generators[0], losses, **common)
        self.add_network(BACK.generator, generators[1])
        self.add_network(FORWARD.discriminator, discriminators[0])
        self.add_network(BACK.discriminator, discriminators[1])
        self.gan_loss, self.gan_weight = gan_loss, gan_weight

    def optimise_networks(self, parts: Sequence[Part]) -> None:
        generators = [FORWARD.generator, BACK.generator]
        fakes = self.optimise(generators, parts, self._run_generators)
        images = [(*fake, part["gt"], part["lq"]) for fake, part in zip(fakes, parts, strict=True)]
        self.optimise([FORWARD.discriminator, BACK.discriminator], images, self._run_discriminators)

    def _run_generators(self, part: Part) -> tuple[Tensor, Tensor]:
        """Add the gradient of one part to both generators; return their outputs of lq and gt, detached."""
        lq, gt = part["lq"], part["gt"]
        forward, back = self.networks[FORWARD.generator], self.networks[BACK.generator]
        fakes = forward(lq), back(gt)
        total, terms = self.objective(back(fakes[0]), {"gt": lq})
        total_back, terms_back = self.objective(forward(fakes[1]), {"gt": gt})
        total = total + total_back
        terms |= {f"{name}{BACK.suffix}": value for name, value in terms_back.items()}
        discriminators = [self.networks[direction.discriminator] for direction in (FORWARD, BACK)]
        with frozen(*(net_d.net for net_d in discriminators)):
            for direction, net_d, fake in zip((FORWARD, BACK), discriminators, fakes, strict=True):
                with self.accelerator.no_sync(net_d.prepared):
                    (image,) = jittered(fake, jitter_px=self.losses.jitter_px)
                    gan = self.gan_weight * self.gan_loss(net_d(image), True)
                terms[f"gan{direction.suffix}"] = gan
                total = total + gan
            self.backward(total, terms)
        return fakes[0].detach(), fakes[1].detach()

    def _run_discriminators(self, images: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Add the gradient of one part to both discriminators, real images first."""
        fake_gt, fake_lq, gt, lq = images
        for direction, fake, real in ((FORWARD, fake_gt, gt), (BACK, fake_lq, lq)):
            fake, real = jittered(fake, real, jitter_px=self.losses.jitter_px)
            for side, image in (("real", real), ("fake", fake)):
                logits = self.networks[direction.discriminator](image)
                loss = self.gan_loss(logits, side == "real", is_disc=True)
                key = f"{side}{direction.suffix}"
                self.backward(loss, {f"d_{key}": loss, f"out_d_{key}": logits.detach().mean()})
