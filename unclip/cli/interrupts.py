"""Ctrl-C while libraries are loading."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from unclip.training.signals import StopSignal


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Lets a Ctrl-C wait until the block is done: inside imports, callbacks drop it, and a library
    that is being loaded may abort the process.

    Raises:
        KeyboardInterrupt: after the block, if one came.
    """
    with StopSignal() as stop:
        yield
    if stop.received:
        signal.raise_signal(stop.received)
