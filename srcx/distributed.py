"""Work shared by several processes, as `torchrun` and `accelerate launch` start them."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from srcx.errors import SrcxError, TrainingError

if TYPE_CHECKING:
    from torch import distributed

__all__ = [
    "gather",
    "is_main",
    "launched_processes",
    "local_rank",
    "name_lost_ranks",
    "process_group",
    "rank",
    "run_on_main",
    "stray_variables_hidden",
    "world_size",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""The variables that `torchrun` and `accelerate launch` set for each process, all of them."""

GATHER_TIMEOUT = timedelta(days=7)
"""Longest wait of a process for the others, which may have larger images."""

ANSWER_TIMEOUT = timedelta(seconds=5)
"""Longest wait for the answer of a rank that may be lost."""


def _is_initialized() -> bool:
    """Return whether this process is one of a group; without torch it is not."""
    module = sys.modules.get("torch.distributed")
    return module is not None and bool(module.is_initialized())


def rank() -> int:
    """Return this process's number among all, from 0."""
    return int(sys.modules["torch.distributed"].get_rank()) if _is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return int(sys.modules["torch.distributed"].get_world_size()) if _is_initialized() else 1


def local_rank() -> int:
    """Return this process's number among those on this machine: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if _is_initialized() else 0


def is_main() -> bool:
    """Return whether this is rank 0, which writes files and messages."""
    return rank() == 0


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank; every process has to call this."""
    if world_size() == 1:
        return [value]
    from accelerate.utils import gather_object  # a slow import

    values: list[T] = gather_object([value])
    return values


def run_on_main(work: Callable[[], T]) -> T:
    """Run `work` on rank 0; return its result, or raise its error, on every rank."""
    result, error = None, None
    if is_main():
        try:
            result = work()
        except SrcxError as raised:
            error = raised
    result, error = gather((result, error))[0]
    if error:
        raise error
    return result  # type: ignore[return-value] # set where there is no error


def launched_processes() -> int:
    """Return how many processes a launcher started; 1 if one of its variables is missing."""
    missing = [name for name in LAUNCHER_VARIABLES if name not in os.environ]
    size = os.environ.get("WORLD_SIZE", "1")
    if not missing:
        return int(size)
    if size != "1":
        logger.warning(
            "WORLD_SIZE is %s without %s, so it is ignored: this process works alone; torchrun sets all",
            size, ", ".join(missing),
        )  # fmt: skip
    return 1


@contextmanager
def stray_variables_hidden() -> Iterator[None]:
    """Hide a launcher's variables inside the block if one is missing: accelerate trusts any one of them."""
    complete = all(name in os.environ for name in LAUNCHER_VARIABLES)
    hidden = (
        {} if complete else {name: os.environ.pop(name) for name in LAUNCHER_VARIABLES if name in os.environ}
    )
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes that a launcher started, inside the block; one process needs no connection."""
    if launched_processes() == 1:
        yield
        return
    from accelerate import PartialState  # a slow import

    state = PartialState(cpu=True, backend="gloo", timeout=GATHER_TIMEOUT)
    try:
        yield
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


@contextmanager
def name_lost_ranks(describe_checkpoints: Callable[[], str]) -> Iterator[None]:
    """Raise an error that names the ranks that were lost, if one is lost inside the block.

    Args:
        describe_checkpoints: Returns the end of the message: the checkpoints there are, and how to resume.

    Raises:
        TrainingError: another rank was lost.
    """
    if not _is_initialized():
        yield
        return
    from torch import distributed

    store = distributed.distributed_c10d._get_default_store()
    store.set(f"srcx/host/{rank()}", socket.gethostname())
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(f"{_lost_ranks(store)} was lost; {describe_checkpoints()}") from error
    finally:
        distributed.destroy_process_group()


def _lost_ranks(store: "distributed.distributed_c10d.Store") -> str:
    """Return the ranks that do not answer, with their machines; every rank that is left calls this."""
    from torch import distributed

    lost = []
    try:
        store.set(f"srcx/survives/{rank()}", "")
        for other in range(world_size()):
            try:
                store.wait([f"srcx/survives/{other}"], ANSWER_TIMEOUT)
            except distributed.DistStoreError:
                lost.append(f"rank {other} on {store.get(f'srcx/host/{other}').decode()}")
    except distributed.DistNetworkError:
        return "rank 0, which holds the list of ranks,"
    return ", ".join(lost) or "the connection to another rank"
