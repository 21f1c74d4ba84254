"""The judge's recipe, from a set to weights that `unclip eval` can read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_set import write_small_set

from unclip.evaluation.drawn import is_for_the_judge
from unclip.evaluation.judge import load_judge

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.judge.make", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_from_a_set_to_a_judge(tmp_path: Path) -> None:
    drawings = write_small_set(tmp_path / "set")
    arguments = ["--set", tmp_path / "set", "--out", tmp_path / "out"]
    arguments += ["--weights", tmp_path / "judge", "--copies", "2", "--scenes", "20"]
    arguments += ["--override", "train.steps=2", "--override", "train.batch_size=8"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "pictures" / "metadata.jsonl").read_text().splitlines()
    learned = [drawing for drawing in drawings if is_for_the_judge(drawing)]
    # Twenty composed scenes, and one of the bundled illustrations to eight of them.
    assert len(lines) == 2 * len(learned) + 22
    assert json.loads(lines[0])["captions"][0].startswith("red apple | ")

    judge = load_judge(tmp_path / "judge")
    assert judge.size_px == 60
    assert sum(path.stat().st_size for path in (tmp_path / "judge").iterdir()) <= 10_000_000


@pytest.mark.slow
def test_no_set(tmp_path: Path) -> None:
    done = run("--set", tmp_path, "--out", tmp_path / "out", "--weights", tmp_path / "judge")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "is no finished set" in done.stderr
    assert not (tmp_path / "judge").exists()
