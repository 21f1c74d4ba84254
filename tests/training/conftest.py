"""Runs the toy stage, in this process or in a fresh one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import toy_stage
import yaml
from accelerate.state import AcceleratorState, GradientState

from unclip.training import tracking

SCRIPT = Path(toy_stage.__file__)
SETTINGS = {
    "steps": 10,
    "batch_size": 4,
    "lr": 0.01,
    "warmup_steps": 4,
    "weight_decay": 0.01,
    "ema_every": 100,
    "log_every": 1,
    "save_every": 100,
    "sheet_every": 100,
}


@pytest.fixture
def toy_config(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({"dropout": 0.1, "train": SETTINGS}))
    return path


@pytest.fixture
def reset_accelerate() -> Iterator[Callable[[], None]]:
    """Lets Accelerate begin anew in this process; at the end it is left so."""

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    yield reset
    reset()


@pytest.fixture
def toy(
    toy_config: Path, reset_accelerate: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """`toy(out, "train.steps=5")` trains in this process and returns the exit code."""
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)  # TensorBoard is slow to start

    def run(out: Path, *overrides: str, resume: str | None = None) -> int:
        reset_accelerate()
        sets = [part for override in overrides for part in ("--set", override)]
        sets += [] if resume is None else ["--resume", resume]
        return toy_stage.main(["--config", str(toy_config), "--out", str(out), *sets])

    return run


@pytest.fixture
def start_training() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command on the CPU; it does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(command: Sequence[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def start_toy(toy_config: Path, start_training: Callable) -> Callable[..., "subprocess.Popen[str]"]:
    """`start_toy(out, "train.steps=5", launcher=[...])` starts a fresh process."""

    def start(
        out: Path, *overrides: str, launcher: tuple[str, ...] = (sys.executable,)
    ) -> "subprocess.Popen[str]":
        sets = [part for override in overrides for part in ("--set", override)]
        return start_training(
            [*launcher, str(SCRIPT), "--config", str(toy_config), "--out", str(out), *sets]
        )

    return start
