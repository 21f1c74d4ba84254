"""Trains stages inside a kit within given minutes; `kit.json` says what was done.

A call that was cut off goes on when it is given again: what it has finished it leaves, and its
minutes count anew. All paths are relative to the kit, which is the working directory.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unclip.checkpoint import CONFIG
from unclip.data.drawings import travel
from unclip.data.drawings.files import write_whole
from unclip.data.drawings.records import TABLE
from unclip.errors import BackendError, CancelledError, ConfigError
from unclip.training import carry
from unclip.training.kit.contents import ABOUT, JUDGE, RUNS, SET
from unclip.training.kit.launch import stop_orphan
from unclip.training.kit.logs import unpack_logs
from unclip.training.kit.plan import CHOSEN, in_order, share
from unclip.training.kit.stage import StageTraining, Trained, run_of
from unclip.training.signals import StopSignal

RECORD = Path("kit.json")
NOTE_SECONDS = 5.0
SAVING_SECONDS = 4.0
"""Kept back from the minutes for the last save."""
MODULES_THERE = ("accelerate", "transformers", "torchvision")
"""What no wheel is packed of: a machine brings it."""


class Session:
    """One call of `kit.sh train`."""

    def __init__(self, minutes: float, stages: Sequence[str], begun: float) -> None:
        """Takes the time of the call, in seconds since the epoch.

        Raises:
            ConfigError: this is no kit, or a stage is unknown.
        """
        if not Path(ABOUT).is_file():
            raise ConfigError(f"{Path.cwd()} is no kit: make one with kit.sh pack")
        self.about = json.loads(Path(ABOUT).read_text(encoding="utf-8"))
        self.configs, self.set = Path(self.about["configs"]), Path(self.about["set"])
        self.runs = self.set.parent
        self.stages = in_order(stages)
        self.begun, self.end = begun, begun + 60 * minutes - SAVING_SECONDS
        self.noted = 0.0
        self.calls = self._read_calls()
        self.call = self._continued() or self._fresh(minutes)

    def train(self, stop: StopSignal) -> str:
        """Sets up, trains and chooses; returns what was trained.

        Raises:
            ConfigError: prior or decoder have no CLIP, or another than they were trained on.
            BackendError: a package is missing on this machine.
            CheckpointError, DataError: what was carried here is damaged.
            TrainingDivergedError: a run failed.
            CancelledError: a signal came; all is saved.
        """
        self._set_up()
        for stage in self.stages:
            left = [each for each in self.stages if not self._trained(each).done]
            if stage in left:
                self._train_one(stage, left, stop)
        for stage in self._to_choose():
            self._choose(stage, stop)
        self.call["done"] = True
        self._note(force=True)
        return "\n".join(self._summary(stage) for stage in self.stages)

    def _set_up(self) -> None:
        """Checks what can be checked, then unpacks runs and drawings, once."""
        for name in MODULES_THERE:
            if find_spec(name) is None:
                raise BackendError(f"this machine has no {name}, which training needs: install it")
        for call in self.calls:
            for stage, trained in call["trained"].items():
                stop_orphan(trained["group"], self.runs / stage)
        if Path(RUNS).is_dir():
            carry.unpack(Path(RUNS), self.runs)
            unpack_logs(Path(RUNS), self.runs)
        self._check_clip()
        if not (self.set / TABLE).is_file():
            say("rendering the drawings")
            making = self.runs / "set.making"
            shutil.rmtree(making, ignore_errors=True)
            travel.unpack(Path(SET), making / "set", os.cpu_count() or 1)
            os.rename(making / "set", self.set)
            shutil.rmtree(making, ignore_errors=True)
        self.call.setdefault("setup_seconds", round(time.time() - self.begun, 1))
        self._note(force=True)

    def _check_clip(self) -> None:
        hanging = [stage for stage in CHOSEN if stage in self.stages]
        clip = self.runs / "clip"
        if "clip" in self.stages and not self._trained("clip").done:
            stale = [stage for stage in CHOSEN if run_of(stage, self.configs).step()]
            if stale:
                raise ConfigError(
                    f"clip would be trained on, but {' and '.join(stale)} here hang on it as it "
                    "is: leave clip out, or pack a kit without these runs"
                )
        elif hanging and not (clip / "final" / CONFIG).is_file():
            raise ConfigError(
                f"{' and '.join(hanging)} need a CLIP: train clip, too, or pack the run of one"
            )

    def _train_one(self, stage: str, left: Sequence[str], stop: StopSignal) -> None:
        run = run_of(stage, self.configs)
        trained = self._trained(stage)
        if trained.from_step is None:
            trained.from_step = run.step()
        choosing = len(self._to_choose()) if Path(JUDGE).is_dir() else 0
        seconds = share(self.end - time.time(), left, choosing)
        say(f"{stage}: {seconds / 60:.1f} minutes, from step {run.step()}")

        def note(at_once: bool) -> None:
            self.call["trained"][stage] = asdict(trained)
            self._note(force=at_once)

        deadline = time.time() + seconds
        try:
            StageTraining(run, trained, deadline, self.end, stop, note).train()
        finally:
            note(True)
            say(self._summary(stage))

    def _to_choose(self) -> list[str]:
        return [stage for stage in CHOSEN if stage in self.stages]

    def _choose(self, stage: str, stop: StopSignal) -> None:
        """Lets the short suite choose, if a judge and a whole chain are there and time is left."""
        finals = {kind: self.runs / kind / "final" for kind in ("clip", *CHOSEN)}
        is_whole = all((folder / CONFIG).is_file() for folder in finals.values())
        if not Path(JUDGE).is_dir() or not is_whole:
            return
        command = [sys.executable, "-m", "unclip.pipeline.choose", str(self.runs / stage), "--once"]
        command += ["--judge", JUDGE, "--set", str(self.set), "--with"]
        command += [f"{kind}={folder}" for kind, folder in finals.items()]
        with subprocess.Popen(command) as process:
            while process.poll() is None and not stop.received and time.time() < self.end:
                time.sleep(0.25)
            process.terminate()
        if stop.received:
            error = CancelledError("stopped by a signal; the same command goes on")
            error.exit_code = 128 + stop.received
            raise error
        if process.returncode:
            say(f"{stage}: not chosen (exit code {process.returncode})")

    def _read_calls(self) -> list[dict[str, Any]]:
        if not RECORD.is_file():
            return []
        return json.loads(RECORD.read_text(encoding="utf-8"))["calls"]

    def _continued(self) -> dict[str, Any] | None:
        """Returns the last call if it was the same one, and was cut off."""
        last = self.calls[-1] if self.calls else None
        return last if last and not last["done"] and last["stages"] == self.stages else None

    def _fresh(self, minutes: float) -> dict[str, Any]:
        begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.begun))
        call = {"stages": self.stages, "minutes": minutes, "begun": begun, "done": False}
        call |= {"hardware": hardware(), "trained": {}}
        self.calls.append(call)
        return call

    def _trained(self, stage: str) -> Trained:
        found = self.call["trained"].get(stage)
        return Trained(**found) if found else Trained()

    def _note(self, *, force: bool = False) -> None:
        """Writes kit.json, every few seconds or now."""
        if force or time.time() - self.noted >= NOTE_SECONDS:
            self.noted = time.time()
            content = json.dumps({"kit": self.about, "calls": self.calls}, indent=1) + "\n"
            write_whole(RECORD, content.encode())

    def _summary(self, stage: str) -> str:
        trained = self._trained(stage)
        loss = "none" if trained.last_loss is None else f"{trained.last_loss:.4g}"
        end = "" if trained.final else ", not exported"
        return (
            f"{stage}: steps {trained.from_step} to {trained.step} in "
            f"{trained.wall_seconds / 60:.1f} minutes, loss {loss}{end}"
        )


def say(text: str) -> None:
    """Prints a line."""
    print(f"kit: {text}", flush=True)


def hardware() -> dict[str, Any]:
    """Says what machine this is."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found = {"gpu": gpu, "cpus": os.cpu_count(), "machine": platform.machine()}
    return {**found, "torch": torch.__version__, "python": platform.python_version()}
