"""What a run says of itself: a line on the terminal, JSON lines, TensorBoard, sample sheets."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor


class Tracker:
    """Writes below a run's folder; in other processes than the main one it is silent."""

    def __init__(
        self, out: Path, stage: str, total_steps: int, first_step: int, *, silent: bool
    ) -> None:
        self.out, self.stage, self.total_steps = out, stage, total_steps
        self.started, self.first_step = time.monotonic(), first_step
        self.silent, self.board = silent, None
        if silent:
            return
        forget_after(out / "log.jsonl", first_step)
        if find_spec("tensorboard") is None:
            self.say("TensorBoard is not installed (pip install tensorboard): see log.jsonl")
        else:
            from torch.utils.tensorboard.writer import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1)

    def log(self, step: int, values: Mapping[str, float | int]) -> None:
        """Records the figures of the steps up to `step`."""
        if self.silent:
            return
        with self._forgiving("the figures"):
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            if self.board is not None:
                for name, value in values.items():
                    self.board.add_scalar(name, value, step)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value)
        self.say(f"step {step}/{self.total_steps}  {figures}  {self._time_left(step)} left")

    def sheet(self, step: int, image: Image.Image) -> None:
        """Keeps a sample sheet as `samples/step_XXXXXXXX.png`."""
        folder = self.out / "samples"
        with self._forgiving("a sample sheet"):
            folder.mkdir(exist_ok=True)
            image.save(folder / f"step_{step:08d}.png")

    def say(self, text: str) -> None:
        """Prints a line."""
        if not self.silent:
            print(f"{self.stage}: {text}", flush=True)

    def close(self) -> None:
        """Flushes what is open."""
        if self.board is not None:
            with self._forgiving("the figures"):
                self.board.close()

    @contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        """Lets a full disk cost a line or a picture, not the run."""
        try:
            yield
        except OSError as error:
            self.say(f"warning: cannot write {what}: {error.strerror or error}; training goes on")

    def _time_left(self, step: int) -> str:
        pace = (time.monotonic() - self.started) / max(1, step - self.first_step)
        seconds = round(pace * (self.total_steps - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def forget_after(path: Path, step: int) -> None:
    """Drops the lines of a JSON log that lie after a step, which a resumed run will write again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue  # the line that was being written when the run was killed
    beside = path.with_suffix(".tmp")
    beside.write_text("".join(kept), encoding="utf-8")
    os.replace(beside, path)


class Meter:
    """Means of the figures since they were last read, kept on the device, and images a second."""

    def __init__(self, accelerator: Accelerator, batch_size: int) -> None:
        self.accelerator, self.batch_size = accelerator, batch_size
        self._restart()

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds a step's figures."""
        self.values.append(values)

    def count(self) -> None:
        """Counts a step, whether it had figures or not."""
        self.steps += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps the time of a save or a sheet out of the images a second."""
        start = time.monotonic()
        yield
        self.since += time.monotonic() - start

    def read(self) -> dict[str, float]:
        """Returns the means over steps and processes and the images a second; begins again."""
        figures: dict[str, float] = {}
        if self.values:
            names = list(self.values[0])
            table = torch.stack([torch.stack([v[n].float() for n in names]) for v in self.values])
            means = self.accelerator.reduce(table.mean(0), "mean")
            assert isinstance(means, Tensor)
            figures = dict(zip(names, means.tolist(), strict=True))
        seconds = time.monotonic() - self.since
        figures["images_per_second"] = self.steps * self.batch_size / seconds
        self._restart()
        return figures

    def _restart(self) -> None:
        self.values: list[dict[str, Tensor]] = []
        self.steps, self.since = 0, time.monotonic()
