"""Model folders: what is written is what is read, whole or not at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from unclip.errors import CheckpointError
from unclip.pipeline import folders
from unclip.pipeline.folders import find_model, read_model
from unclip.pipeline.index import INDEX
from unclip.pipeline.pipeline import UnCLIPPipeline


def test_saved_and_loaded_again(pipe: UnCLIPPipeline, tiny_model: Path, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "copy")
    copy = UnCLIPPipeline.from_pretrained(tmp_path / "copy")
    assert copy.record == pipe.record  # also the hash: the same weights and configurations
    both = (read_model(folder).all() for folder in (tiny_model, tmp_path / "copy"))
    for stage, other in zip(*both, strict=True):
        assert stage.config == other.config
        assert stage.metadata == other.metadata
        assert stage.extra == other.extra
        assert stage.tensors.keys() == other.tensors.keys()
        for name, tensor in stage.tensors.items():
            assert torch.equal(tensor, other.tensors[name]), name
    first, second = (p("a red apple", seed=1, size=64).images[0] for p in (pipe, copy))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampling_leaves_the_weights_as_they_are(
    tiny_model: Path, tmp_path: Path, dtype: str
) -> None:
    """Packed copies are the stage's own, and gone after it."""
    fresh, used = (UnCLIPPipeline.from_pretrained(tiny_model, dtype=dtype) for _ in range(2))
    used("a red apple", seed=1)
    for name, pipe in (("fresh", fresh), ("used", used)):
        pipe.save_pretrained(tmp_path / name)
    first, second = (UnCLIPPipeline.from_pretrained(tmp_path / name) for name in ("fresh", "used"))
    assert first.record.hash == second.record.hash


def test_another_name_is_the_same_model(pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "copy", name="other")
    record = UnCLIPPipeline.from_pretrained(tmp_path / "copy").record
    assert (record.name, record.hash) == ("other", pipe.record.hash)
    with pytest.raises(CheckpointError, match="no name of a model"):
        pipe.save_pretrained(tmp_path / "wrong", name="a\nb")


def test_the_hash_names_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model)
    with torch.no_grad():
        next(pipe.decoder.parameters()).add_(1e-3)
    pipe.save_pretrained(tmp_path / "other")
    assert UnCLIPPipeline.from_pretrained(tmp_path / "other").record.hash != pipe.record.hash


def test_half_precision_on_disk(tiny_model: Path, tmp_path: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model, dtype=torch.bfloat16)
    pipe.save_pretrained(tmp_path / "half")
    again = UnCLIPPipeline.from_pretrained(tmp_path / "half", torch_dtype="bfloat16")
    assert again.dtype == torch.bfloat16
    assert again.clip.fingerprint() == pipe.clip.fingerprint()
    images = [p("x", seed=1, size=64).images[0].tobytes() for p in (pipe, again)]
    assert images[0] == images[1]


def test_saving_over_an_older_model_keeps_other_files(pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("my own words")
    (tmp_path / "notes.txt").write_text("mine")
    pipe.save_pretrained(tmp_path, name="second")
    assert (tmp_path / "README.md").read_text() == "my own words"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert read_model(tmp_path).name == "second"


def test_saving_into_something_else_is_refused(pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty and holds no model"):
        pipe.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(CheckpointError, match="cannot write"):
        pipe.save_pretrained(tmp_path / "thesis.txt")


def test_a_broken_save_is_no_model(
    pipe: UnCLIPPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.save_pretrained(tmp_path)
    saved = []

    def fail_at_the_third(folder: Path, *args: object, **kwargs: object) -> None:
        saved.append(folder)
        if len(saved) == 3:
            raise CheckpointError("disk full")

    monkeypatch.setattr(folders, "save_stage", fail_at_the_third)
    with pytest.raises(CheckpointError, match="disk full"):
        pipe.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=INDEX):
        read_model(tmp_path)


def test_the_card(pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: unclip\npipeline_tag: text-to-image\n")
    assert "64, 256, 1024 px" in card


def test_damage_is_found(tiny_model: Path, tmp_path: Path) -> None:
    for stage, name in (("decoder", "model.safetensors"), ("clip", "config.json")):
        model = tmp_path / stage
        shutil.copytree(tiny_model, model)
        content = bytearray((model / stage / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / stage / name).write_bytes(bytes(content))
        with pytest.raises(CheckpointError, match=f"{stage}.*damaged"):
            read_model(model)


def test_a_stage_in_another_ones_place(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    index["components"] |= {"prior": "decoder", "decoder": "prior"}
    (tmp_path / "m" / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="holds a decoder, expected a prior"):
        read_model(tmp_path / "m")


def test_finding_models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model(tiny_model) == (tiny_model, None)
    assert find_model(str(tiny_model)) == (tiny_model, None)
    (tmp_path / "file").touch()
    monkeypatch.setattr(folders, "bundled_folder", lambda: tmp_path)
    for name, reason in {
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "none"): "no model folder",
        "./none/deep/er": "hub id like owner/name",
        "a b": "no model folder",
        "x" * 5000: "no model folder",
        "nul\0": "no model folder",
        "../..": "has no",
        "": "no model folder",
        "pocket": "no bundled pocket model",
    }.items():
        with pytest.raises(CheckpointError, match=reason) as caught:
            read_model(find_model(name)[0])
        assert "\n" not in str(caught.value)


def test_pocket_is_the_bundled_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "bundled_folder", lambda: tiny_model)
    (tmp_path / "pocket").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("pocket") == (tiny_model, "pocket")
    assert find_model("./pocket") == (Path("pocket"), None)
    assert UnCLIPPipeline.from_pretrained().record.source == "pocket"
