"""Several processes at one work, as `torchrun` and `accelerate launch` start them."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from srcx.errors import SrcxError

__all__ = ["ALONE", "Team", "team_of_environment"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

PATIENCE = timedelta(days=7)
"""How long one waits for the others, who may have larger images."""


@dataclass(frozen=True)
class Team:
    """This process's place among those that share a work and its files."""

    rank: int = 0
    """From 0; the first one speaks for all."""
    size: int = 1
    local_rank: int = 0
    """Place among those on this machine: the number of its GPU."""

    @property
    def speaks(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part; every item is in one process's part.

        Example:
            >>> Team(rank=1, size=3).share("abcdefg")
            ['b', 'e']
        """
        return list(items[self.rank :: self.size])

    def gather(self, mine: T) -> list[T]:
        """What each process has, by rank; all have to call this, and wait for each other."""
        if self.size == 1:
            return [mine]
        from torch import distributed

        everyones: list[Any] = [None] * self.size
        distributed.all_gather_object(everyones, mine)
        return everyones

    def first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it; its errors are everyone's too."""
        result, error = None, None
        if self.speaks:
            try:
                result = work()
            except SrcxError as raised:
                error = raised
        (result, error), *_ = self.gather((result, error))
        if error:
            raise error
        return result  # type: ignore[return-value] # set where there is no error


ALONE = Team()

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""The variables that `torchrun` and `accelerate launch` set for each process, all of them."""


def processes_started() -> int:
    """Return how many processes a launcher started for this work; 1 without all of its variables."""
    if any(name not in os.environ for name in LAUNCHERS):
        if os.environ.get("WORLD_SIZE", "1") != "1":
            missing = ", ".join(name for name in LAUNCHERS if name not in os.environ)
            logger.warning(
                "WORLD_SIZE is %s without %s, so it is ignored: this process works alone; torchrun sets all",
                os.environ["WORLD_SIZE"], missing,
            )  # fmt: skip
        return 1
    return int(os.environ["WORLD_SIZE"])


@contextmanager
def stray_variables_hidden() -> Iterator[None]:
    """Hide a launcher's variables inside the block where some are missing: others trust any one of them."""
    stray = {} if all(name in os.environ for name in LAUNCHERS) else dict(os.environ)
    hidden = {name: os.environ.pop(name) for name in LAUNCHERS if name in stray}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def team_of_environment() -> Iterator[Team]:
    """The team this process was started in, by the variables that `torchrun` sets; alone without them."""
    size = processes_started()
    if size == 1:
        yield ALONE
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Team(distributed.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()
