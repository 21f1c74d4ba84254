"""Every verb but `generate`, run in this process on a tiny model."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from unclip import __version__
from unclip.cli.interrupts import interrupt_held
from unclip.cli.main import VERBS, main
from unclip.pipeline import folders
from unclip.provenance.metadata import encode_png, read_record

Command = Callable[..., Any]
"""`unclip ARGUMENTS...`, of conftest.py."""


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_variations(unclip: Command, here: Path) -> None:
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB").save("my photo.png")
    arguments = ["variations", "my photo.png", "-n", "2", "--seed", "5"]
    done = unclip(*arguments, "--strength", "strong", "--fit", "pad", tiny=True)
    assert done.code == 0
    assert done.out.splitlines() == ["my-photo-variation-5.png", "my-photo-variation-6.png"]
    record = read_record("my-photo-variation-6.png")
    assert (record.verb, record.prompt, record.seed) == ("variations", None, 6)
    assert record.photo is not None
    assert (record.photo.fit, record.photo.strength) == ("pad", 0.6)
    assert record.sampling.prior_steps is None
    quick = unclip(*arguments, "--quality", "draft", "--out", "q.png", "-v", tiny=True)
    assert "quality draft: decoder 4 steps of dpmpp_2m, guided from 0.8 to 0.2" in quick.err
    assert read_record("q_001.png").sampling.guidance_interval == (0.2, 0.8)
    done = unclip(*arguments, "--strength", "0.5", "--out", "v/", "--grid", "--json", tiny=True)
    assert done.json["strength"] == 0.5
    assert len(names(here / "v")) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.png"], "No such file"),
        (["."], "is a folder"),
        (["text.png"], "is no PNG, JPEG or WebP picture"),
        (["a.png", "--strength", "2"], "strength is 2, expected 0 to 1, subtle or strong"),
        (["a.png", "--strength", "weak"], "strength is weak"),
        (["a.png", "--fit", "zoom"], "choose crop, pad or stretch"),
        (["a.png", "-n", "0"], "got 0 as the number"),
        ([], "Missing argument"),
        (["a.png", "--prior-guidance", "3"], "No such option"),
    ],
)
def test_variations_refuse(unclip: Command, here: Path, arguments: list[str], reason: str) -> None:
    Image.new("RGB", (9, 9)).save("a.png")
    Path("text.png").write_text("hello")
    done = unclip("variations", *arguments, tiny=True)
    assert (done.code, done.out) == (2, "")
    assert reason in done.error
    assert names(here) == ["a.png", "text.png"]


def test_info_of_a_picture(unclip: Command) -> None:
    unclip("generate", "a red apple", "--seed", "3", "--out", "a", tiny=True)
    done = unclip("info", "a.png")
    assert done.code == 0
    assert "  prompt: a red apple" in done.out.splitlines()
    assert "  seed: 3" in done.out.splitlines()
    data = unclip("info", "a.png", "--json").json
    assert (data["width"], data["record"]["seed"]) == (64, 3)
    assert data["parameters"].startswith("a red apple\n")

    Image.new("RGB", (5, 4)).save("plain.jpg")
    done = unclip("info", "plain.jpg")
    assert (done.code, "record: none" in done.out) == (0, True)


def test_info_of_a_model(unclip: Command) -> None:
    done = unclip("info", "../tiny")
    assert done.code == 0
    assert "  name: tiny" in done.out
    data = unclip("info", "../tiny", "--json").json
    assert data["model"]["sizes"] == [64, 256, 1024]
    stages = [stage["stage"] for stage in data["stages"]]
    assert stages == ["clip", "prior", "decoder", "upsampler", "upsampler"]
    assert data["stages"][2]["config"]["image_size"] == 64


@pytest.mark.parametrize("target", ["none.png", "nowhere", "text.txt", "."])
def test_info_of_nothing(unclip: Command, target: str) -> None:
    Path("text.txt").write_text("hello")
    done = unclip("info", target)
    assert (done.code, done.out) == (2, "")
    assert target in done.error


def test_info_shows_no_commands_to_the_terminal(unclip: Command) -> None:
    unclip("generate", "\x1b[2Jgone", "--out", "a", tiny=True)
    assert "\x1b" not in unclip("info", "a.png").out


def pixels(path: str) -> bytes:
    return Image.open(path).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_repro_is_bit_equal(unclip: Command, here: Path, dtype: str) -> None:
    """Also of a picture that was made among others, with settings of its own."""
    unclip(
        *("generate", "a red apple", "a blue car", "-n", "3", "--seed", "3", "--out", "a"),
        *("--steps", "3", "--guidance", "4", "--dtype", dtype),
        *("--model", "../tiny", "--size", "256"),
    )
    done = unclip("repro", "a_005.png", "--model", "../tiny", "--json")
    assert done.code == 0, done.err
    assert (done.json["equal"], done.json["max_difference"]) == (True, 0)
    assert [p["path"] for p in done.json["pictures"]] == ["a_005-repro.png"]
    assert "equal to a_005.png, bit for bit" in done.err
    assert pixels("a_005.png") == pixels("a_005-repro.png")
    assert read_record("a_005.png") == read_record("a_005-repro.png")
    assert len(names(here)) == 7


def test_repro_of_a_variation(unclip: Command) -> None:
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB").save("photo.png")
    unclip("variations", "photo.png", "-n", "2", "--out", "v", "--fit", "stretch", tiny=True)
    done = unclip("repro", "v_002.png", "--model", "../tiny")
    assert "pass the picture it was made of as --image" in done.error
    done = unclip("repro", "v_002.png", "--model", "../tiny", "--image", "v_001.png")
    assert "another picture than the one" in done.error
    done = unclip("repro", "v_002.png", "--model", "../tiny", "--image", "photo.png")
    assert done.code == 0
    assert "bit for bit" in done.err


def test_repro_of_a_draft_and_of_an_older_record(unclip: Command) -> None:
    """A record that names no sampler and no start of the upsamplers means the model's own."""
    arguments = ["generate", "x", "--seed", "1", "--model", "../tiny", "--size", "256"]
    more = ["--quality", "draft", "--super-res-sampler", "ddpm", "--super-res-start", "0.3"]
    unclip(*arguments, "--out", "draft.png", *more)
    assert unclip("repro", "draft.png", "--model", "../tiny", "--json").json["equal"] is True

    unclip(*arguments, "--out", "own.png")
    with Image.open("own.png") as image:
        text = dict(image.info)
        record = json.loads(text["unclip"])
        assert record["sampling"].pop("super_res_samplers") == ["ddim"]
        assert record["sampling"].pop("super_res_starts") == [1.0]
        assert record["sampling"].pop("guidance_interval") is None
        info = PngImagePlugin.PngInfo()
        info.add_itxt("unclip", json.dumps(record))
        image.save("older.png", pnginfo=info)
    assert read_record("older.png").sampling.super_res_starts == ()
    assert unclip("repro", "older.png", "--model", "../tiny", "--json").json["equal"] is True


