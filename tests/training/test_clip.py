"""CLIP trains with open_clip in the one loop, and what is written is what was trained."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unclip.checkpoint import load_stage, read_tensors
from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP, prepare_images
from unclip.clip.files import clip_from_stage
from unclip.clip.weights import from_open_clip
from unclip.config import load_config
from unclip.data.samples import open_picture, to_tensor
from unclip.errors import ConfigError
from unclip.training import tracking
from unclip.training.clip import (
    ClipRun,
    ClipStage,
    hard_negative_loss,
    main,
    open_clip_config,
    retrieval_accuracy,
)
from unclip.training.draws import Draws
from unclip.training.state import read_checkpoint

CONFIG = Path(__file__).parents[2] / "configs" / "tiny" / "clip.yaml"
WORKER = Path(__file__).with_name("clip_worker.py")
COLOURS = {
    "red": (210, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 210),
    "yellow": (230, 215, 60),
    "black": (20, 20, 20),
    "white": (240, 240, 240),
    "pink": (240, 150, 190),
    "orange": (240, 150, 40),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, colour in COLOURS.items():
        for shade in range(2):
            pixel = tuple(max(0, value - 20 * shade) for value in colour)
            Image.new("RGB", (40, 36), pixel).save(folder / f"{name}{shade}.png")
            (folder / f"{name}{shade}.txt").write_text(f"a {name} square\n")
    return folder


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "find_spec", lambda _: None)  # TensorBoard is slow to start
        reset()
        arguments = ["--config", str(CONFIG), "--out", str(out), "--set", f"images={images}"]
        assert main([*arguments, "--set", "train.steps=40"]) == 0
        yield out
        reset()


def reset() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def load(folder: Path) -> CLIP:
    stage = load_stage(folder, "clip")
    return clip_from_stage(stage.config, stage.tensors, stage.extra)


def test_the_loss_falls(trained: Path):
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] > 1.5
    assert losses[-1] < 0.6 * losses[0]
    assert {"accuracy", "scale"} <= lines[-1].keys()


def test_the_stage_folder_knows_its_colours(trained: Path, images: Path):
    clip = load(trained / "final")
    labels = [f"a {name} square" for name in COLOURS]
    pictures = torch.stack([to_tensor(open_picture(images / f"{name}0.png")) for name in COLOURS])
    with torch.no_grad():
        best = clip.classify(pictures, labels).argmax(dim=1)
    assert (best == torch.arange(len(COLOURS))).float().mean() >= 0.75


def test_a_run_begins_from_another_clips_stage_folder(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reset()
    still = ("train.steps=1", "train.lr=0", "train.seed=5", f"train.start_from={trained / 'final'}")
    settings = [part for key in (f"images={images}", *still) for part in ("--set", key)]
    assert main(["--config", str(CONFIG), "--out", str(tmp_path), *settings]) == 0
    reset()
    assert ", 0 anew" in capsys.readouterr().out
    before, after = (load_stage(run / "final").tensors for run in (trained, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_stage_folder_equals_open_clips_averaged_model(trained: Path):
    config = load_config(ClipRun, CONFIG).model
    theirs = open_clip.CLIP(**open_clip_config(config)).eval()
    newest = max((trained / "checkpoints").glob("step_*"))
    theirs.load_state_dict(read_checkpoint(newest, "ema.0.1."))
    ours = load(trained / "final")
    assert ours.config == config

    prompts = ["a red square", "an unknown word: zyzzyva", ""]
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        text = theirs.encode_text(ours.tokenizer(prompts)[0])
        image = theirs.encode_image(prepare_images(pictures, config.image))
        assert (ours.encode_text(prompts).embed - text).abs().max() <= 1e-5
        assert (ours.encode_image(pictures) - image).abs().max() <= 1e-5
    assert torch.equal(ours.logit_scale, theirs.logit_scale)


def stage_of(images: Path, *overrides: str) -> ClipStage:
    reset()
    torch.manual_seed(0)
    stage = ClipStage(load_config(ClipRun, CONFIG, [f"images={images}", *overrides]))
    stage.prepare(torch.device("cpu"))
    return stage


def batch_of(stage: ClipStage, positions: range) -> dict:
    samples = [stage.dataset[position, position] for position in positions]
    return {
        "image": torch.stack([sample["image"] for sample in samples]),
        "caption": [sample["caption"] for sample in samples],
    }


def test_the_loss_is_the_symmetric_contrast_of_the_batch(images: Path):
    stage = stage_of(images)
    stage.model.logit_scale.data.fill_(2.0)
    batch = batch_of(stage, range(0, 16, 2))
    values = stage.loss(stage.model, batch, Draws(0, "clip", range(8)))

    picture = prepare_images(batch["image"], stage.config.model.image)
    image = functional.normalize(stage.model.encode_image(picture), dim=-1)
    text = functional.normalize(stage.model.encode_text(stage.tokenizer(batch["caption"])[0]))
    logits = math.e**2 * image @ text.T
    right = torch.arange(8)
    expected = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
    assert values["loss"].item() == pytest.approx(expected.item() / 2, rel=1e-5)
    assert values["scale"] == pytest.approx(math.e**2, rel=1e-5)


def test_the_scale_stays_below_100(images: Path):
    stage = stage_of(images)
    stage.model.logit_scale.data.fill_(9.0)
    values = stage.loss(stage.model, batch_of(stage, range(4)), Draws(0, "clip", range(4)))
    assert values["scale"] == pytest.approx(100, rel=1e-5)


def test_the_exported_scale_stays_below_100(images: Path, tmp_path: Path):
    stage = stage_of(images)
    stage.export(tmp_path / "clip", stage.model.state_dict() | {"logit_scale": torch.tensor(5.0)})
    assert load(tmp_path / "clip").logit_scale.exp().item() == pytest.approx(100, rel=1e-5)


def test_bfloat16_hardly_changes_the_loss(images: Path):
    stage = stage_of(images)
    batch, draws = batch_of(stage, range(0, 16, 2)), Draws(0, "clip", range(8))
    exact = stage.loss(stage.model, batch, draws)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = stage.loss(stage.model, batch, draws)
    assert rounded["loss"].dtype == torch.float32
    assert rounded["loss"].item() == pytest.approx(exact.item(), rel=0.02)


def test_a_caption_that_occurs_twice_is_right_both_times():
    text = torch.eye(3)[[0, 1, 1]]
    assert retrieval_accuracy(text, text) == 1
    assert retrieval_accuracy(torch.eye(3)[[1, 0, 1]], text) == pytest.approx(1 / 3)


def test_hard_negatives() -> None:
    image = functional.normalize(
        torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), dim=1
    )
    right, wrong, scale = image.clone(), -image, torch.tensor(10.0)
    loss, share = hard_negative_loss(image, right, wrong, scale)
    # The cross-entropy of choosing the right one of two.
    logits = scale * torch.stack([(image * right).sum(-1), (image * wrong).sum(-1)], dim=1)
    expected = functional.cross_entropy(logits, torch.zeros(3, dtype=torch.long))
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    assert share == 1
    loss, share = hard_negative_loss(image, wrong, right, scale)
    assert loss == pytest.approx(20.0, abs=1e-3)
    assert share == 0
    assert hard_negative_loss(image[:0], right[:0], wrong[:0], scale)[0] == 0


def test_a_vocabulary_of_ones_own(images: Path, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("r e\nre d</w>\n")
    stage = stage_of(images, f"merges={tmp_path / 'merges.txt'}", "model.text.vocab_size=516")
    assert len(stage.tokenizer.encode("red")) == 1
    stage.export(tmp_path / "final", stage.model.state_dict())
    folder = load_stage(tmp_path / "final", "clip")
    clip = clip_from_stage(folder.config, folder.tensors, folder.extra)
    assert clip.tokenizer.merges == (("r", "e"), ("re", "d</w>"))


def test_accumulation_is_refused(images: Path):
    with pytest.raises(ConfigError, match=r"train\.accumulation is 2, expected 1"):
        load_config(ClipRun, CONFIG, [f"images={images}", "train.accumulation=2"])


@pytest.mark.parametrize("mlp_dim", [29, 77, 100, 101])
def test_open_clip_builds_the_widths_that_were_asked_for(mlp_dim: int):
    config = CLIPConfig(
        embed_dim=7,
        activation="quick_gelu",
        eps=1e-6,
        text=TextConfig(width=49, num_layers=1, num_heads=7, mlp_dim=mlp_dim, vocab_size=514),
        image=ImageConfig(width=30, num_layers=1, num_heads=3, mlp_dim=mlp_dim),
    )
    settings = open_clip_config(config)
    model = open_clip.CLIP(**settings)
    assert from_open_clip(model.state_dict(), settings)[0] == config


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(images: Path, tmp_path: Path):
    stage = stage_of(images)
    batch = batch_of(stage, range(0, 16, 2))
    stage.loss(stage.model, batch, Draws(0, "clip", range(8)))["loss"].backward()
    expected = {n: p.grad for n, p in stage.model.named_parameters() if p.grad is not None}

    gradients = two_process_gradients(images, tmp_path / "gradients.safetensors")
    assert gradients.keys() == expected.keys()
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).abs().max() <= 1e-5 * largest, name


def two_process_gradients(images: Path, path: Path) -> dict[str, Tensor]:
    accelerate = Path(sys.executable).with_name("accelerate")
    options = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    arguments = [str(WORKER), str(CONFIG), str(images), str(path)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([accelerate, "launch", *options, *arguments], check=True, env=environment)
    return read_tensors(path)
