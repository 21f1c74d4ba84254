"""`unclip generate`, run in this process on a tiny model."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import __version__
from unclip.provenance.metadata import read_picture_text, read_record

Command = Callable[..., Any]
"""`unclip ARGUMENTS...`, of conftest.py."""


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_generate(unclip: Command, here: Path) -> None:
    done = unclip("generate", "a red apple", "--seed", "3", tiny=True)
    assert (done.code, done.out) == (0, "a-red-apple-3.png\n")
    notes = done.err.splitlines()
    assert notes[0].startswith("using the model tiny (")
    assert notes[0].endswith(") on cpu in float32")
    assert notes[1:] == ["seed 3"]
    record = read_record(here / "a-red-apple-3.png")
    assert (record.verb, record.prompt, record.seed) == ("generate", "a red apple", 3)
    assert (record.model.name, record.version) == ("tiny", __version__)
    assert record.model.hash in notes[0]
    assert record.machine.dtype == "float32"
    text = read_picture_text(here / "a-red-apple-3.png")
    assert (text.width, text.height) == (64, 64)
    assert str(text.parameters).startswith("a red apple\nSteps: 4, Sampler: dpmpp_2m")


def test_a_drawn_seed_is_told(unclip: Command, here: Path) -> None:
    first, second = (unclip("generate", "x", tiny=True) for _ in range(2))
    seeds = [done.err.splitlines()[1].removeprefix("seed ") for done in (first, second)]
    assert seeds[0] != seeds[1]
    assert names(here) == sorted(f"x-{seed}.png" for seed in seeds)


def test_several_prompts_and_pictures(unclip: Command, here: Path) -> None:
    done = unclip(
        "generate", "a", "b", "-n", "2", "--seed", "7", "--out", "o/p.png", "--json", tiny=True
    )
    assert done.code == 0
    result = done.json
    assert names(here) == [f"o/p_00{i}.png" for i in (1, 2, 3, 4)]
    assert [(p["prompt"], p["seed"], p["path"]) for p in result["pictures"]] == [
        ("a", 7, "o/p_001.png"),
        ("a", 8, "o/p_002.png"),
        ("b", 9, "o/p_003.png"),
        ("b", 10, "o/p_004.png"),
    ]
    assert (result["ok"], result["seed"], result["device"]) == (True, 7, "cpu")
    assert result["model"]["name"] == "tiny"
    # Picture 3, made again alone.
    unclip("generate", "b", "--seed", "9", "--out", "alone", tiny=True)
    pictures = [np.asarray(Image.open(path), np.int16) for path in ("o/p_003.png", "alone.png")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_settings(unclip: Command) -> None:
    more = ["--steps", "2", "--guidance", "3", "--prior-guidance", "1.5", "--dtype", "bfloat16"]
    assert unclip("generate", "x", "--out", "a", *more, "--device", "cpu", tiny=True).code == 0
    record = read_record("a.png")
    assert record.sampling.decoder_steps == 2
    assert (record.sampling.decoder_guidance, record.sampling.prior_guidance) == (3.0, 1.5)
    assert record.machine.dtype == "bfloat16"


def test_quality(unclip: Command) -> None:
    arguments = ["generate", "x", "--seed", "2", "--model", "../tiny", "--size", "256"]
    done = unclip(*arguments, "--out", "a", "--quality", "draft", "--sampler", "ddim", "-v")
    assert done.code == 0
    assert done.err.splitlines()[2:] == [
        "quality draft: prior 3 steps; decoder 4 steps of ddim, guided from 0.8 to 0.2 of the "
        "time; upsampler 2 steps of ddim from 0.5 of the time",
        "the model's own: prior 3 steps; decoder 4 steps of dpmpp_2m, guided; upsampler 2 steps "
        "of ddim",
    ]
    more = ["--sampler", "ddim", "--guidance-interval", "0.2", "0.8", "--super-res-start", "0.5"]
    more += ["--super-res-steps", "2", "--super-res-sampler", "ddim", "--prior-steps", "3"]
    assert "quality" not in unclip(*arguments, "--out", "b", *more).err
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert unclip("repro", "a.png", "--model", "../tiny", "--json").json["equal"] is True
    done = unclip(*arguments, "--out", "c", "-v")
    assert done.err.splitlines()[2:] == [
        "quality standard: prior 3 steps; decoder 4 steps of dpmpp_2m, guided; upsampler 2 steps "
        "of ddim"
    ]


def test_grid(unclip: Command, here: Path) -> None:
    done = unclip("generate", "x", "-n", "3", "--seed", "0", "--grid", tiny=True)
    assert done.out.splitlines()[-1] == "x-0-grid.png"
    sheet = Image.open("x-0-grid.png")
    assert sheet.size == (128, 128)
    first = Image.open("x-0.png")
    assert sheet.crop((0, 0, 64, 64)).tobytes() == first.tobytes()
    assert sheet.getpixel((127, 127)) == (255, 255, 255)


def test_prompts_from_a_file(unclip: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\ufeffa red apple\r\n\r\n  Äpfel  \n"
    Path("p.txt").write_text(text, encoding="utf-8")
    done = unclip("generate", "--prompts", "p.txt", "--json", tiny=True)
    assert [p["prompt"] for p in done.json["pictures"]] == ["a red apple", "Äpfel"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    done = unclip("generate", "--prompts", "-", "--json", tiny=True)
    assert [p["prompt"] for p in done.json["pictures"]] == ["a red apple", "Äpfel"]


def test_only_line_ends_part_prompts(unclip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.txt").write_text("a red\u2028apple\r\na\x85key\n", encoding="utf-8", newline="")
    done = unclip("generate", "--prompts", "p.txt", "--seed", "4", "--json", tiny=True)
    assert [p["seed"] for p in done.json["pictures"]] == [4, 5]
    monkeypatch.setattr(sys, "stdin", None)
    done = unclip("generate", "--prompts", "-", tiny=True)
    assert (done.code, done.error) == (2, "--prompts -: there is no standard input")


def test_long_prompts_are_told(unclip: Command) -> None:
    done = unclip("generate", "one two three four five six seven eight nine ten eleven", tiny=True)
    assert done.code == 0
    assert "the model reads the first 10 tokens of a prompt" in done.err


@pytest.mark.parametrize(
    "prompt",
    ["qwzx vfgh", "🍎🍏", "日本語", "a\nb", "../../etc", "\udcff broken bytes", "-", "[bold]x[/]"],
)
def test_odd_prompts(unclip: Command, here: Path, prompt: str) -> None:
    done = unclip("generate", prompt, "--seed", "1", "--steps", "1", "--json", tiny=True)
    assert done.code == 0, done.err
    (name,) = names(here)
    assert "/" not in name
    record = read_record(name)
    assert record.prompt == prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def test_nothing_is_overwritten(unclip: Command, here: Path) -> None:
    arguments = ["generate", "x", "--seed", "1", "--out", "a.png"]
    assert unclip(*arguments, tiny=True).code == 0
    before = Path("a.png").read_bytes()
    done = unclip(*arguments, "--steps", "1", tiny=True)
    assert (done.code, done.out) == (2, "")
    assert done.error == "a.png exists: pass --force to overwrite it, or another --out"
    assert Path("a.png").read_bytes() == before
    assert unclip(*arguments, "--steps", "1", "--force", tiny=True).code == 0
    assert Path("a.png").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "got no prompt"),
        ([""], "empty prompt"),
        (["x", "  "], "empty prompt"),
        (["x", "--prompts", "p.txt"], "got prompts and --prompts"),
        (["--prompts", "empty.txt"], "empty.txt holds no prompt"),
        (["--prompts", "none.txt"], "No such file"),
        (["--prompts", "latin.txt"], "no UTF-8"),
        (["--prompts", "."], "directory"),
        (["x", "--quality", "high"], "quality is 'high', expected draft, standard, best"),
        (["x", "--sampler", "lms"], "sampler is 'lms', expected ddpm, ddim, dpmpp_2m"),
        (["x", "--guidance-interval", "0.8", "0.2"], "expected two numbers that grow"),
        (["x", "--super-res-start", "0.5"], "no upsampler runs here"),
        (["x", "-n", "0"], "got 0 as the number of pictures"),
        (["x", "-n", "-5"], "got -5 as the number of pictures"),
        (["x", "-n", "1000000000"], "expected 1 to 100000"),
        (["x", "-n", "two"], "'-n'"),
        (["x", "--seed", "-1"], "seed is -1"),
        (["x", "--seed", "99999999999999999999"], "seed is 99999999999999999999"),
        (["x", "--seed", "1.5"], "'--seed'"),
        (["x", "--size", "128"], "size is 128, this model paints 64, 256, 1024"),
        (["x", "--size", "big"], "'--size'"),
        (["x", "--steps", "0"], "decoder steps are 0, expected 1 to 1000"),
        (["x", "--guidance", "nan"], "guidance is nan"),
        (["x", "--prior-guidance", "-2"], "prior guidance is -2.0"),
        (["x", "--device", "tpu"], "no device tpu here"),
        (["x", "--dtype", "int8"], "no precision int8 here"),
        (["x", "--out", "a.jpg"], "written as PNG"),
        (["x", "--out", "empty.txt/"], "cannot write"),
        (["x", "--model", "nowhere"], "no model folder nowhere"),
        (["x", "--model", "."], "is no model folder"),
        (["x", "--bogus"], "No such option"),
        (["x", "--out"], "--out"),
    ],
)
def test_bad_values_are_one_line(
    unclip: Command, here: Path, arguments: list[str], reason: str
) -> None:
    Path("p.txt").write_text("a")
    Path("empty.txt").write_text(" \n\n")
    Path("latin.txt").write_bytes(b"\xc4pfel")
    before = names(here)
    model = [] if "--model" in arguments else ["--model", "../tiny"]
    size = [] if "--size" in arguments else ["--size", "64"]
    done = unclip("generate", *model, *size, *arguments)
    assert (done.code, done.out) == (2, "")
    assert reason in done.error
    assert names(here) == before


def test_nothing_is_left_of_a_refused_request(unclip: Command, here: Path) -> None:
    for arguments in (["--size", "128"], ["--model", "nowhere"]):
        done = unclip("generate", "x", "--out", "new/", "--model", "../tiny", *arguments)
        assert done.code == 2
        assert list(here.iterdir()) == []


def test_errors_as_json(unclip: Command) -> None:
    for arguments in (["x", "--size", "128"], ["x", "--seed", "x"], []):
        done = unclip("generate", *arguments, "--model", "../tiny", "--json")
        assert done.code == done.json["exit_code"] == 2
        assert done.json["error"]["message"] == done.error
        assert done.json["ok"] is False


def test_the_traceback_on_request(unclip: Command) -> None:
    done = unclip("generate", "x", "--size", "128", "--model", "../tiny", "-v")
    assert done.code == 2
    assert "Traceback" in done.err
