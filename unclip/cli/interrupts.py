"""Ctrl-C while libraries are loading."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Lets a Ctrl-C wait until the block is done: inside imports, callbacks drop it, and a library
    that is being loaded may abort the process.

    Raises:
        KeyboardInterrupt: after the block, if one came.
    """
    before, received = signal.getsignal(signal.SIGINT), []
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: received.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt
