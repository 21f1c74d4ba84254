"""Signals to `accelerate launch`, and a rank that is killed below it (rows 7 and 19)."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from processes import ONE, TWO, finish

from unclip.training.state import newest_whole, step_of

Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS = ("train.steps=1000", "step_seconds=0.05")


def begun(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Waits for step 5; returns all processes of the run."""
    assert process.stdout is not None
    for line in process.stdout:
        if "step 5/1000" in line:
            break
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [ONE, TWO])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_launcher_stops_and_saves_all(
    tmp_path: Path, start_toy: Start, launcher: tuple[str, ...], number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = start_toy(out, *SETTINGS, launcher=launcher)
    children = begun(process)
    process.send_signal(number)
    # The last process to end closes the output: the launcher may be gone before its children.
    output, _ = process.communicate(timeout=180)
    assert process.returncode != 0
    assert output.count("stopped, saved at") == 1
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    (saved,) = (out / "checkpoints").iterdir()
    assert newest_whole(out / "checkpoints") == saved
    assert (out / "requeue").read_text() == f"{step_of(saved)}\n"


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_is_named(tmp_path: Path, start_toy: Start) -> None:
    out = tmp_path / "run"
    process = start_toy(out, *SETTINGS, "train.save_every=4", launcher=TWO)
    children = begun(process)
    since = time.monotonic()
    ranks = [child for child in children if "--out" in child.cmdline()]
    ranks[1].kill()
    output, _ = process.communicate(timeout=180)
    assert time.monotonic() - since < 60
    assert process.returncode == 1
    assert "process 1 was killed or does not answer (seen by process 0 of 2)" in output
    assert psutil.wait_procs(children, timeout=5)[1] == []
    step = step_of(newest_whole(out / "checkpoints"))
    more = finish(start_toy(out, f"train.steps={step + 2}", SETTINGS[1]))
    assert f"resumed from step_{step:08d}, the newest one (written by 2 processes)" in more
