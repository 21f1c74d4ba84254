"""SIGTERM and SIGINT: finish what is under way (a picture, an import), then stop."""

import signal
import time
from types import FrameType

ECHO_SECONDS = 2.0
"""Ctrl-C comes twice, from the terminal and from the launcher; within this time it is one."""


class StopSignal:
    """Context manager that notes the first signal; a later one has its ordinary effect."""

    HANDLED: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received = 0
        """The signal's number, or 0."""
        self.since = 0.0

    def __enter__(self) -> "StopSignal":
        self.before = {number: signal.signal(number, self._note) for number in self.HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def exit_if_asked(self) -> None:
        """Leaves the process after a signal; what was done is saved."""
        if self.received:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.received:
            self.received, self.since = number, time.monotonic()
        elif time.monotonic() - self.since > ECHO_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