def test_repro_tells_a_difference(unclip: Command) -> None:
    unclip("generate", "x", "--seed", "1", "--out", "a", tiny=True)
    record = read_record("a.png")
    from unclip.provenance.metadata import encode_png

    other = Image.fromarray(np.asarray(Image.open("a.png")) // 2 * 2)
    Path("b.png").write_bytes(encode_png(other, record))
    done = unclip("repro", "b.png", "--model", "../tiny", "--json")
    assert done.code == 0
    assert done.json["equal"] is False
    assert done.json["max_difference"] == 1
    assert "differs from b.png by up to" in done.err


@pytest.mark.parametrize("link", [False, True])
def test_repro_never_overwrites_what_it_compares(unclip: Command, link: bool) -> None:
    unclip("generate", "x", "--seed", "1", "--out", "a.png", tiny=True)
    before = Path("a.png").read_bytes()
    if link:
        Path("b.png").symlink_to("a.png")
    out = "b.png" if link else "a.png"
    done = unclip("repro", "a.png", "--model", "../tiny", "--out", out, "--force")
    assert done.code == 2
    assert "is the picture itself" in done.error
    assert Path("a.png").read_bytes() == before


@pytest.mark.parametrize("source", ["../tiny", "/etc", "https://x/y", "a/b/c"])
def test_repro_loads_no_folder_that_a_picture_names(unclip: Command, source: str) -> None:
    unclip("generate", "an apple", "--out", "a.png", "--seed", "1", tiny=True)
    record = read_record("a.png")
    foreign = replace(record, model=replace(record.model, source=source))
    Path("b.png").write_bytes(encode_png(Image.open("a.png"), foreign))
    done = unclip("repro", "b.png")
    assert done.code == 2
    assert done.error == "b.png holds a record that is damaged: its model is no public one"


def test_repro_refuses_another_model(unclip: Command, tiny_runs: Path, here: Path) -> None:
    unclip("generate", "x", "--seed", "1", "--out", "a", tiny=True)
    parts = [f"{name}={tiny_runs / name}" for name in ("clip", "prior", "decoder")]
    assert unclip("assemble", *parts, "--out", "other").code == 0
    done = unclip("repro", "a.png", "--model", "other")
    assert done.code == 2
    assert "was made with the model tiny (" in done.error
    assert "this is other (" in done.error
    done = unclip("repro", "a.png")
    assert "pass its folder as --model" in done.error
    Image.new("RGB", (4, 4)).save("plain.png")
    assert "holds no unclip record" in unclip("repro", "plain.png").error
    assert not Path("a-repro.png").exists()


def test_doctor(unclip: Command) -> None:
    done = unclip("doctor")
    assert done.code == 0
    for word in (
        "torch: ",
        "memory: ",
        "devices: name cpu",
        "attention: backend sdpa, state usable",
    ):
        assert word in done.out
    data = unclip("doctor", "--json").json
    cpu = data["devices"][-1]
    assert cpu["name"] == "cpu"
    assert {"float32", "bfloat16"} <= set(cpu["precisions"])
    assert data["would_run"]["model"] == "pocket"
    assert data["memory"].keys() == {"total_gb", "available_gb"}


def test_assemble(unclip: Command, tiny_runs: Path, here: Path) -> None:
    parts = [f"{name}={tiny_runs / name}" for name in ("clip", "prior", "decoder")]
    parts += [f"upsamplers={tiny_runs / 'upsampler_256'},{tiny_runs / 'upsampler_1024'}"]
    done = unclip("assemble", *parts, "--out", "mine", "--name", "My model", "--dtype", "float16")
    assert (done.code, done.out) == (0, "mine\n")
    assert "assembled the model My model (" in done.err
    assert unclip("generate", "x", "--model", "mine", "--size", "64").code == 0
    again = unclip("assemble", *parts, "--out", "mine")
    assert (again.code, "pass --force" in again.error) == (2, True)
    again = unclip("assemble", *parts, "--out", "mine", "--force", "--json")
    assert again.json["model"]["name"] == "mine"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("prior={root}/decoder", "holds a decoder, expected a prior"),
        ("prior=nowhere", "nowhere is no stage folder"),
        ("upsamplers={root}/upsampler_1024", "but the decoder gives 64 px"),
        ("something", "no part of a model"),
    ],
)
def test_assemble_refuses(
    unclip: Command, tiny_runs: Path, here: Path, part: str, reason: str
) -> None:
    part = part.format(root=tiny_runs)
    kinds = ("clip", "prior", "decoder")
    parts = [f"{k}={tiny_runs / k}" for k in kinds if not part.startswith(k)]
    done = unclip("assemble", *parts, part, "--out", "mine")
    assert (done.code, done.out) == (2, "")
    assert reason in done.error
    assert names(here) == []


