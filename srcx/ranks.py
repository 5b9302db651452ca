"""The processes of one training run: what they must agree on, and which of them is missing."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch import distributed

from srcx.errors import TrainingError

__all__ = ["agree_on_start", "missing_ranks_named"]

ROLL_CALL = timedelta(seconds=5)


def agree_on_start(iteration: int) -> None:
    """See that every process of the run is about to go on from the same iteration.

    Raises:
        TrainingError: the ranks found different states, as they do where each node has a folder of its own.
    """
    if not distributed.is_initialized():
        return
    starts = [0] * distributed.get_world_size()
    distributed.all_gather_object(starts, iteration)
    if len(set(starts)) > 1:
        found = ", ".join(f"rank {rank}: {start}" for rank, start in enumerate(starts))
        raise TrainingError(
            f"the ranks would go on from different iterations ({found}); "
            "put experiments/ on a disk that all nodes share"
        )


@contextmanager
def missing_ranks_named(kept: Callable[[], str]) -> Iterator[None]:
    """Around work done together: when a process of the run dies, the others say which, and how to go on.

    Args:
        kept: Says what was kept and how to go on from it.

    Raises:
        TrainingError: another rank is gone.
    """
    if not distributed.is_initialized():
        yield
        return
    store = distributed.distributed_c10d._get_default_store()
    rank, world = distributed.get_rank(), distributed.get_world_size()
    store.set(f"srcx/host/{rank}", socket.gethostname())
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        store.set(f"srcx/survives/{rank}", "")
        missing = [other for other in range(world) if not _answers(store, other)]
        names = ", ".join(f"rank {other} on {store.get(f'srcx/host/{other}').decode()}" for other in missing)
        raise TrainingError(f"{names or 'a connection between ranks'} was lost; {kept()}") from error


def _answers(store: distributed.distributed_c10d.Store, rank: int) -> bool:
    try:
        store.wait([f"srcx/survives/{rank}"], ROLL_CALL)
    except distributed.DistStoreError:
        return False
    return True
