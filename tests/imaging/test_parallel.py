import threading

import pytest

from srcx.imaging.parallel import in_parallel


def test_results_come_in_order():
    assert list(in_parallel(lambda number: number * 2, range(50), workers=4)) == [2 * n for n in range(50)]


def test_nothing_more_is_begun_when_the_caller_stops():
    begun, go = [], threading.Event()

    def work(number):
        begun.append(number)
        if number:
            go.wait(5)
        return number

    results = in_parallel(work, range(100), workers=2)
    assert next(results) == 0
    threading.Timer(0.05, go.set).start()
    results.close()
    assert len(begun) <= 4


def test_an_error_comes_through():
    def work(number):
        raise ValueError(number)

    with pytest.raises(ValueError, match="7"):
        list(in_parallel(work, [7]))
