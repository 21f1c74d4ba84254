"""Renews the golden losses: `python tests/golden/renew.py`; say in the commit why they changed."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("losses.json")


class Keep:
    """A plugin that writes down what the session's training gave."""

    @pytest.fixture(autouse=True, scope="session")
    def keep(self, request: pytest.FixtureRequest) -> None:
        losses = request.getfixturevalue("tiny_chain").losses
        GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")


if __name__ == "__main__":
    GOLDEN.write_text("{}\n") if not GOLDEN.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-q", f"--basetemp={folder}/tmp", str(GOLDEN.with_name("test_losses.py"))]
        sys.exit(pytest.main(arguments, plugins=[Keep()]))
