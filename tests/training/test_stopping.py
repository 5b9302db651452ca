import signal
import subprocess
import sys

import pytest

from srcx.training.run import stop_on_signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _signals_are_harmless():
    """One that is not listened to would end the tests."""
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_requests_a_stop_and_the_second_interrupts(number):
    """In a process of its own, which an interrupt that escapes may end."""
    code = f"""
import signal
from srcx.training.run import stop_on_signal

signal.signal({int(number)}, lambda *_: None)  # the process may have been started to ignore it
with stop_on_signal() as stop:
    print(stop.requested)
    signal.raise_signal({int(number)})
    print(stop.requested)
    try:
        signal.raise_signal({int(number)})
    except KeyboardInterrupt:
        print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\ninterrupted\n"
    assert (
        done.stderr
        == "\nstopping after this iteration or validation and saving it; a second Ctrl-C stops at once\n"
    )


def test_ranks_that_do_not_write_say_nothing():
    code = (
        "import signal; from srcx.training.run import stop_on_signal\n"
        "with stop_on_signal(announced=False) as stop:\n"
        "    signal.raise_signal(signal.SIGTERM); print(stop.requested)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with stop_on_signal():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_a_lost_terminal_stops_nothing_under_nohup():
    code = (
        "import os, signal; from srcx.training.run import stop_on_signal\n"
        "with stop_on_signal() as stop:\n    os.kill(os.getpid(), signal.SIGHUP); print(stop.requested)"
    )
    done = subprocess.run(["nohup", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
