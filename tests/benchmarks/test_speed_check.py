"""The checks of a device, run on a CPU as far as they go, and the two scripts for a GPU."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.against_diffusers import main
from benchmarks.speed.check import CHECKS, agree
from benchmarks.speed.machine import ROOT
from benchmarks.speed.record import read_record
from unclip.errors import NumericalError

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speed") / "tiny"


def check(weights: Path) -> int:
    command = ["check", "--device", "cpu", "--shape", "tiny", "--threads", "1"]
    return main([*command, "--weights", str(weights)])


def test_a_cpu_passes_the_checks_that_it_can_make(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(weights) == 0
    rows = {
        cells[1].strip(): cells[2].strip()
        for line in capsys.readouterr().out.splitlines()
        if len(cells := line.split("|")) > 3
    }
    assert {name: rows[name] for name in CHECKS} == {
        "float32": "ok",
        "float16": "left out",
        "bfloat16": "ok",
        "diffusers, float32": "ok",
        "graphs against none, float32": "left out",
        "xformers, float16": "left out",
        "low memory, karlo, float16": "left out",
        "tests that need CUDA": "left out",
    }


def test_a_check_that_fails_is_told_and_the_others_go_on(
    weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> str:
        return agree(np.zeros((1, 2, 2, 3)), np.ones((1, 2, 2, 3)), "float16")

    def crashing(_: object) -> str:
        raise RuntimeError("CUDA error\nmore of it")

    monkeypatch.setattr("benchmarks.speed.check.CHECKS", {"one": broken, "two": crashing})
    assert check(weights) == NumericalError.exit_code
    said = capsys.readouterr()
    assert (
        "| one | FAILED | NumericalError: relative distance 1.0e+00, 0.0 dB, expected" in said.out
    )
    assert "| two | FAILED | RuntimeError: CUDA error |" in said.out
    assert said.err == "error: 2 of 2 checks failed: one, two\n"


@needs_no_gpu
@pytest.mark.parametrize("script", ["gpu_check.sh", "gpu_speed.sh"])
def test_without_a_gpu_a_script_says_so_in_a_line(script: str, tmp_path: Path) -> None:
    done = run_script(script, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: there is no CUDA device here: run this on a machine that has one"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_scripts_run_through_on_a_cpu(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--shape", "tiny", "--weights", str(tmp_path / "tiny")]
    assert run_script("gpu_check.sh", tmp_path, *options).returncode == 0
    more = ["--engines", "P0", "U0", "--rounds", "1"]
    done = run_script("gpu_speed.sh", tmp_path, "1", "2", *options, *more)
    assert done.returncode == 0, done.stderr
    for batch in (1, 2):
        record = read_record(tmp_path / "records" / f"gpu_karlo_{batch}.json")
        assert record.about.batch == batch
        assert all(row.compared.equal for row in record.rows)
    assert (tmp_path / "docs" / "speed.md").is_file()


def run_script(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {
        "PYTHON": sys.executable,
        "RECORDS": str(folder / "records"),
        "DOCS": str(folder / "docs"),
    }
    command = ["bash", str(ROOT / "benchmarks" / name), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)


def test_it_can_be_started_by_its_path() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "against_diffusers.py"), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "page" in done.stdout
