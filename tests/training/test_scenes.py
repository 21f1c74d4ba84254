"""The real stages, trained for two steps on scenes that are painted as they are needed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from decoder.train import main as train_decoder
from prior.train import main as train_prior
from unclip.training.clip import main as train_clip
from upsamplers.train import main as train_upsampler

CONFIGS = Path(__file__).parents[2] / "configs" / "tiny"
MAINS = {"clip": train_clip, "prior": train_prior, "decoder": train_decoder}
Train = Callable[..., int]


@pytest.fixture
def train(
    tmp_path: Path, tiny_set: Path, tiny_chain: Any, reset_accelerate: Callable[[], None]
) -> Train:
    """`train("prior", {"num": 8}, lr=0.1)` trains a stage on scenes for two steps."""

    def run(stage: str, scenes: dict[str, Any], **top: Any) -> int:
        reset_accelerate()
        config = yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text())
        config |= {"images": {"set": str(tiny_set), **scenes}, **top}
        config["train"] |= {"steps": 2, "log_every": 1}
        if stage in ("prior", "decoder"):
            config["clip"] = str(tiny_chain.final("clip"))
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
        out = str(tmp_path / "run")
        return MAINS.get(stage, train_upsampler)(["--config", f"{tmp_path}/run.yaml", "--out", out])

    return run


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def test_clip_with_hard_negatives(train: Train, tmp_path: Path) -> None:
    assert train("clip", {"synonym_share": 0.3}, hard_negatives=0.5) == 0
    assert all(0 <= row["told_apart"] <= 1 for row in rows(tmp_path))
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("stage", "scenes"),
    [
        ("prior", {"num": 12}),
        ("decoder", {"world": {"filter_share": 0.0, "kinds": {"single": 1.0, "ride": 2.0}}}),
        ("upsampler_256", {"num": 2}),
    ],
)
def test_the_other_stages(train: Train, tmp_path: Path, stage: str, scenes: dict[str, Any]) -> None:
    if stage == "upsampler_256":
        scenes = scenes | {"cache": str(tmp_path / "cache")}
    assert train(stage, scenes) == 0
    assert len(rows(tmp_path)) == 2
    if stage == "upsampler_256":
        assert len(list((tmp_path / "cache").glob("*.png"))) <= 2


@pytest.mark.parametrize(
    ("stage", "scenes", "top", "message"),
    [
        ("prior", {}, {}, "prior: all scenes are embedded first: set images.num"),
        ("decoder", {"word": {}}, {}, "unknown key images.word; did you mean images.world?"),
        ("decoder", {"world": {"jitter": 1.0}}, {}, "world.jitter is 1.0, expected 0 to 0.2"),
        ("decoder", {"set": "absent"}, {}, "absent is no finished set of drawings"),
        ("clip", {"synonym_share": 2.0}, {}, "images.synonym_share is 2.0, expected 0 to 1"),
    ],
)
def test_settings_that_cannot_be_used(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    scenes: dict[str, Any],
    top: dict[str, Any],
    message: str,
) -> None:
    assert train(stage, scenes, **top) == 2
    assert message in capsys.readouterr().err


def test_a_folder_has_no_hard_negatives(
    train: Train, tiny_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("clip", {}, images=str(tiny_world / "64"), hard_negatives=1.0) == 2
    assert "hard_negatives need scenes" in capsys.readouterr().err
