"""The real stages at the width of configs/tiny: what they refuse, and what a run is bound to."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from processes import TWO, contents, finish

from decoder.train import main as train_decoder
from prior.train import main as train_prior
from unclip.training.clip import main as train_clip
from upsamplers.train import main as train_upsampler

CONFIGS = Path(__file__).parents[2] / "configs" / "tiny"
Train = Callable[..., int]
MODULES = {
    "clip": "unclip.training.clip",
    "prior": "prior.train",
    "decoder": "decoder.train",
    "upsampler_256": "upsamplers.train",
    "upsampler_1024": "upsamplers.train",
}


@pytest.fixture
def train(
    tmp_path: Path, tiny_world: Path, tiny_chain, reset_accelerate: Callable[[], None]
) -> Train:
    """`train("prior", "train.steps=2", out=...)` runs a stage in this process."""
    mains = {"clip": train_clip, "prior": train_prior, "decoder": train_decoder}

    def run(stage: str, *overrides: str, out: Path | None = None) -> int:
        reset_accelerate()
        arguments = ["--config", str(CONFIGS / f"{stage}.yaml")]
        arguments += ["--out", str(out or tmp_path / stage)]
        for setting in (*settings(stage, tiny_world, tiny_chain.final("clip")), *overrides):
            arguments += ["--set", setting]
        return mains.get(stage, train_upsampler)(arguments)

    return run


def settings(stage: str, world: Path, clip: Path) -> list[str]:
    """Where a stage finds its pictures and its CLIP."""
    size = stage.removeprefix("upsampler_") if "upsampler" in stage else "64"
    companion = [f"clip={clip}"] if stage in ("prior", "decoder") else []
    return [f"images={world / size}", *companion]


def one_line(captured: str) -> str:
    lines = [line for line in captured.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, captured
    assert "Traceback" not in captured
    return lines[0]


@pytest.mark.parametrize("stage", ["prior", "decoder"])
def test_a_run_never_goes_on_with_another_clip(
    stage: str, train: Train, tmp_path: Path, tiny_chain, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "companion"
    shutil.copytree(tiny_chain.final("clip"), clip)
    assert train(stage, f"clip={clip}", "train.steps=1") == 0
    before = (tmp_path / stage / "final" / "manifest.json").read_bytes()
    # The same place, another CLIP: as when its run is made again.
    assert train("clip", "train.seed=1", "train.steps=1", out=tmp_path / "other") == 0
    shutil.rmtree(clip)
    shutil.copytree(tmp_path / "other" / "final", clip)
    capfd.readouterr()
    for steps in (1, 2):
        assert train(stage, f"clip={clip}", f"train.steps={steps}") == 2
        error = one_line(capfd.readouterr().err)
        assert "was trained on the clip " in error
        assert "choose another --out" in error
    assert (tmp_path / stage / "final" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("stage", "setting", "says"),
    [
        ("prior", "model.embed_dim=8", "prior: model.embed_dim is 8, but this CLIP's is 16"),
        ("prior", "model.text_width=8", "prior: model.text_width is 8, but this CLIP's is 32"),
        ("prior", "model.context_length=99", "prior: model.context_length is 99, but this CLIP's"),
        ("prior", "text_dropout=10", "prior: text_dropout is 10.0, expected 0 to 1"),
        ("prior", "model.sampling.candidates=0", "sampling.candidates is 0, expected 1 or more"),
        ("prior", "model.head_dim=7 model.num_heads=1", "prior: 1 heads of 7 make an odd width"),
        ("decoder", "model.embed_dim=8", "decoder: model.embed_dim is 8, but this CLIP's is 16"),
        ("decoder", "model.text_width=8", "decoder: model.text_width is 8, but this CLIP's is 32"),
        ("decoder", "text_dropout=50", "decoder: text_dropout is 50.0, expected 0 to 1"),
        ("decoder", "image_dropout=-1", "decoder: image_dropout is -1.0, expected 0 to 1"),
        ("decoder", "model.image_size=60", "image_size 60 is no multiple of 16"),
        ("decoder", "model.sampling.num_steps=0", "sampling.num_steps is 0, expected 1 to 1000"),
        ("decoder", "model.unet.positions=4", "decoder: unet.positions is 4, expected 0 or 8"),
        ("decoder", "model.unet.in_channels=4", "unet.in_channels is 4, expected 3"),
        ("decoder", "model.unet.extra_channels=1", "training feeds no extra channels"),
        ("upsampler_256", "crop_px=0", "crop_px is 0, expected 1 or more"),
        ("upsampler_256", "model.low_size=0", "low_size is 0, expected 1 or more"),
        ("upsampler_256", "model.sampling.augmentation=1.5", "expected 0 or more and below 1"),
        ("upsampler_256", "model.sampling.augmentation=0.9", "is above max_augmentation"),
        ("upsampler_256", "model.unet.positions=4", "trained on crops"),
        ("upsampler_256", "train.seed=-1", "train.seed is -1, expected 0 to"),
        ("upsampler_256", "train.clip_norm=0", "train.clip_norm is 0.0, expected above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    train: Train,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    stage: str,
    setting: str,
    says: str,
) -> None:
    assert train(stage, *setting.split()) == 2
    assert says in one_line(capfd.readouterr().err)
    assert not (tmp_path / stage / "checkpoints").exists()


def test_a_decoder_without_a_learned_null_is_trained_on_the_empty_prompt(
    train: Train, tmp_path: Path
) -> None:
    assert train("decoder", "model.learned_text_null=false", "train.steps=2") == 0
    assert (tmp_path / "decoder" / "final" / "manifest.json").is_file()


def test_pictures_that_do_not_differ_cannot_be_whitened(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "same").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), "teal").save(tmp_path / "same" / f"{number}.png")
        (tmp_path / "same" / f"{number}.txt").write_text("a square")
    assert train("prior", f"images={tmp_path / 'same'}") == 2
    assert "the 3 pictures of" in one_line(capfd.readouterr().err)


def test_fewer_steps_than_are_done_are_refused(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("upsampler_256", "train.steps=2") == 0
    before = (tmp_path / "upsampler_256" / "final" / "manifest.json").read_bytes()
    assert train("upsampler_256", "train.steps=1") == 2
    assert "is at step 2, past train.steps 1" in one_line(capfd.readouterr().err)
    assert (tmp_path / "upsampler_256" / "final" / "manifest.json").read_bytes() == before


@pytest.fixture
def start(
    tmp_path: Path, tiny_world: Path, tiny_chain, start_training: Callable
) -> Callable[..., "subprocess.Popen[str]"]:
    """`start("prior", "whole", "train.steps=4", launcher=TWO)` starts a fresh process."""

    def run(
        stage: str, out: str, *overrides: str, launcher: tuple[str, ...] = (sys.executable,)
    ) -> "subprocess.Popen[str]":
        command = [*launcher, "-m", MODULES[stage], "--config", str(CONFIGS / f"{stage}.yaml")]
        command += ["--out", str(tmp_path / out)]
        for setting in (*settings(stage, tiny_world, tiny_chain.final("clip")), *overrides):
            command += ["--set", setting]
        return start_training(command)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("stage", MODULES)
def test_every_stage_resumes_bit_exactly(stage: str, start: Callable, tmp_path: Path) -> None:
    finish(start(stage, "whole", "train.steps=4"))
    finish(start(stage, "parts", "train.steps=2"))
    assert "from step 2" in finish(start(stage, "parts", "train.steps=4"))
    assert contents(tmp_path / "parts", 4) == contents(tmp_path / "whole", 4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", MODULES)
def test_every_stage_trains_in_two_processes(stage: str, start: Callable, tmp_path: Path) -> None:
    output = finish(start(stage, "two", "train.steps=3", "train.accumulation=1", launcher=TWO))
    assert "parameters on 2 x cpu" in output
    assert (tmp_path / "two" / "final" / "manifest.json").is_file()
