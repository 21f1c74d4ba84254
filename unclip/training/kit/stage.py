"""Trains one stage until its time is over, cosine and all.

A short stretch of the run measures its speed; then it goes on with so many steps that the learning
rate ends with the time. SIGTERM is the backstop: what was trained until then is saved and exported.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from unclip.errors import CancelledError
from unclip.training.kit.launch import Launch, Logged, Run
from unclip.training.kit.plan import SLACK, ends_in_time, steps_within
from unclip.training.signals import StopSignal

STRETCH_SECONDS = 20.0
"""At most; a tenth of the stage's time where that is less."""
STRETCH_LOG_EVERY = 5
FAR = 100
"""The stretch is trained as the start of a run this many times as long as the recipe's."""
POLL_SECONDS = 0.25


@dataclass(kw_only=True, slots=True)
class Trained:
    """What is known of a stage's training so far."""

    from_step: int | None = None
    step: int = 0
    wall_seconds: float = 0.0
    overhead_seconds: float = 0.0
    """A run takes it beside its steps: to start, to save and to end."""
    step_seconds: float = 0.0
    last_loss: float | None = None
    final: bool = False
    """Whether the averaged weights are exported as of the last step."""
    done: bool = False
    group: int = 0
    """The process group that trains it, or trained it last."""


class StageTraining:
    """One stage within its time; `note` is called when more is known: at once if told so."""

    def __init__(
        self,
        run: Run,
        trained: Trained,
        deadline: float,
        end: float,
        stop: StopSignal,
        note: Callable[[bool], None],
    ) -> None:
        """Takes the deadline, and the end of the whole call, in seconds since the epoch."""
        self.run, self.trained, self.deadline, self.end = run, trained, deadline, end
        self.stop, self.note = stop, note
        self.before, self.begun = trained.wall_seconds, time.time()

    def train(self) -> None:
        """Trains, and exports the stage.

        Raises:
            TrainingDivergedError: the run failed.
            CancelledError: a signal came; all is saved.
        """
        trained = self.trained
        if not self._stretch():
            seconds = self.deadline - time.time()
            steps = steps_within(seconds, trained.overhead_seconds, trained.step_seconds or 1.0)
            self._go_on(self.run.step() + steps)
        in_time = time.time() + trained.overhead_seconds <= self.end
        if not trained.final and in_time and self.run.step() > 0:
            self._export()
        last = self.run.logged(self.begun, first_step=-1)
        trained.last_loss = last.loss if last else trained.last_loss
        trained.step, trained.done = self.run.step(), True
        self._see(None)

    def _stretch(self) -> bool:
        """Trains a little to measure the run's start and its speed; True if that was the whole."""
        recipe = yaml.safe_load(self.run.config.read_text(encoding="utf-8"))["train"]["steps"]
        wanted = min(STRETCH_SECONDS, (self.deadline - self.begun) / 10)
        first: Logged | None = None
        with self._launch(self.run.step() + FAR * recipe, log_every=STRETCH_LOG_EVERY) as launch:
            while not self._is_late():
                if self._wait(launch):
                    self.trained.final = True
                    return True
                last = launch.logged()
                self._see(last)
                if last is None:
                    continue
                if first is None:
                    first = last
                    self.trained.overhead_seconds = last.at - launch.since
                self._pace(first, last)
                if last.step > first.step and last.at - first.at >= wanted:
                    break
            stopping = time.time()
        self.trained.overhead_seconds += time.time() - stopping
        return False

    def _go_on(self, steps: int) -> None:
        """Trains to the last step, or as far as the time goes."""
        if steps <= self.run.step():
            return
        first: Logged | None = None
        with self._launch(steps) as launch:
            while not self._wait(launch):
                last = launch.logged()
                self._see(last)
                first = first or last
                if first is not None and last is not None:
                    self._pace(first, last)
                # A run that will not end in time is stopped while its export can.
                left, pace = self.deadline - time.time(), self.trained.step_seconds
                in_time = ends_in_time(steps - self.trained.step, pace, left)
                if left <= 0 or (self._is_late() and not in_time):
                    break
        # The last step may be done, and the rest just under way.
        self.trained.final = self.run.is_final(steps, launch.since)

    def _export(self) -> None:
        """Runs the trainer to the step where it stands: it exports the average and ends."""
        with self._launch(self.run.step()) as launch:
            while not self._wait(launch):
                if time.time() > self.end:
                    break
        self.trained.final = self.run.is_final(self.run.step(), launch.since)

    def _pace(self, first: Logged, last: Logged) -> None:
        """Takes down the seconds of a step, checkpoints and sheets among them included."""
        if last.step > first.step:
            pace = (last.at - first.at) / (last.step - first.step)
            self.trained.step_seconds = max(pace, 1e-4)

    def _is_late(self) -> bool:
        """Says whether what is left is needed for another start of the run, which exports it."""
        return self.deadline - time.time() <= SLACK * self.trained.overhead_seconds + 2

    def _launch(self, steps: int, **settings: int) -> Launch:
        launch = Launch(self.run, steps, **settings)
        self.trained.group = launch.process.pid
        self.note(True)
        return launch

    def _wait(self, launch: Launch) -> bool:
        """Waits a moment; says whether the run has ended."""
        if self.stop.received:
            launch.stop()
            self._see(None)
            error = CancelledError("stopped by a signal, all is saved; the same command goes on")
            error.exit_code = 128 + self.stop.received
            raise error
        if launch.is_over():
            self._see(launch.logged())
            return True
        time.sleep(POLL_SECONDS)
        return False

    def _see(self, last: Logged | None) -> None:
        """Takes down where the run stands."""
        trained = self.trained
        trained.wall_seconds = round(self.before + time.time() - self.begun, 1)
        if last is None:
            trained.step = max(trained.step, self.run.step())
        else:
            trained.step, trained.last_loss = last.step, last.loss
        self.note(False)


def run_of(stage: str, configs: Path) -> Run:
    """Returns the run of a stage, in the folder that its configuration gets by default."""
    return Run(
        stage=stage, config=configs / f"{stage}.yaml", out=Path("runs") / configs.name / stage
    )
