"""What stops a training: SIGTERM, SIGUSR1, Ctrl-C, the end of its launcher. Linux and macOS.

The first signal to any process of a run lets all of them finish the step and save.
"""

import ctypes
import os
import signal
import socket
import threading
import time
from types import FrameType

from unclip.training.signals import ECHO_SECONDS, StopSignal

REQUEUE = 85
"""Exit code of a run that was stopped by a signal before its last step, and has saved."""
LAUNCHER_IS_GONE = signal.SIGUSR2
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""


class TrainingSignal(StopSignal):
    """Notes SIGUSR1, too, and the end of the launcher; a second signal ends the process at once,
    even while it waits for another one.

    A launcher that is killed, or that does not pass a signal on, would leave its processes behind.
    """

    HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, LAUNCHER_IS_GONE)

    def __enter__(self) -> "TrainingSignal":
        super().__enter__()
        # Python runs its handlers between two of its own instructions, of which there are none
        # while a process waits for another: a thread hears of signals in any case.
        self.ear, self.mouth = socket.socketpair()
        self.mouth.setblocking(False)
        self.wakeup_before = signal.set_wakeup_fd(self.mouth.fileno(), warn_on_full_buffer=False)
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        if is_launched():
            tell_when_parent_ends(LAUNCHER_IS_GONE)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self.wakeup_before)
        super().__exit__()
        self.mouth.close()
        self.listener.join()
        self.ear.close()

    def agree(self, anyone: bool) -> bool:
        """Takes over what the processes found together: a signal to one of them stops all."""
        if anyone and not self.received:
            self.received = signal.SIGTERM
        return anyone

    def exit_if_asked(self) -> None:
        """Leaves the process after a signal with 130 for Ctrl-C, else with `REQUEUE`."""
        if self.received:
            raise SystemExit(128 + signal.SIGINT if self.received == signal.SIGINT else REQUEUE)

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.received:
            self.received, self.since = number, time.monotonic()

    def _listen(self) -> None:
        while numbers := self.ear.recv(64):
            for number in numbers:
                if number not in self.HANDLED:
                    continue
                is_second = self.received and time.monotonic() - self.since > ECHO_SECONDS
                if is_second and number != LAUNCHER_IS_GONE:
                    os._exit(128 + number)
                self._note(number, None)


def is_launched() -> bool:
    """Says whether this process was started by `accelerate launch` or torchrun."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def tell_when_parent_ends(number: signal.Signals) -> None:
    """Asks Linux for a signal at the end of the process that started this one."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    except (OSError, AttributeError):
        return  # another system: an orphan trains on, and can be stopped by its own number