def test_the_bundled_model_is_the_default(
    unclip: Command, tiny_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "bundled_folder", lambda: tiny_runs / "model")
    done = unclip("generate", "x", "--size", "64", "--out", "a")
    assert done.code == 0
    assert done.err.startswith("using the bundled pocket model (")
    assert done.err.count("pocket") == 1
    # Then it needs no word on the model to make the picture again.
    assert "bit for bit" in unclip("repro", "a.png").err
    monkeypatch.setattr(folders, "bundled_folder", lambda: tiny_runs)
    assert "no bundled pocket model" in unclip("generate", "x").error


def test_numbers_that_are_not_finite(
    unclip: Command, tiny_runs: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged model with a whole manifest: exit code 4, and no picture."""
    import torch

    from unclip.pipeline.pipeline import UnCLIPPipeline

    pipe = UnCLIPPipeline.from_pretrained(tiny_runs / "model")
    with torch.no_grad():
        pipe.decoder.unet.conv_out.weight.view(-1)[0] = float("inf")
    pipe.save_pretrained("broken")
    before = names(here)
    done = unclip("generate", "x", "--model", "broken", "--size", "64")
    assert done.code == 4
    assert "the stage decoder gave values that are not finite in float32" in done.error
    assert names(here) == before


@pytest.mark.parametrize("verb", VERBS)
def test_help(unclip: Command, verb: str) -> None:
    done = unclip(verb, "--help")
    assert done.code == 0
    assert "Usage: unclip" in done.out


def test_an_interrupt_is_held_while_libraries_load() -> None:
    steps = []

    def load() -> None:
        with interrupt_held():
            signal.raise_signal(signal.SIGINT)
            steps.append("loaded")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert steps == ["loaded"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with interrupt_held():
        pass


def test_calls_that_name_no_verb(unclip: Command) -> None:
    assert unclip("--version").out == f"unclip {__version__}\n"
    assert "Exit codes: 0 done" in unclip("--help").out
    assert "generate" in unclip().out
    assert unclip("paint").code == 2
    assert "No such command" in unclip("paint").error
    assert unclip("--bogus", "--json").json["verb"] == "unclip"


def test_readme_names_every_exit_code(unclip: Command) -> None:
    text = " ".join(unclip("--help").out.split())
    for code in ("1 unexpected", "2 refused input", "3 training diverged", "130 interrupted"):
        assert code in text
    assert "4 numbers" in text


def test_main_takes_arguments_from_the_process(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["unclip", "--version"])
    assert main() == 0
    assert __version__ in capfd.readouterr().out
