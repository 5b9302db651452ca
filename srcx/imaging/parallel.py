"""Work on many images at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from srcx.hardware import cores

__all__ = ["in_parallel"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield the results of `work` on each item, in order; when the caller stops, no new item is started.

    Threads are enough: decoding, resizing, encoding and waiting for a server all leave Python's lock.

    Args:
        work: Called with each item.
        items: The items.
        workers: Threads; one for each core by default.
    """
    pool = ThreadPoolExecutor(workers or cores(), thread_name_prefix="srcx-images")
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
