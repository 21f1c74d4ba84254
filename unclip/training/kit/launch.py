"""A training run in a process of its own: started, watched by its log, stopped by SIGTERM."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclip.checkpoint import CONFIG
from unclip.errors import TrainingDivergedError
from unclip.training.folder import LOCK
from unclip.training.kit.plan import MODULES
from unclip.training.state import checkpoint_folders

OUTPUT = "output.txt"
LAUNCH = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
)
SAVING_SECONDS = 120
"""How long a stopped run may take to finish its step and save."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """The last line of a run's log."""

    step: int
    loss: float
    at: float
    """When it was written, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The run of one stage."""

    stage: str
    config: Path
    out: Path

    def step(self) -> int:
        """Returns the step of the newest checkpoint; 0 where there is none."""
        folders = checkpoint_folders(self.out / "checkpoints")
        return int(folders[-1].name.removeprefix("step_")) if folders else 0

    def is_final(self, steps: int, since: float) -> bool:
        """Says whether all steps are done, and the stage exported since that time."""
        config = self.out / "final" / CONFIG
        return self.step() >= steps and config.is_file() and config.stat().st_mtime >= since

    def logged(self, since: float, first_step: int) -> Logged | None:
        """Returns the last line of the log, if it was written since that time and that step."""
        path = self.out / "log.jsonl"
        try:
            at = path.stat().st_mtime
            last = path.read_text(encoding="utf-8").splitlines()[-1]
            found = json.loads(last)
        except (OSError, ValueError, IndexError):
            return None  # none yet, or just being written
        # The figures of a step that was refused have no loss.
        if at < since or found["step"] <= first_step or "loss" not in found:
            return None
        return Logged(step=found["step"], loss=found["loss"], at=at)


class Launch:
    """A process that trains a run; leaving the block stops it."""

    def __init__(self, run: Run, steps: int, **settings: Any) -> None:
        """Starts it; settings are those of `train`."""
        self.run, self.since, self.first_step = run, time.time(), run.step()
        command = [*LAUNCH, "-m", MODULES[run.stage], "--config", str(run.config)]
        command += ["--out", str(run.out), "--set", f"train.steps={steps}"]
        for name, value in settings.items():
            command += ["--set", f"train.{name}={value}"]
        run.out.mkdir(parents=True, exist_ok=True)
        with (run.out / OUTPUT).open("ab") as output:
            self.said_before = output.tell()
            # A session of its own: Ctrl-C reaches the kit alone, which then stops it in order.
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def __enter__(self) -> "Launch":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def logged(self) -> Logged | None:
        """Returns the last line that it logged; None as long as there is none."""
        return self.run.logged(self.since, self.first_step)

    def is_over(self) -> bool:
        """Says whether it has ended.

        Raises:
            TrainingDivergedError: it failed; the message is the last line it said.
        """
        code = self.process.poll()
        if code:
            said = (self.run.out / OUTPUT).read_bytes()[self.said_before :]
            lines = said.decode("utf-8", errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            why = errors[-1].removeprefix("error: ") if errors else f"exit code {code}"
            raise TrainingDivergedError(
                f"the training of {self.run.stage} failed: {why} (see {self.run.out / OUTPUT})"
            )
        return code == 0

    def stop(self) -> None:
        """Lets it finish its step and save; what does not end then is killed."""
        if self.process.poll() is None:
            stop_group(self.process.pid, self.run.out)
            self.process.wait()


def stop_group(group: int, out: Path) -> None:
    """Sends SIGTERM to a process group, and waits until nobody trains in the run's folder."""
    for number, patience in ((signal.SIGTERM, SAVING_SECONDS), (signal.SIGKILL, 10)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not is_trained(out):
                return
            time.sleep(0.1)


def is_trained(out: Path) -> bool:
    """Says whether a process holds the run's folder."""
    try:
        with (out / LOCK).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no folder yet
    return False


def stop_orphan(group: int, out: Path) -> None:
    """Stops what a killed kit left training in a run's folder; nobody else's training."""
    if not is_trained(out):
        return
    words = (out / LOCK).read_text(encoding="utf-8").split()
    try:
        if os.getpgid(int(words[1])) == group:
            stop_group(group, out)
    except (IndexError, ValueError, ProcessLookupError):
        return  # it ended meanwhile, or the trainer will say whose it is
