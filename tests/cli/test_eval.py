"""`unclip eval`, in this process on a tiny model and a judge of random weights."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_artists import save_small_judge

from unclip.cli import eval as eval_module
from unclip.pipeline import artist

Command = Callable[..., Any]


@pytest.fixture
def judge(here: Path) -> str:
    return str(save_small_judge(here.parent / "judge"))


def test_short(unclip: Command, judge: str) -> None:
    """A table, and a line on what is left out."""
    done = unclip("eval", "../tiny", "--judge", judge, "--short")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["figure", "model", "95", "%", "real", "95", "%", "n"]
    assert any(line.startswith("R-precision@1 of 100, seen compositions") for line in lines)
    assert lines[-1].startswith("score 0.")
    left_out = [line for line in done.err.splitlines() if line.startswith("left out")]
    of_100 = "R-precision@1 of 100"
    assert left_out == [
        f"left out: {of_100}, held-out compositions (needs --set); "
        f"{of_100}, single things by their names alone (needs --set)"
    ]


@pytest.mark.slow
def test_json(unclip: Command, judge: str) -> None:
    """The same figures as the table's, and each time."""
    done = unclip("eval", "../tiny", "--judge", judge, "--short")
    again = unclip("eval", "../tiny", "--judge", judge, "--short", "--json").json
    assert again["ok"]
    assert done.out.splitlines()[-1].startswith(f"score {again['score']:.4f}")
    assert set(again["figures"]) == {"retrieval_seen", "colour", "grey", "astronaut"}
    assert again["figures"]["grey"]["real"]["value"] == 1.0
    assert again["model"]["name"] == "tiny"
    assert len(again["judge"]) == 16


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["../tiny", "--judge", "nowhere"], "nowhere is no stage folder"),
        (["nowhere", "--judge", "../judge"], "nowhere"),
        (["../tiny", "--judge", "../judge", "--set", "."], ". is no finished set"),
        (["../tiny", "--judge", "../judge", "--device", "abacus"], "abacus"),
        (["../tiny", "more"], "unexpected extra argument"),
    ],
)
def test_refused(unclip: Command, judge: str, arguments: list[str], reason: str) -> None:
    done = unclip("eval", *arguments)
    assert (done.code, done.out) == (2, "")
    assert reason in done.error


def test_no_judge_beside_the_package(
    unclip: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eval_module, "JUDGE", here / "none")
    done = unclip("eval", "../tiny")
    assert done.code == 2
    assert "there is no judge in" in done.error
    assert "--judge DIR" in done.error


def test_a_model_is_not_judged_by_its_own_clip(unclip: Command, here: Path) -> None:
    shutil.copytree(here.parent / "tiny" / "clip", here / "own")
    done = unclip("eval", "../tiny", "--judge", "own", "--short")
    assert done.code == 2
    assert "the judge is this model's own CLIP" in done.error


def test_ctrl_c(unclip: Command, judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends it after the sampling step."""
    steps = []
    before = artist.PipelineArtist._step

    def step(self: artist.PipelineArtist, *values: object) -> None:
        steps.append(values)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        before(self, *values)

    monkeypatch.setattr(artist.PipelineArtist, "_step", step)
    done = unclip("eval", "../tiny", "--judge", judge, "--short")
    assert (done.code, done.out, len(steps)) == (130, "", 3)
    assert "stopped by a signal" in done.error
