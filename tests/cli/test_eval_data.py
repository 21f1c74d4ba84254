"""`unclip eval MODEL --data DIR`, on a tiny model and a few scenes."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import TWO, finish
from safetensors.torch import save_file
from small_artists import save_small_judge

from unclip.cli import eval_paint
from unclip.cli.eval_networks import load_clip

Command = Callable[..., Any]
FEW = ("--num", "8", "--size", "64", "--batch-size", "3", "--cache", "cache")


@pytest.fixture
def scenes(here: Path, tiny_world: Path) -> str:
    (here / "scenes").symlink_to(tiny_world / "64")
    return "scenes"


def test_figures_and_page(unclip: Command, here: Path, scenes: str) -> None:
    """A table, the same as JSON, and a page that loads nothing."""
    done = unclip("eval", "../tiny", "--data", scenes, *FEW)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["figure", "model", "95", "%", "real", "95", "%", "n"]
    assert lines[-1] == "eval-tiny/report.html"
    assert "a biased judge" in done.err
    assert "covariance is singular" in done.err
    told = json.loads((here / "eval-tiny" / "figures.json").read_text())
    assert list(told["figures"]) == [
        *("fid", "kid_x1000", "precision", "recall", "clip_score", "r_precision"),
        *("prior_text", "prior_text_delta", "prior_image"),
        *("prior_unrelated_image", "prior_unrelated_text"),
    ]
    assert told["figures"]["r_precision"]["text"].endswith("of 8")
    assert told["figures"]["clip_score"]["real"]["count"] == 8
    assert told["biased"]
    page = (here / "eval-tiny" / "report.html").read_text()
    assert page.count("data:image/webp;base64,") == 2 * 8
    assert page.count("<svg") == 4
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?:|url\(|<script", page)
    refused = unclip("eval", "../tiny", "--data", scenes, *FEW)
    assert refused.code == 2
    assert "eval-tiny/figures.json exists: pass --force" in refused.error


@pytest.mark.slow
def test_what_is_kept(
    unclip: Command, here: Path, scenes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that a signal stops goes on where it was, and ends with the numbers of a whole one."""
    arguments = ("eval", "../tiny", "--data", scenes, *FEW)
    whole = unclip(*arguments, "--out", "whole", "--json").json
    assert whole["ok"], whole

    # Stopped in the second batch.
    steps = []
    step = eval_paint.Painter._step

    def count(self: eval_paint.Painter, *values: Any) -> None:
        steps.append(values)
        if len(steps) == 10:
            signal.raise_signal(signal.SIGTERM)
        step(self, *values)

    monkeypatch.setattr(eval_paint.Painter, "_step", count)
    stopped = unclip(*arguments, "--keep", "kept")
    assert stopped.code == 128 + signal.SIGTERM
    assert "kept in kept: the same command goes on from there" in stopped.error
    kept = sorted((here / "kept").iterdir())
    assert [path.name[:6] for path in kept] == ["000000", "000001", "000002"]
    # The batch with the damaged picture is painted again.
    kept[1].write_bytes(b"")
    before = len(steps)
    done = unclip(*arguments, "--keep", "kept", "--json")
    assert "features of the real pictures are those kept in cache" in done.err
    assert len(steps) - before == 3 * 7
    assert (done.json["resumed"], done.json["figures"]) == (0, whole["figures"])
    again = unclip(*arguments, "--keep", "kept", "--force", "--json").json
    assert (again["resumed"], again["figures"]) == (8, whole["figures"])


@pytest.mark.slow
def test_another_clip(unclip: Command, here: Path, scenes: str) -> None:
    """A stage folder of another CLIP judges; the model's own stays the prior's."""
    save_small_judge(here / "clip")
    arguments = ("eval", "../tiny", "--data", scenes, *FEW)
    done = unclip(*arguments, "--features", "clip", "--json").json
    assert not done["biased"]
    assert done["features"] == done["reader"]
    assert "prior_text" in done["figures"]
    # The same prior, whoever judges; and here the model's own CLIP compares pictures.
    mixed = unclip(*arguments, "--clip", "clip", "--json", "--force")
    assert "a biased judge" in mixed.err
    assert mixed.json["reader"] == done["reader"]
    assert mixed.json["features"] != done["features"]
    same = ("clip_score", "r_precision", "prior_image")
    assert all(mixed.json["figures"][key] == done["figures"][key] for key in same)


