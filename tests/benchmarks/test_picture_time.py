"""The time of a picture, by stage."""

import re
from pathlib import Path

import pytest

from benchmarks.picture_time import main


def test_every_stage_of_every_quality_is_told(
    karlo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(karlo_folder)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("karlo, torch.float32 on cpu, ")
    assert [line.split(":")[0] for line in lines] == ["draft", "standard"]
    for line in lines:
        found = re.search(r": ([\d.]+) CPU .*: prior ([\d.]+), decoder ([\d.]+), upsampler", line)
        assert found
        total, prior, decoder = map(float, found.groups())
        assert 0 < prior + decoder <= total + 0.2
