"""One training step of a generator against a discriminator."""

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import record_function

from srcx.losses.gan import GANLoss, Logits, r1_penalty, scales
from srcx.losses.weighted_sum import WeightedSum, jittered
from srcx.training.balance import Balance
from srcx.training.model import Part, SRModel, State, TrainedNetwork, frozen

__all__ = ["ESRGANModel", "SRGANModel"]

logger = logging.getLogger(__name__)

SHIFT = "shift_"
"""Beginning of the names of figures that go to the balance, and not to the log."""


class SRGANModel(SRModel):
    """Trains `net_g` on a sum of losses plus an adversarial loss, and `net_d` to classify its output and gt.

    Args:
        generator: The generator with its optimizer and schedule.
        discriminator: The discriminator with its own; it returns logits of any shape, or lists of them.
        losses: The other terms of the objective; its jitter is the discriminator's too.
        gan_loss: The adversarial loss.
        gan_weight: Its weight for the generator; for the discriminator it is always 1.
        gan_against: The real images of the discriminator: "gt" or "gt_sharp" of the batch.
        net_d_iters: The generator is updated every `net_d_iters` iterations, and in each one in which the
            discriminator is paused.
        net_d_init_iters: In the first `net_d_init_iters` iterations only the discriminator is updated.
        adaptive_d: Once the generator trains, the discriminator is not updated while its smoothed lead is
            above this, in [0, 1); 0 never pauses it.
        r1_reg_weight: Weight of the R1 penalty of the discriminator; 0 has none.
        net_d_reg_every: Iterations between two penalties, each of which counts so many times.
        ema_decay_d: Decay of the EMA of `net_d`, against which the generator is then trained; 0 has no EMA.
        warn_iter: Iterations after which a balance that is lost is warned about; 0 never warns.
        compares_colors: Whether the colours of sr and gt are compared, for the warning: gt shows what lq
            shows, in [0, 1].
        **common: As for `SRModel`.

    Attributes:
        balance: The discriminator's lead and the shift of the colours.
        ema_d: The EMA of `net_d`; None without one.

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
        adaptive_d: float = 0.0,
        r1_reg_weight: float = 0.0,
        net_d_reg_every: int = 16,
        ema_decay_d: float = 0.0,
        warn_iter: int = 0,
        compares_colors: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(generator, losses, **common)
        self.add_network("net_d", discriminator)
        self.gan_loss, self.gan_weight, self.gan_against = gan_loss, gan_weight, gan_against
        self.jitter_px = losses.jitter_px
        self.net_d_iters, self.net_d_init_iters = net_d_iters, net_d_init_iters
        self.adaptive_d, self.warn_iter, self.compares_colors = adaptive_d, warn_iter, compares_colors
        self.r1_reg_weight, self.net_d_reg_every = r1_reg_weight, net_d_reg_every
        self.balance, self.decides_by_figures = Balance(), adaptive_d > 0
        self.ema_d: AveragedModel | None = None
        if ema_decay_d > 0:
            self.ema_d = AveragedModel(discriminator.net, multi_avg_fn=get_ema_multi_avg_fn(ema_decay_d))
            self.ema_d.update_parameters(discriminator.net)  # the EMA starts at the first weights
            # It stays in training mode, as net_d does for the generator: means are those of the batch,
            # and spectral norms those of its own weights.
            self.ema_d.requires_grad_(False)

    @cached_property
    def chance(self) -> float:
        """The sum of d_real and d_fake of a discriminator that cannot distinguish them; 0 for wgan."""
        logit = torch.full((1,), self.gan_loss.undecided)
        return sum(self.gan_loss(logit, is_real, is_disc=True).item() for is_real in (True, False))

    @property
    def is_paused(self) -> bool:
        """Whether this iteration leaves the discriminator as it is: the lead of the last one decides."""
        is_ahead = self.balance.lead is not None and self.balance.lead > self.adaptive_d
        return self.adaptive_d > 0 and is_ahead and self.iteration > self.net_d_init_iters

    def step(self, batch: Part) -> dict[str, float]:
        terms = super().step(batch)
        shift = [terms.pop(name) for name in sorted(terms) if name.startswith(SHIFT)]
        if self.adaptive_d:
            terms["d_paused"] = float(self.is_paused)
        lead = 1 - (terms["d_real"] + terms["d_fake"]) / self.chance if self.chance else None
        self.balance.update(lead, shift)
        if self.warn_iter and self.accelerator.is_main_process:
            for warning in self.balance.warnings(self.warn_iter):
                logger.warning("iteration %d: %s", self.iteration, warning)
        return terms

    def optimise_networks(self, parts: Sequence[Part]) -> None:
        is_its_turn = self.iteration % self.net_d_iters == 0 or self.is_paused
        if is_its_turn and self.iteration > self.net_d_init_iters:
            outputs = self.optimise(["net_g"], parts, self._run_against_discriminator)
        else:
            with torch.no_grad():
                outputs = [self.networks["net_g"](part["lq"]) for part in parts]
        pairs = [(sr, part[self.gan_against]) for sr, part in zip(outputs, parts, strict=True)]
        for sr, part in zip(outputs, parts, strict=True) if self.compares_colors and self.warn_iter else ():
            shift = (sr.float() - part["gt"]).mean((0, 2, 3))
            self.log({f"{SHIFT}{channel}": value for channel, value in enumerate(shift)})
        if self.is_paused:
            with torch.no_grad():
                for pair in pairs:
                    self._run_discriminator(pair)  # for its figures alone
            return
        self.optimise(["net_d"], pairs, self._run_discriminator)
        if self.ema_d is not None:
            self.ema_d.update_parameters(self.networks["net_d"].net)

    def _run_against_discriminator(self, part: Part) -> Tensor:
        """Add the gradient of one part to the generator; return the generator's output, detached."""
        sr: Tensor = self.networks["net_g"](part["lq"])
        total, terms = self.objective(sr, part)
        net_d = self.networks["net_d"]
        with frozen(net_d.net), self.accelerator.no_sync(net_d.prepared):
            images = jittered(sr, part[self.gan_against], jitter_px=self.jitter_px)
            with record_function("srcx: loss gan"):
                terms["gan"] = self.gan_weight * self.generator_gan(*images)
            self.backward(total + terms["gan"], terms)
        return sr.detach()

    def _run_discriminator(self, pair: tuple[Tensor, Tensor]) -> None:
        """Add the gradient of one part (sr, gt) to the discriminator, real images first; log its figures."""
        sr, gt = jittered(*pair, jitter_px=self.jitter_px)
        if self.r1_reg_weight and self.iteration % self.net_d_reg_every == 0 and torch.is_grad_enabled():
            # The network itself is in full precision; ranks average its gradient with that of the real side.
            penalty = r1_penalty(self.networks["net_d"].net, gt)
            penalty = self.r1_reg_weight / 2 * self.net_d_reg_every * penalty
            self.backward(penalty, {"d_r1": penalty})
        for side, logits, loss in self.discriminator_gan(sr, gt):
            mean = torch.stack([one.detach().mean() for one in scales(logits)]).mean()
            terms = {f"d_{side}": loss, f"out_d_{side}": mean}
            if torch.is_grad_enabled():
                self.backward(loss, terms)
            else:
                self.log(terms)

    def critic(self, image: Tensor) -> Any:
        """Return the logits of the discriminator that the generator is trained against."""
        if self.ema_d is None:
            return self.networks["net_d"](image)
        with self.accelerator.autocast():
            return self.ema_d.module(image)

    def state(self) -> State:
        ema_d = self.ema_d.state_dict() if self.ema_d is not None else None
        return {**super().state(), "ema_d": ema_d, "balance": vars(self.balance)}

    def load_state(self, state: State, *, ignored: Collection[str] = ()) -> None:
        """Continue where `state` was taken; without an EMA of net_d in it, that EMA starts at its weights."""
        super().load_state(state, ignored=ignored)
        if "net_d" not in ignored:
            self.balance = Balance(**state.get("balance", {}))
        if self.ema_d is None and state.get("ema_d") is not None:
            logger.warning("the state's EMA weights of net_d are not used: ema_decay_d is 0")
        if self.ema_d is not None and "net_d" not in ignored:
            if state.get("ema_d") is not None:
                self.ema_d.load_state_dict(state["ema_d"])
            else:
                self.ema_d.module.load_state_dict(self.networks["net_d"].net.state_dict())

    def weights(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        weights = super().weights()
        if self.ema_d is not None:
            weights["net_d"]["params_ema"] = self.ema_d.module.state_dict()
        return weights

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the generator's adversarial loss, unweighted."""
        return self.gan_loss(self.critic(sr), True)

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

    @cached_property
    def chance(self) -> float:
        zero = torch.zeros(1)  # the difference of equal logits
        return sum(self.gan_loss(zero, is_real, is_disc=True).item() for is_real in (True, False)) / 2

    def generator_gan(self, sr: Tensor, gt: Tensor) -> Tensor:
        # In full precision: under autocast the EMA's logits would be subtracted in bf16.
        real, fake = self.critic(gt).detach().float(), self.critic(sr).float()
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
