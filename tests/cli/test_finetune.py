"""`unclip finetune`: from a folder of pictures to a LoRA or a model, of ours and of Karlo's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from unclip import UnCLIPPipeline
from unclip.checkpoint import load_stage
from unclip.lora_file import read_lora
from unclip.training import tracking

Command = Callable[..., Any]
ONE = ("--steps", "1", "--batch-size", "1")
BRIEF = ("--steps", "2", "--batch-size", "2")


@pytest.fixture
def pictures(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)  # TensorBoard is slow to start
    folder = here / "my_dog"
    folder.mkdir()
    for index, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (300, 260), colour).save(folder / f"{index}.png")
    (folder / "0.txt").write_text("a red dog")
    return folder


def test_lora_of_each_stage(unclip: Command, pictures: Path, here: Path) -> None:
    made = []
    for stage in ("prior", "decoder", "upsampler_256"):
        call = ("finetune", "../tiny", "my_dog", "--stage", stage, "--out", stage, "--rank", "2")
        done = unclip(*call, *BRIEF, "--lr", "0.01")
        assert done.code == 0, done.err
        path = done.out.strip()
        assert path == f"{stage}/final/pytorch_lora_weights.safetensors"
        assert 'pictures without a caption are called "my dog"' in done.err
        assert f'now: unclip generate "my dog" --model ../tiny --lora {path}' in done.err
        lora = read_lora(here / path)
        assert (lora.stage, lora.name, lora.base_name) == (stage, stage, "model")
        made += ["--lora", stage]
    done = unclip("generate", "my dog", "--seed", "1", *made, "--json", tiny=True)
    assert done.code == 0, done.err
    assert "may not paint" not in done.err
    assert [lora["name"] for lora in done.json["loras"]] == ["prior", "decoder", "upsampler_256"]
    recipe = yaml.safe_load((here / "prior" / "finetune.yaml").read_text())
    assert (recipe["whitening"], recipe["caption"]) == ("kept", "my dog")
    # The same command again has nothing left to do; another one is refused.
    again = ("finetune", "../tiny", "my_dog", "--stage", "prior", "--out", "prior", *BRIEF)
    assert unclip(*again, "--rank", "2", "--lr", "0.01").code == 0
    assert "prior holds a run with train.lora.rank = 2, now it is 4" in (
        unclip(*again, "--rank", "4", "--lr", "0.01").error
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prior", "decoder"])
def test_the_whole_stage(unclip: Command, pictures: Path, here: Path, stage: str) -> None:
    done = unclip("finetune", "../tiny", "my_dog", "--full", "--stage", stage, "-o", "dog", *BRIEF)
    assert done.code == 0, done.err
    assert done.out.strip() == "dog/model"
    before, after = (
        load_stage(p / stage).tensors for p in (here.parent / "tiny", here / "dog/model")
    )
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert not changed & {"clip_mean", "clip_std"}
    made = unclip("generate", "my dog", "--model", "dog/model", "--size", "64", "-o", "a.png")
    assert made.code == 0, made.err
    assert "using the model dog" in made.err


@pytest.mark.slow
def test_karlo(unclip: Command, pictures: Path, here: Path, kakao_folder: Path) -> None:
    (here.parent / "kakao").symlink_to(kakao_folder)
    for stage in ("decoder", "upsampler_256"):
        done = unclip("finetune", "../kakao", "my_dog", "--stage", stage, "--out", stage, *ONE)
        assert done.code == 0, done.err
    pipe = UnCLIPPipeline.from_pretrained(
        here.parent / "kakao", dtype="float32", loras=["decoder", "upsampler_256"]
    )
    assert [lora.name for lora in pipe.record.loras] == ["decoder", "upsampler_256"]
    layers = read_lora(here / "upsampler_256/final/pytorch_lora_weights.safetensors").pairs
    assert all(name.startswith("unet.") for name in layers)  # the last network is kept


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none"], "none is no folder of pictures"),
        (["my_dog", "--stage", "upsampler_64"], "has no stage upsampler_64: choose prior, decoder"),
        (["my_dog", "--full", "--rank", "3"], "--rank is of a LoRA"),
        (["my_dog", "--rank", "0"], "lora.rank is 0, expected 1 or more"),
        (["empty"], "has no captioned pictures"),
    ],
)
def test_refuses(
    unclip: Command, pictures: Path, here: Path, arguments: list[str], reason: str
) -> None:
    (here / "empty").mkdir()
    done = unclip("finetune", "../tiny", *arguments, "--out", "x")
    assert (done.code, done.out) == (2, "")
    assert reason in done.error


def test_a_clip_that_sees_nothing(
    unclip: Command, pictures: Path, here: Path, karlo_folder: Path
) -> None:
    (here.parent / "karlo").symlink_to(karlo_folder)
    done = unclip("finetune", "../karlo", "my_dog", "--out", "x")
    assert "the CLIP of karlo has no image tower, so no pictures can be learned from" in done.error
