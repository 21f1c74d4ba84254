"""The installed command, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("unclip")


@pytest.fixture(scope="session")
def tiny_model(tiny_runs: Path) -> Path:
    """A model folder of random weights."""
    return tiny_runs / "model"


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command in an empty folder; `environment` is added to this one's."""

    def launch(
        program: str | Path, *arguments: str | Path, **environment: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(SCRIPT if program == "unclip" else program), *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return launch
