"""Chooses what to keep of a run while it trains: the stage that the short suite likes best.

    python -m unclip.pipeline.choose runs/pocket/decoder --with pocket \
        --judge benchmarks/judge/weights --set runs/pocket/set

Runs beside the training of a prior or a decoder. The averaged weights of each new checkpoint are
joined with the other stages of a model and measured; each is a line of `scores.jsonl` in the run's
folder, and the best one so far is its `best/`, an ordinary stage folder. It ends when the run has
ended and its last checkpoint is measured. Started again, it goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from unclip.checkpoint import CONFIG, StageFolder, load_stage, save_stage, verify_folder
from unclip.errors import CheckpointError, ConfigError, run_command
from unclip.evaluation.measure import score
from unclip.pipeline.assemble import FINAL, parse_parts, stage_folder
from unclip.pipeline.folders import ModelStages, find_model, read_model
from unclip.pipeline.trial import Trial, averaged_stage, check, open_trial
from unclip.training.signals import StopSignal
from unclip.training.state import checkpoint_folders, newest_whole

SCORES = "scores.jsonl"
BEST = "best"
POLL_SECONDS = 10


class Chooser:
    """Measures the checkpoints of one run, newest first, and keeps the best."""

    def __init__(self, run: Path, trial: Trial, stop: StopSignal) -> None:
        self.run, self.trial, self.stop = run, trial, stop
        self.name = ""
        """The trial's, once the kind of the run's stage is known."""

    def measure_one(self, checkpoints: Sequence[Path]) -> bool:
        """Measures the last of these checkpoints that is whole and not measured; False if all are.

        Raises:
            CheckpointError: its stage does not fit the model's others.
            CancelledError: a signal came.
        """
        for folder in reversed(checkpoints):
            if self.is_measured(folder):
                continue
            try:
                step, candidate = averaged_stage(folder)
            except CheckpointError:
                if _is_whole(folder):
                    raise  # of another stage
                continue  # removed meanwhile, or damaged
            self._renew_best(candidate.stage)
            if not self.is_measured(folder):
                self._take(step, candidate)
            return True
        return False

    def follow(self) -> None:
        """Measures what comes, until the run is over.

        Raises:
            CheckpointError: a stage does not fit the model's others.
            CancelledError: a signal came.
        """
        while True:
            worked = self.measure_one(checkpoint_folders(self.run / "checkpoints"))
            if self.is_over():
                return
            for _ in range(0 if worked else POLL_SECONDS):
                time.sleep(1)
                check(self.stop)

    def is_measured(self, checkpoint: Path) -> bool:
        """Says whether a checkpoint has its line of this trial."""
        number = int(checkpoint.name.removeprefix("step_"))
        return any(line["step"] == number and line["trial"] == self.name for line in self._lines())

    def is_over(self) -> bool:
        """Says whether the run has ended and its last checkpoint is measured."""
        folders = checkpoint_folders(self.run / "checkpoints")
        if not (self.run / FINAL / CONFIG).is_file() or not folders:
            return False
        return _has_all_steps(self.run, folders[-1]) and self.is_measured(folders[-1])

    def _renew_best(self, kind: str) -> None:
        """Measures the stage kept so far again when it was chosen on another trial."""
        self.name = self.trial.name(kind)
        if not (self.run / BEST / CONFIG).is_file():
            return
        kept = load_stage(self.run / BEST, kind)
        if kept.metadata.get("trial") != self.name:
            self._take(int(kept.metadata["step"]), kept, anyway=True)

    def _take(self, step: int, candidate: StageFolder, *, anyway: bool = False) -> None:
        """Measures, keeps what is best, and writes the line last: a kill costs a measurement."""
        start = time.monotonic()
        measured = self.trial.measure(candidate, self.stop)
        value, best = score(measured), self._best_score()
        if anyway or best is None or value > best:
            about = candidate.metadata | {"step": step, "score": value, "trial": self.name}
            save_stage(self.run / BEST, replace(candidate, metadata=about))
        line: dict[str, Any] = {"step": step, "score": value, "trial": self.name}
        line["judge"] = measured.judge
        line["figures"] = {figure.key: figure.made.value for figure in measured.figures}
        line["seconds"] = round(time.monotonic() - start, 1)
        with (self.run / SCORES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"step {step}: score {value:.4f}, {line['seconds']:.0f} s", flush=True)

    def _best_score(self) -> float | None:
        if not (self.run / BEST / CONFIG).is_file():
            return None
        return float(load_stage(self.run / BEST).metadata["score"])

    def _lines(self) -> list[dict[str, Any]]:
        path = self.run / SCORES
        if not path.is_file():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the line that was being written when it was killed
        return found


def _is_whole(folder: Path) -> bool:
    try:
        verify_folder(folder)
    except CheckpointError:
        return False
    return True


def _has_all_steps(run: Path, newest: Path) -> bool:
    """A run that was given more steps still has the final stage of the former ones."""
    path = run / "config.yaml"
    if not path.is_file():
        return True  # carried here: nothing trains
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["train"]["steps"]
    return int(newest.name.removeprefix("step_")) >= steps


def others(parts: Sequence[str]) -> ModelStages:
    """Reads a model, or stages as `unclip assemble` takes them.

    Raises:
        CheckpointError: there is no such model, or a stage is missing or damaged.
    """
    if len(parts) == 1 and "=" not in parts[0]:
        return read_model(find_model(parts[0])[0])
    found = parse_parts(parts)
    folders = {kind: stage_folder(found[kind][0]) for kind in ("clip", "prior", "decoder")}
    clip, prior, decoder = (load_stage(folder, kind) for kind, folder in folders.items())
    return ModelStages("parts", clip, prior, decoder, ())


def choose(run: Path, trial: Trial, *, once: bool) -> str:
    """Measures a run's newest checkpoint, or all that come until it ends; says what is best.

    Raises:
        ConfigError: there is no run.
        CheckpointError: it has no whole checkpoint, or its stage does not fit the others.
        CancelledError: a signal came.
    """
    if not run.is_dir():
        raise ConfigError(f"there is no training run {run}: start it first")
    with StopSignal() as stop:
        chooser = Chooser(run, trial, stop)
        if once:
            chooser.measure_one([newest_whole(run / "checkpoints")])
        else:
            chooser.follow()
    about = load_stage(run / BEST).metadata
    return f"best: step {about['step']}, score {about['score']:.4f}, in {run / BEST}"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.pipeline.choose")
    parser.add_argument("run", type=Path, help="run folder of a prior or a decoder")
    parser.add_argument(
        "--with",
        dest="model",
        nargs="+",
        required=True,
        metavar="MODEL",
        help="a model, or clip=DIR prior=DIR decoder=DIR: the other stages",
    )
    parser.add_argument("--judge", type=Path, required=True, help="folder of the judge's weights")
    parser.add_argument("--set", type=Path, help="the built set; without it nothing is held out")
    parser.add_argument("--once", action="store_true", help="end after the newest checkpoint")
    options = parser.parse_args(argv)

    def work() -> str:
        trial = open_trial(others(options.model), options.judge, options.set)
        return choose(options.run, trial, once=options.once)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
