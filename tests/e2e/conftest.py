"""The installed command, in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[1] / "pipeline" / "tiny_model.py"
SCRIPT = Path(sys.executable).with_name("unclip")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of random weights."""
    spec = importlib.util.spec_from_file_location("tiny_model_of_e2e", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_model(tmp_path_factory.mktemp("tiny"))


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
