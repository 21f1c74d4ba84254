"""SIGTERM and SIGINT during training: finish the step, save, leave with 128 + the signal's number."""

import signal
from types import FrameType

import torch
from accelerate import Accelerator


class StopSignal:
    """Context manager that notes the first signal; a second one has its ordinary effect."""

    HANDLED = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> "StopSignal":
        self.before = {number: signal.signal(number, self._note) for number in self.HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def agreed(self, accelerator: Accelerator) -> bool:
        """Tells whether any process got a signal, so that all stop after the same step."""
        if accelerator.num_processes == 1:
            return self.received != 0
        flag = torch.tensor(float(self.received), device=accelerator.device)
        highest = accelerator.gather(flag.reshape(1)).max()  # type: ignore[union-attr]  # a tensor in, a tensor out
        self.received = int(highest)
        return self.received != 0

    def exit_if_asked(self) -> None:
        """Leaves the process after a signal; what was done is saved."""
        if self.received:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
