"""The measurement of training speed runs through, rung by rung, and writes its record."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import train_throughput
from benchmarks.training.ladder import ladder
from benchmarks.training.ours import STAGES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's profiler warns of itself
def test_every_stage_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    arguments = ["--shape", "tiny", "--batch", "2", "--rounds", "2", "--no-compile"]
    monkeypatch.setattr(sys, "argv", ["train_throughput", *arguments, "--json", str(record)])
    assert train_throughput.main() == 0
    printed = capsys.readouterr().out
    rows = json.loads(record.read_text())["rows"]
    for stage in STAGES:
        mine = [row for row in rows if row["stage"] == stage and row["name"].startswith("ours")]
        rungs = ladder(convolutional=stage != "prior", compiled=False)
        assert {f"ours, {rung.name}" for rung in rungs} <= {row["name"] for row in mine}
        assert len({row["parameters"] for row in mine}) == 1
        assert len({row["flop"] for row in mine}) == 1  # every rung computes the same
        assert all(row["memory_bytes"] > 0 and len(row["seconds"]) == 2 for row in mine)
        assert f"{stage}, shape tiny, batch 2" in printed
