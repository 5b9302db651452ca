"""The processes of one training run: what they must agree on, and which of them is missing."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch import distributed

from srcx.errors import TrainingError

__all__ = ["agree_on_start", "working_together"]

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
def working_together(kept: Callable[[], str]) -> Iterator[None]:
    """Around all that the processes of a run do together; when one dies, the others say which.

    Args:
        kept: Says what was kept and how to go on from it.

    Raises:
        TrainingError: another rank is gone.
    """
    if not distributed.is_initialized():
        yield
        return
    store = distributed.distributed_c10d._get_default_store()
    store.set(f"srcx/host/{distributed.get_rank()}", socket.gethostname())
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(f"{_missing(store)} was lost; {kept()}") from error
    finally:
        distributed.destroy_process_group()


def _missing(store: distributed.distributed_c10d.Store) -> str:
    """Call the roll: names the ranks that do not answer."""
    try:
        store.set(f"srcx/survives/{distributed.get_rank()}", "")
        missing = [rank for rank in range(distributed.get_world_size()) if not _answers(store, rank)]
        names = [f"rank {rank} on {store.get(f'srcx/host/{rank}').decode()}" for rank in missing]
    except distributed.DistNetworkError:
        return "rank 0, which keeps the roll,"
    return ", ".join(names) or "the connection to another rank"


def _answers(store: distributed.distributed_c10d.Store, rank: int) -> bool:
    try:
        store.wait([f"srcx/survives/{rank}"], ROLL_CALL)
    except distributed.DistStoreError:
        return False
    return True
