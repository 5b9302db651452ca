"""Stopping long work cleanly: the first Ctrl-C asks, the second insists."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "listen_for_stop"]

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class StopRequest:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Inside the block the first signal to stop only sets `asked`; a second one interrupts at once.

    The signals are SIGINT, SIGTERM and SIGHUP, which comes when the terminal or its connection is gone; a
    signal that the process was started to ignore, as by `nohup`, stays ignored.
    Outside the main thread signals cannot be caught, and `asked` stays False.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    heeded = [one for one in SIGNALS if one == signal.SIGINT or signal.getsignal(one) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, ask) for signum in heeded}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
