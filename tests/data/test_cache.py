import threading

import numpy as np

from srcx.data.dataset import ImageCache


def image(kib):
    return (np.zeros(kib * 1024, np.uint8),)


def counted(reads, number, kib):
    def read():
        reads.append(number)
        return image(kib)

    return read


def test_the_least_recently_used_image_is_given_up_first():
    cache, reads = ImageCache(max_mib=1), []
    for number in (0, 1, 0, 2, 0, 1):  # two of 400 KiB fit
        cache.get(number, counted(reads, number, 400))
    assert reads == [0, 1, 2, 1]


def test_an_image_larger_than_the_cache_is_not_stored_and_removes_nothing():
    cache, reads = ImageCache(max_mib=1), []
    for number, kib in ((0, 100), (1, 2000), (1, 2000), (0, 100)):
        cache.get(number, counted(reads, number, kib))
    assert reads == [0, 1, 1]


def test_a_cache_of_size_zero_stores_nothing():
    cache, reads = ImageCache(max_mib=0), []
    for _ in range(2):
        cache.get(0, counted(reads, 0, 1))
    assert reads == [0, 0]


def test_a_image_that_two_threads_read_at_once_is_counted_once():
    cache, both = ImageCache(max_mib=1), threading.Barrier(2)

    def read():
        both.wait(timeout=10)
        return image(400)

    threads = [threading.Thread(target=cache.get, args=(0, read)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache._bytes == 400 * 1024


def test_threads_may_share_it_and_the_bound_holds():
    cache = ImageCache(max_mib=1)

    def work(seed):
        for number in np.random.default_rng(seed).integers(0, 20, 300):
            assert len(cache.get(int(number), lambda: image(100))[0]) == 102400

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache._bytes == sum(array.nbytes for arrays in cache._cached.values() for array in arrays) <= 2**20
