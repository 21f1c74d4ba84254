"""The command line in this process, in an empty folder, on a tiny model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from unclip.cli.main import main


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one line of JSON on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


Command = Callable[..., Outcome]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_runs: Path) -> Path:
    """The current folder: empty but for a link to the model."""
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "tiny").symlink_to(tiny_runs / "model")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unclip(here: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `unclip ARGUMENTS...`; `tiny=True` appends the tiny model and the smallest size."""

    def run(*arguments: str, tiny: bool = False) -> Outcome:
        more = ["--model", "../tiny", "--size", "64"] if tiny else []
        capfd.readouterr()
        code = main([*arguments, *more])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
