"""The measurement of a save's cost runs, and prints what the documentation quotes."""

from pathlib import Path

import pytest

from benchmarks.checkpoints import main


def test_a_save_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--million", "1", "--rounds", "2", "--folder", str(tmp_path / "cost")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("21 MB on one ")
    assert "of the time, at most 2% are wanted" in printed
    assert not (tmp_path / "cost").exists()
