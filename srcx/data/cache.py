"""Decoded images kept in memory, the least recently used ones given up first."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageCache"]

Arrays = tuple[NDArray[np.uint8], ...]


class ImageCache:
    """Keeps tuples of arrays by number, up to `max_mib` MiB in all; safe between threads.

    Example:
        >>> cache = ImageCache(max_mib=1)
        >>> read = lambda: (np.zeros((512, 512), np.uint8),)
        >>> cache.get(0, read)[0] is cache.get(0, read)[0]
        True
    """

    def __init__(self, max_mib: int) -> None:
        self.max_bytes = max_mib * 2**20
        self._kept: OrderedDict[int, Arrays] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, number: int, read: Callable[[], Arrays]) -> Arrays:
        """What is kept under `number`, or what `read` returns, which is then kept."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        arrays = read()  # outside the lock: two threads may read at once
        with self._lock:
            self._keep(number, arrays)
        return arrays

    def _keep(self, number: int, arrays: Arrays) -> None:
        size = _bytes(arrays)
        if number in self._kept or size > self.max_bytes:
            return
        self._kept[number] = arrays
        self._bytes += size
        while self._bytes > self.max_bytes:
            _, given_up = self._kept.popitem(last=False)
            self._bytes -= _bytes(given_up)


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
