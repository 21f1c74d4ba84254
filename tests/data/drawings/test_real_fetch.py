"""The real npm client, from the network to a finished source."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unclip.data.drawings.expected import EXPECTED
from unclip.data.drawings.records import read_set


@pytest.mark.slow
@pytest.mark.requires_npm
def test_one_source_from_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unclip", "data", "illustrations", "--source", "flat-color"]
    command += ["--out", "set", "--cache", "cache", "--json"]
    for fresh in (True, False):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
        result = json.loads(done.stdout)
        if fresh and not result["ok"] and "npm could not fetch" in result["error"]["message"]:
            pytest.skip(f"there is no network: {result['error']['message']}")
        assert done.returncode == 0, done.stderr
        assert result["chosen"] == {"flat-color": EXPECTED["flat-color"].chosen}
        assert result["sources"] == {"flat-color": EXPECTED["flat-color"].kept}
        assert result["rendered"] == (EXPECTED["flat-color"].kept if fresh else 0)
    assert read_set(tmp_path / "set")
