"""The balance of a generator and a discriminator: the discriminator's lead, the colours of the output."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Balance"]

DECAY = 0.99
"""Of the smoothed figures, per iteration: one batch alone does not decide."""
AT_CHANCE = 0.02
"""A lead nearer to 0 than this counts as chance."""
SHIFTED = 0.02
"""Shift of a colour channel that can be seen: 5 of 255."""


@dataclass
class Balance:
    """Smoothed figures of an adversarial training, as plain values for its state.

    Attributes:
        lead: The discriminator's lead, 1 - (d_real + d_fake) / chance: 0 where it classifies by chance,
            1 where its loss is 0; None before the first iteration, and for losses that have no chance.
        shift: Mean of sr - gt of each colour channel.
        at_chance: Number of iterations in a row without a lead.
        shifted: Number of iterations in a row with a shift that can be seen.

    Example:
        >>> balance = Balance()
        >>> balance.update(0.75, [0.0, 0.0, 0.1])
        >>> balance.lead, balance.at_chance, balance.shifted
        (0.75, 0, 1)
    """

    lead: float | None = None
    shift: list[float] = field(default_factory=list)
    at_chance: int = 0
    shifted: int = 0

    def update(self, lead: float | None, shift: Sequence[float]) -> None:
        """Add the figures of one iteration.

        Args:
            lead: The discriminator's lead; None leaves it out.
            shift: Mean of sr - gt of each channel; empty leaves it out.
        """
        if lead is not None:
            self.lead = lead if self.lead is None else DECAY * self.lead + (1 - DECAY) * lead
            self.at_chance = self.at_chance + 1 if abs(self.lead) < AT_CHANCE else 0
        if shift:
            before = self.shift or list(shift)
            self.shift = [DECAY * one + (1 - DECAY) * new for one, new in zip(before, shift, strict=True)]
            self.shifted = self.shifted + 1 if max(map(abs, self.shift)) > SHIFTED else 0

    def warnings(self, every: int) -> Iterator[str]:
        """Yield what has been wrong for `every` iterations, or for a multiple of it, and what to do."""
        if self.at_chance and self.at_chance % every == 0:
            yield (
                f"for {self.at_chance} iterations the discriminator has classified real and fake no better "
                f"than chance (lead {self.lead:.3f}), so it gives the generator no useful gradient: raise "
                "train.optim_d.lr or network_d's num_feat, or set train.net_d_init_iters"
            )
        if self.shifted and self.shifted % every == 0:
            channels = ", ".join(f"{255 * one:+.1f}" for one in self.shift)
            yield (
                f"for {self.shifted} iterations the colours of the output have been off those of gt (of 255, "
                f"by channel: {channels}): add low_frequency_opt: {{type: LowFrequencyLoss}} or "
                "raise its loss_weight, or lower that of gan_opt"
            )
