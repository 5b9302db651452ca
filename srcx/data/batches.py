"""Endless stream of training batches, independent of the number of workers, ranks and restarts."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate, count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcx.data.dataset import PairDataset
from srcx.data.degradation import sharpen

__all__ = ["Batch", "copied_ahead", "train_batches"]

Batch = dict[str, Tensor]

BATCHES_AHEAD = 2  # for each worker


def train_batches(
    dataset: PairDataset,
    *,
    batch_size: int,
    seed: int,
    start_iter: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    enlarge: int = 1,
    stages: Sequence[tuple[int, int]] = (),
    pin_memory: bool = False,
    gt_sharp: bool = False,
) -> Iterator[Batch]:
    """Yield batches of random crops of `dataset` without end.

    Place p of the stream is draw p % n of epoch p // n, where n is `enlarge` times the number of images.
    An epoch's order depends on (seed, epoch) alone, and a draw's crop on (seed, epoch, draw). So a run that
    starts at `start_iter` continues exactly, and two ranks with 8 crops see the batch of one rank with 16.

    Workers are threads: decoding and resizing leave Python's lock to others, threads share one cache of
    decoded images, and there is nothing to start, to copy between processes, or to fall over at Ctrl-C.

    Args:
        dataset: Made with `gt_size`.
        batch_size: Crops in a batch of this rank.
        seed: Of all that is random here.
        start_iter: Batches to leave out; they are not read.
        workers: Threads that prepare batches ahead; 0 prepares each when it is asked for.
        rank: This process among `world`.
        world: Processes that share the stream: each takes every `world`-th place.
        enlarge: How often each image is drawn in an epoch.
        stages: Sides of the crop, one after another, and the number of batches with each; after them the last
            side stays. Without stages each crop has that of `dataset`, which is the largest. This is the
            progressive learning of Zamir et al., "Restormer", arXiv:2111.09881. Differs from it: the number
            of crops in a batch stays, and a small crop is not cut from a large one.
        pin_memory: Put batches where a GPU fetches them fastest.
        gt_sharp: Add sharpened ground truth to each batch.

    Yields:
        {"lq": (N, C, h, w), "gt": (N, C, H, W)}, float32, in channels-last order in memory; and
        "gt_sharp", gt after an unsharp mask, if it is asked for.

    Raises:
        ImageError: an image cannot be read after all.
    """
    order = _Order(len(dataset) * enlarge, seed)
    sized = [dataset.resized(gt_size) for gt_size, _ in stages] or [dataset]
    ends = list(accumulate(batches for _, batches in stages[:-1]))

    def batch(step: int) -> Batch:
        first = step * batch_size * world + rank
        places = range(first, first + batch_size * world, world)
        sample = sized[bisect_right(ends, step)].sample
        crops = [sample(draw % len(dataset), rng) for draw, rng in map(order.at, places)]
        made = {
            "lq": dataset.levels(np.stack([crop.lq for crop in crops])),
            "gt": dataset.levels(np.stack([crop.gt for crop in crops])),
        }
        if gt_sharp:
            made["gt_sharp"] = dataset.levels(np.stack([sharpen(crop.gt) for crop in crops]))
        return {key: value.pin_memory() for key, value in made.items()} if pin_memory else made

    return _ahead(batch, start_iter, workers) if workers else map(batch, count(start_iter))


def copied_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield `batches` on a GPU; while one is worked on, the next is copied on a stream of its own.

    Args:
        batches: In pinned memory, without which a copy waits for the GPU.
        device: The GPU.
    """
    copies = torch.cuda.Stream(device)

    def copied(batch: Batch) -> Batch:
        with torch.cuda.stream(copies):
            return {key: value.to(device, non_blocking=True) for key, value in batch.items()}

    following = copied(next(batches))
    for batch in batches:
        worker = torch.cuda.current_stream(device)
        worker.wait_stream(copies)
        ready = following
        for value in ready.values():
            value.record_stream(worker)  # its memory is not used again before this stream is done with it
        following = copied(batch)
        yield ready


class _Order:
    """Order of the draws; returns for a place of the stream its draw and its random generator."""

    def __init__(self, draws: int, seed: int) -> None:
        self.draws, self.seed = draws, seed
        self.of_epoch = lru_cache(maxsize=4)(self._of_epoch)

    def at(self, place: int) -> tuple[int, np.random.Generator]:
        epoch, offset = divmod(place, self.draws)
        draw = int(self.of_epoch(epoch)[offset])
        # 0 is the epoch's order, so draws count from 1.
        return draw, np.random.default_rng([self.seed, epoch, 1 + draw])

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch, 0]).permutation(self.draws)


def _ahead(batch: Callable[[int], Batch], start: int, workers: int) -> Iterator[Batch]:
    """Yield `batch(start)`, `batch(start + 1)` ... in order; threads prepare some ahead."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="srcx-batches")
    steps = count(start)
    waiting: deque[Future[Batch]] = deque()
    try:
        while True:
            while len(waiting) < workers * BATCHES_AHEAD:
                waiting.append(pool.submit(batch, next(steps)))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
