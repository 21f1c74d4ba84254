"""The bars, on a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path


def test_stages_and_time_left(tmp_path: Path, tiny_runs: Path) -> None:
    """A real run on a pseudo-terminal: every stage has a bar; stdout stays clean."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "unclip", "generate", "x", "-n", "3", "--seed", "1"),
            *("--size", "256", "--model", str(tiny_runs / "model")),
        ],
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(leader)
    out, _ = process.communicate()
    assert process.returncode == 0, shown
    assert out.decode().splitlines() == [f"x-{seed}.png" for seed in (1, 2, 3)]
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    for stage, steps in (("prior", 3), ("decoder", 4), ("upsampler 256", 2)):
        assert re.search(rf"{stage} +\S+ {steps}/{steps} +\d:\d\d:\d\d", text), text
