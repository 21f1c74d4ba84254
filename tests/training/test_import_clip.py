"""A CLIP of another library as a stage folder, judged by that library."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig as HuggingFaceConfig
from transformers import CLIPModel

from unclip.clip.tokenize import open_clip_merges
from unclip.training.companions import load_clip
from unclip.training.import_clip import main

SETTINGS = {
    "embed_dim": 12,
    "quick_gelu": True,
    "text_cfg": {"context_length": 9, "vocab_size": 800, "width": 24, "heads": 3, "layers": 2},
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2},
}
PIXELS = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1]}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def normalised() -> torch.Tensor:
    mean, std = (torch.tensor(PIXELS[name])[:, None, None] for name in ("mean", "std"))
    return ((IMAGES + 1) / 2 - mean) / std


@torch.no_grad()
def test_open_clips_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = open_clip.CLIP(**SETTINGS).eval()
    source = tmp_path / "source"
    source.mkdir()
    save_file(dict(model.state_dict()), source / "open_clip_model.safetensors")
    about = {"model_cfg": SETTINGS, "preprocess_cfg": PIXELS}
    (source / "open_clip_config.json").write_text(json.dumps(about))
    assert main([str(source), "--out", str(tmp_path / "clip")]) == 0
    clip = load_clip(tmp_path / "clip")
    assert clip.fingerprint() in capsys.readouterr().out
    expected = model.encode_image(normalised())
    assert (clip.encode_image(IMAGES) - expected).abs().max() < 1e-5
    ids, _ = clip.tokenizer(["a red cat"])
    assert (clip.encode_text(["a red cat"]).embed - model.encode_text(ids)).abs().max() < 1e-5


@torch.no_grad()
def test_a_folder_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = HuggingFaceConfig(
        projection_dim=12,
        text_config={
            **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
            **{"intermediate_size": 40, "max_position_embeddings": 9, "vocab_size": 800},
            **{"eos_token_id": 799},
        },
        vision_config={
            **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"intermediate_size": 40, "patch_size": 8, "image_size": 16},
        },
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path / "source")
    # The merges that the vocabulary has room for, in the folder's own file.
    lines = [f"{first} {second}" for first, second in open_clip_merges()[: 800 - 514]]
    (tmp_path / "source" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    processor = {"image_mean": PIXELS["mean"], "image_std": PIXELS["std"]}
    (tmp_path / "source" / "preprocessor_config.json").write_text(json.dumps(processor))
    assert main([str(tmp_path / "source"), "--out", str(tmp_path / "clip")]) == 0
    clip = load_clip(tmp_path / "clip")
    expected = model.visual_projection(model.vision_model(normalised()).pooler_output)
    assert (clip.encode_image(IMAGES) - expected).abs().max() < 1e-5
    ids, _ = clip.tokenizer(["a red cat"])
    text = model.text_projection(model.text_model(ids).pooler_output)
    assert (clip.encode_text(["a red cat"]).embed - text).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has neither open_clip_config.json nor config.json"),
        ({"config.json": "{"}, "cannot be read as JSON"),
        ({"config.json": "[]"}, "holds no JSON object"),
        ({"config.json": '{"model_type": "bert"}'}, "is of 'bert', expected a CLIPModel"),
        ({"config.json": '{"text_config": {}, "vision_config": {}}'}, "model.safetensors"),
    ],
)
def test_other_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], says: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert main([str(tmp_path), "--out", str(tmp_path / "clip")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "clip").exists()