@pytest.mark.slow
def test_karlo(unclip: Command, here: Path, scenes: str, karlo_folder: Path) -> None:
    """Its CLIP reads prompts alone: another one judges, and there is no panel."""
    save_small_judge(here / "clip")
    arguments = ("eval", str(karlo_folder), "--data", scenes, "--num", "4", "--cache", "cache")
    refused = unclip(*arguments)
    assert refused.code == 2
    assert "no image tower: give another one as --features DIR" in refused.error
    done = unclip(*arguments, "--features", "clip", "--json")
    assert "left out: the prior's panel" in done.err
    assert list(done.json["figures"])[-1] == "r_precision"
    assert done.json["sampling"]["size"] == 32


@pytest.mark.slow
@torch.no_grad()
def test_a_clip_of_open_clip(tmp_path: Path) -> None:
    import open_clip

    config = {
        "embed_dim": 12,
        "text_cfg": {"context_length": 9, "vocab_size": 800, "width": 24, "heads": 3, "layers": 2},
        "vision_cfg": {
            "image_size": 16,
            "patch_size": 8,
            "width": 32,
            "head_width": 16,
            "layers": 2,
        },
    }
    model = open_clip.CLIP(**config).eval()
    save_file(dict(model.state_dict()), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    clip = load_clip(str(tmp_path), "--features", torch.device("cpu"))
    ids, _ = clip.tokenizer(["a red cat"])
    assert (clip.encode_text(["a red cat"]).embed - model.encode_text(ids)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data", "nowhere"], "nowhere is no folder of pictures"),
        (["--data", "."], "has no captioned pictures"),
        (["--data", "scenes", "--num", "13"], "scenes has 12 captioned pictures, expected 13"),
        (["--data", "scenes", "--num", "3"], "got 3 pictures, expected 4 or more"),
        (["--data", "scenes", "--short"], "--short is of the suite"),
        (["--num", "4"], "--num is for --data DIR"),
        (["--guidance", "2"], "--guidance is for --data DIR"),
        (["--data", "scenes", "--size", "65"], "size is 65"),
        (["--data", "scenes", "--features", "inception"], "--feature-weights FILE"),
        (["--data", "scenes", "--feature-weights", "x"], "is for --features inception or vgg16"),
        (["--data", "scenes", "--features", "x"], "--features is x, which is no folder"),
        (["--data", "scenes", "--clip", "scenes"], "scenes is no stage folder"),
        (["--data", "scenes", "--seed", "-1"], "seed is -1"),
        (["--data", "scenes", "--out", "file"], "--out file is a file"),
        (["--data", "scenes", "--keep", "file"], "--keep file cannot be written"),
    ],
)
def test_refused(
    unclip: Command, here: Path, scenes: str, arguments: list[str], reason: str
) -> None:
    (here / "file").write_text("")
    done = unclip("eval", "../tiny", *arguments)
    assert (done.code, done.out) == (2, "")
    assert reason in done.error


def start_two(*arguments: str) -> "subprocess.Popen[str]":
    command = [*TWO, "-m", "unclip", "eval", "../tiny", *FEW, "--cache", "other", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_two_processes(unclip: Command, here: Path, scenes: str) -> None:
    """The same numbers, whoever paints what; and where one fails, the other does not wait."""
    alone = unclip("eval", "../tiny", "--data", scenes, *FEW, "--json").json["figures"]
    assert "two/report.html" in finish(start_two("--data", scenes, "--out", "two"))
    both = json.loads((here / "two" / "figures.json").read_text())["figures"]
    assert both.keys() == alone.keys()
    for key, figure in both.items():
        for name in ("value", "low", "high"):
            assert figure["made"][name] == pytest.approx(alone[key]["made"][name], abs=1e-6), key

    shutil.copytree(scenes, "damaged")
    for path in Path("damaged").glob("*.png"):
        path.write_bytes(path.read_bytes()[:200])
    assert "error: cannot read damaged/" in finish(
        start_two("--data", "damaged", "--out", "none"), code=1
    )
