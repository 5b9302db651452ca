"""One training step of two generators, there and back, on images that are not paired at all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from srcx.losses.gan import GANLoss
from srcx.losses.jitter import jittered
from srcx.losses.weighted_sum import WeightedSum
from srcx.training.frozen import frozen
from srcx.training.means import Means
from srcx.training.model import Learner, Part, SRModel

__all__ = ["CycleGANModel"]


class Way(NamedTuple):
    """From one domain to the other: the networks by name, and what the names of its terms end in."""

    generator: str
    discriminator: str
    ending: str


THERE, BACK = Way("net_g", "net_d", ""), Way("net_g_back", "net_d_back", "_back")


class CycleGANModel(SRModel):
    """Trains `net_g` from the domain of lq to that of gt, and `net_g_back` from that of gt to that of lq.

    Each image is to come back as it was from a way there and back, by the losses, which compare it with
    what came back; a discriminator in each domain tells what came there from what belongs there. The baseline
    for unpaired images beside the contextual loss, which needs neither the way back nor a discriminator.

    Args:
        generators: The one to keep and the one of the way back; lq is as large as gt.
        discriminators: Those of the domains of gt and of lq; each gives logits of any shape.
        losses: What compares an image with what came back; its jitter is the discriminators' too.
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
        generators: tuple[Learner, Learner],
        discriminators: tuple[Learner, Learner],
        losses: WeightedSum,
        gan_loss: GANLoss,
        *,
        gan_weight: float,
        **common: Any,
    ) -> None:
        super().__init__(generators[0], losses, **common)
        self._adopt(BACK.generator, generators[1])
        for way, discriminator in zip((THERE, BACK), discriminators, strict=True):
            self._adopt(way.discriminator, discriminator)
        self.gan_loss, self.gan_weight = gan_loss, gan_weight

    def _learn(self, parts: list[Part]) -> dict[str, float]:
        means = Means(len(parts), self.accelerator)
        outputs = []
        for number, part in enumerate(parts, start=1):
            is_last = number == len(parts)
            with (
                self.accumulating(THERE.generator, is_last=is_last),
                self.accumulating(BACK.generator, is_last=is_last),
            ):
                outputs.append(self._teach_generators(part["lq"], part["gt"], len(parts), means))
        self._update(THERE.generator, BACK.generator)
        for number, (fakes, part) in enumerate(zip(outputs, parts, strict=True), start=1):
            for way, fake, real in zip((THERE, BACK), fakes, (part["gt"], part["lq"]), strict=True):
                with self.accumulating(way.discriminator, is_last=number == len(parts)):
                    self._teach_discriminator(way, fake, real, len(parts), means)
        self._update(THERE.discriminator, BACK.discriminator)
        return means.values()

    def _teach_generators(self, lq: Tensor, gt: Tensor, parts: int, means: Means) -> Sequence[Tensor]:
        """Add this part's gradient to both; returns what they made of lq and of gt, detached."""
        there, back = (self.learners[way.generator].net for way in (THERE, BACK))
        fakes = there(lq), back(gt)
        total, terms = self.objective(back(fakes[0]), {"gt": lq})
        total_back, terms_back = self.objective(there(fakes[1]), {"gt": gt})
        total = total + total_back
        terms |= {f"{name}{BACK.ending}": value for name, value in terms_back.items()}
        with frozen(*(self.bare_nets[way.discriminator] for way in (THERE, BACK))):
            for way, fake in zip((THERE, BACK), fakes, strict=True):
                net_d = self.learners[way.discriminator].net
                with self.accelerator.no_sync(net_d):
                    (seen,) = jittered(fake, jitter_px=self.losses.jitter_px)
                    terms[f"gan{way.ending}"] = self.gan_weight * self.gan_loss(net_d(seen), True)
                    total = total + terms[f"gan{way.ending}"]
            means.add(terms)
            self._backward(total / parts, terms)
        return [fake.detach() for fake in fakes]

    def _teach_discriminator(self, way: Way, fake: Tensor, real: Tensor, parts: int, means: Means) -> None:
        """Add this part's gradient to the discriminator of one domain, real images first."""
        fake, real = jittered(fake, real, jitter_px=self.losses.jitter_px)
        for side, image in (("real", real), ("fake", fake)):
            logits = self.learners[way.discriminator].net(image)
            cost = self.gan_loss(logits, side == "real", is_disc=True)
            terms = {f"d_{side}{way.ending}": cost, f"out_d_{side}{way.ending}": logits.detach().mean()}
            means.add(terms)
            self._backward(cost / parts, terms)
