"""Learning-rate schedules as plain functions of the iteration, so that resuming needs no state."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

from srcx.errors import OptionsError

__all__ = ["Schedule", "cosine_annealing_restart", "multi_step", "warm_up"]

Schedule = Callable[[float, int], float]
"""(initial learning rate, iterations done) -> learning rate."""


def multi_step(
    milestones: Sequence[int],
    gamma: float = 0.1,
    restarts: Sequence[int] = (0,),
    restart_weights: Sequence[float] = (1,),
) -> Schedule:
    """Multiply by `gamma` at each milestone; at a restart begin again from the initial rate times its weight.

    BasicSR's `MultiStepLR` and `MultiStepRestartLR`. Differs from it: after a warm-up the rate is the full
    one, where BasicSR stays at the warm-up's last rate; and milestones inside the warm-up count, where
    BasicSR ignores them.

    Example:
        >>> [multi_step([2], gamma=0.5)(1.0, done) for done in range(4)]
        [1.0, 1.0, 0.5, 0.5]
    """
    if len(restarts) != len(restart_weights):
        raise OptionsError(
            f"restarts and restart_weights must have one length; got {len(restarts)}, {len(restart_weights)}"
        )

    def schedule(lr: float, done: int) -> float:
        since, weight = max(
            ((at, w) for at, w in zip(restarts, restart_weights, strict=True) if at <= done),
            default=(-1, 1.0),
        )
        return lr * weight * gamma ** sum(since < milestone <= done for milestone in milestones)

    return schedule


def cosine_annealing_restart(
    periods: Sequence[int], restart_weights: Sequence[float] = (1,), eta_min: float = 0.0
) -> Schedule:
    """Half a cosine from the initial rate (times the period's weight) to `eta_min`, again in each period.

    BasicSR's `CosineAnnealingRestartLR`, which counts the last iteration of a period as its end.
    Differs from it: after the last period the rate stays at `eta_min`, where BasicSR stops with an error.

    Args:
        periods: Length of each period in iterations.
        restart_weights: Weight of the initial rate in each period.
        eta_min: Lowest learning rate.

    Example:
        >>> [round(cosine_annealing_restart([4])(1.0, done), 3) for done in range(6)]
        [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    if len(periods) != len(restart_weights):
        raise OptionsError(
            f"periods and restart_weights must have one length; got {len(periods)} and {len(restart_weights)}"
        )
    ends = list(accumulate(periods))

    def schedule(lr: float, done: int) -> float:
        for end, period, weight in zip(ends, periods, restart_weights, strict=True):
            if done <= end:
                phase = (done - (end - period)) / period
                return eta_min + weight * 0.5 * (lr - eta_min) * (1 + math.cos(math.pi * phase))
        return eta_min

    return schedule


def warm_up(schedule: Schedule, iters: int) -> Schedule:
    """Rise linearly to the initial rate over the first `iters` iterations, then follow `schedule`.

    Example:
        >>> [warm_up(multi_step([]), 4)(1.0, done) for done in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def warmed(lr: float, done: int) -> float:
        return lr * (done + 1) / iters if done + 1 < iters else schedule(lr, done)

    return warmed
