"""The files of configs/accelerate: Accelerate reads them, and the trainer runs by them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import DistributedType
from processes import finish

FOLDER = Path(__file__).parents[2] / "configs" / "accelerate"
PROCESSES = {"one_gpu": 1, "one_machine": 8, "two_machines": 16, "processes_on_cpu": 2}
Start = Callable[..., "subprocess.Popen[str]"]


def test_every_file_is_loaded() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PROCESSES)
    for name, count in PROCESSES.items():
        config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
        assert isinstance(config, ClusterConfig)
        assert config.num_processes == count
        several = DistributedType.MULTI_GPU if count > 1 else DistributedType.NO
        assert config.distributed_type == several
        assert config.num_machines == (2 if name == "two_machines" else 1)
        assert config.mixed_precision == "no", "the run's configuration decides"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_gpu", "processes_on_cpu"])
def test_trained_by_them(tmp_path: Path, start_toy: Start, name: str) -> None:
    accelerate = (sys.executable, "-m", "accelerate.commands.launch")
    launcher = (*accelerate, "--config_file", str(FOLDER / f"{name}.yaml"))
    output = finish(start_toy(tmp_path / "run", "train.steps=2", launcher=launcher))
    assert f"on {PROCESSES[name]} x cpu" in output


@pytest.mark.slow
def test_a_job_of_slurm_is_put_back(tmp_path: Path, toy_config: Path) -> None:
    """SLURM itself is played by two scripts: one node, whose launcher `srun` starts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "srun": 'shift; SLURM_NODEID=0 exec "$@"',
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol; [ "$1" != show ] || echo 127.0.0.1',
        "accelerate": f'exec {sys.executable} -m accelerate.commands.accelerate_cli "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{Path(__file__).parents[1] / 'support'}:{os.environ.get('PYTHONPATH', '')}",
        "SLURM_JOB_ID": str(10_000 + os.getpid() % 10_000),
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    out = tmp_path / "run"
    command = [str(FOLDER / "slurm.sh"), "toy_stage", "--config", str(toy_config)]
    command += ["--out", str(out), "--set", "train.steps=1000", "--set", "step_seconds=0.05"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said_first = ""
        for line in process.stdout:
            said_first += line
            if "step 5/1000" in line:
                break
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode not in (0, 138), said_first + output
    assert "on 2 x cpu" in said_first
    assert "stopped, saved at" in output
    assert list((out / "checkpoints").iterdir())
    said = (tmp_path / "scontrol").read_text().splitlines()
    assert said == ["show hostnames here", f"requeue {environment['SLURM_JOB_ID']}"]
