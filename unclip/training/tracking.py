"""What a run says of itself: a line on the terminal, JSON lines, TensorBoard, sample sheets."""

import json
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from PIL import Image


class Tracker:
    """Writes below a run's folder; only the main process has one."""

    def __init__(self, out: Path, stage: str, total_steps: int, first_step: int) -> None:
        self.out, self.stage, self.total_steps = out, stage, total_steps
        self.started, self.first_step = time.monotonic(), first_step
        self.log_file = (out / "log.jsonl").open("a", encoding="utf-8")
        self.board = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"))
        else:
            self.say("tensorboard is not installed; log.jsonl has the same figures")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Records the figures of the steps up to `step`."""
        self.log_file.write(json.dumps({"step": step, **values}) + "\n")
        self.log_file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"step {step}/{self.total_steps}  {figures}  {self._time_left(step)} left")

    def sheet(self, step: int, image: Image.Image) -> None:
        """Keeps a sample sheet as `samples/step_XXXXXXXX.png`."""
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        image.save(folder / f"step_{step:08d}.png")

    def say(self, text: str) -> None:
        """Prints a line."""
        print(f"{self.stage}: {text}", flush=True)

    def close(self) -> None:
        """Flushes what is open."""
        self.log_file.close()
        if self.board is not None:
            self.board.close()

    def _time_left(self, step: int) -> str:
        pace = (time.monotonic() - self.started) / max(1, step - self.first_step)
        seconds = round(pace * (self.total_steps - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
