"""Two machines that are one: two network namespaces, a launcher in each, and a cable to pull."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from network import ADDRESSES, Machines, can_make_machines, two_machines
from processes import finish, tensors

Start = Callable[..., "subprocess.Popen[str]"]
TIMEOUT_SECONDS = 10


@pytest.fixture
def machines() -> Iterator[Machines]:
    if not can_make_machines():
        pytest.skip("network namespaces cannot be made here: needs Linux, root and ip (iproute2)")
    with two_machines() as made:
        yield made


def launcher(machines: Machines, number: int) -> tuple[str, ...]:
    return (
        *machines.inside(number),
        *("env", f"GLOO_SOCKET_IFNAME=cable{number}"),
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
        *("--num_machines", "2", "--machine_rank", str(number), "--num_processes", "2"),
        *("--main_process_ip", ADDRESSES[0], "--main_process_port", "29500"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
    )


@pytest.mark.slow
def test_train_pull_the_cable_and_go_on(
    tmp_path: Path, start_toy: Start, machines: Machines
) -> None:
    settings = (
        *("train.precision=float32", "dropout=0", "train.steps=60", "train.save_every=5"),
        *("step_seconds=0.2", f"train.timeout_seconds={TIMEOUT_SECONDS}"),
    )

    def start() -> list["subprocess.Popen[str]"]:
        out = tmp_path / "two"
        return [start_toy(out, *settings, launcher=launcher(machines, i)) for i in (0, 1)]

    first, second = start()
    assert first.stdout is not None
    for line in first.stdout:
        if "step 7/60" in line:
            break
    machines.cable("down")
    for process in (first, second):
        output, _ = process.communicate(timeout=6 * TIMEOUT_SECONDS)
        assert process.returncode not in (0, 85), output
    steps = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert "step_00000005" in steps

    machines.cable("up")
    settings = (*settings, "train.steps=14")
    first, second = start()
    output = finish(first)
    assert "from step 0" not in output
    finish(second)

    # What one process alone makes of the same samples.
    finish(start_toy(tmp_path / "one", *settings, "step_seconds=0"))
    expected, found = (tensors(tmp_path / name, 14) for name in ("one", "two"))
    for part in ("model", "ema"):
        for name, value in expected[part].items():
            assert torch.allclose(found[part][name], value, rtol=0, atol=1e-6), name
