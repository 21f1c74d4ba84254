"""diffusers' folders in all their forms load as the same networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from karlo_folders import Pair, let_diffusers_load
from safetensors.torch import load_file, save_file

from prior.model import Prior
from unclip.errors import CheckpointError
from unclip.karlo.load import is_karlo, open_karlo
from unclip.pipeline.pipeline import UnCLIPPipeline

STEM = {"text_encoder": "model", "image_encoder": "model"}
PICKLED = {"text_encoder": "pytorch_model", "image_encoder": "pytorch_model"}
NETWORKS = ("decoder", "prior", "super_res_first", "super_res_last", "text_encoder", "text_proj")


def state(pipe: UnCLIPPipeline) -> dict[str, torch.Tensor]:
    named = {"clip": pipe.clip, "prior": pipe.prior, "decoder": pipe.decoder}
    named |= {"upsampler": pipe.upsamplers[0]}
    return {
        f"{part}.{name}": tensor
        for part, module in named.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }


def weights(folder: Path, component: str) -> Path:
    return folder / component / f"{STEM.get(component, 'diffusion_pytorch_model')}.safetensors"


def as_hub(folder: Path) -> None:
    """The pipeline's own folder as library; the tokenizer in the files of that time."""
    index = json.loads((folder / "model_index.json").read_text())
    index["text_proj"] = ["unclip", "UnCLIPTextProjModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(folder.parent / "vocabulary", folder / "tokenizer")


def as_pickles(folder: Path) -> None:
    for component in NETWORKS:
        source = weights(folder, component)
        name = PICKLED.get(component, "diffusion_pytorch_model")
        torch.save(load_file(source), source.with_name(f"{name}.bin"))
        source.unlink()


def as_shards(folder: Path) -> None:
    for component in NETWORKS:
        source = weights(folder, component)
        tensors, where = load_file(source), {}
        for number, name in enumerate(tensors):
            where[name] = f"{source.stem}-{number % 2 + 1:05}-of-00002.safetensors"
        for shard in set(where.values()):
            part = {name: tensor for name, tensor in tensors.items() if where[name] == shard}
            save_file(part, source.with_name(shard))
        index = {"metadata": {}, "weight_map": where}
        source.with_name(f"{source.name}.index.json").write_text(json.dumps(index))
        source.unlink()


def with_buffers(folder: Path) -> None:
    """Old transformers saved the positions, too."""
    source = weights(folder, "text_encoder")
    extra = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(load_file(source) | extra, source)


@pytest.mark.parametrize("change", [as_hub, as_pickles, as_shards, with_buffers])
def test_every_form(
    prompts: Pair, karlo_root: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shutil.copytree(prompts.folder, tmp_path / "model")
    shutil.copytree(karlo_root / "tokenizer", tmp_path / "vocabulary")
    change(tmp_path / "model")
    pipe = UnCLIPPipeline.from_pretrained(tmp_path / "model")
    expected = state(prompts.ours)
    assert state(pipe).keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state(pipe).items())
    texts = ["lower newest", "horse's 7", "", "widest " * 90]
    for mine, theirs in zip(pipe.clip.tokenizer(texts), tokens(prompts, texts), strict=True):
        assert torch.equal(mine, theirs)


def tokens(pair: Pair, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers makes of texts, with 0 for padding, as Karlo's tokenizer has it."""
    made = pair.theirs.tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    mask = made.attention_mask.bool()
    return made.input_ids * mask, mask


def test_what_it_is(prompts: Pair, pictures: Pair) -> None:
    assert is_karlo(prompts.folder)
    model = open_karlo(prompts.folder, "mine")
    assert (model.name, model.licence) == ("mine", "creativeml-openrail-m")
    assert [stage.stage for stage in model.all()] == ["clip", "prior", "decoder", "upsampler"]
    assert prompts.ours.sizes == (8, 32)
    assert prompts.ours.record.name == "prompts"
    assert len(prompts.ours.record.hash or "") == 16
    other = open_karlo(pictures.folder)
    assert other.prior is None
    assert pictures.ours.prior is None
    assert pictures.ours.record.hash != prompts.ours.record.hash


def test_weights_are_mapped_and_never_drawn(prompts: Pair) -> None:
    """float32 weights in float32 stay in their file: nothing of their size is allocated."""
    first = next(iter(open_karlo(prompts.folder).decoder.tensors.values())).load()
    assert first.dtype == torch.float32
    assert not any(tensor.is_meta for tensor in state(prompts.ours).values())


def test_float16_files(prompts: Pair, tmp_path: Path) -> None:
    """A CPU takes bfloat16 or float32 for them, and says so."""
    shutil.copytree(prompts.folder, tmp_path / "model")
    for component in NETWORKS:
        source = weights(tmp_path / "model", component)
        save_file({k: v.half() for k, v in load_file(source).items()}, source)
    with pytest.warns(UserWarning, match="float16 is not computed on a CPU"):
        pipe = UnCLIPPipeline.from_pretrained(tmp_path / "model")
    computed = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    assert pipe.dtype == computed
    assert isinstance(pipe.prior, Prior)
    assert pipe.prior.proj_in.weight.dtype == computed
    # CLIP, and what whitens, stay exact.
    assert pipe.clip.text.projection.weight.dtype == torch.float32
    assert pipe.prior.clip_mean.dtype == torch.float32
    steps: dict[str, Any] = {"prior_num_inference_steps": 2, "num_inference_steps": 2}
    assert pipe("lower", seed=0, super_res_num_inference_steps=2, **steps).images
    exact = UnCLIPPipeline.from_pretrained(tmp_path / "model", dtype="float32")
    assert exact.dtype == torch.float32
    for name, tensor in state(exact).items():
        assert torch.allclose(tensor, state(prompts.ours)[name], atol=2e-3), name


def test_diffusers_itself_loads_with_the_names_that_it_lacks(
    pictures: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the parity tests compare with is what a patched diffusers makes of the same folder."""
    kind = type(pictures.theirs)
    # The benchmarks' tests may have lent it these names for good.
    monkeypatch.delattr(diffusers, "UnCLIPTextProjModel", raising=False)
    monkeypatch.delattr(diffusers.pipelines, "unclip", raising=False)
    with pytest.raises(Exception, match="UnCLIPTextProjModel"):
        kind.from_pretrained(pictures.folder)
    let_diffusers_load(monkeypatch)
    again = kind.from_pretrained(pictures.folder)
    for name, tensor in again.decoder.state_dict().items():
        assert torch.equal(tensor, pictures.theirs.decoder.state_dict()[name])


def test_ours_are_none_of_them(tiny_runs: Path, tmp_path: Path) -> None:
    assert not is_karlo(tiny_runs / "model")
    assert not is_karlo(tmp_path)
    (tmp_path / "prior-ckpt-step=01000000-of-01000000.ckpt").touch()
    assert is_karlo(tmp_path)
    with pytest.raises(CheckpointError):
        open_karlo(tmp_path)


def test_it_is_saved_as_one_of_ours(prompts: Pair, pictures: Pair, tmp_path: Path) -> None:
    for pair, name in ((prompts, "a"), (pictures, "b")):
        pair.ours.save_pretrained(tmp_path / name)
        assert not is_karlo(tmp_path / name)
        again = UnCLIPPipeline.from_pretrained(tmp_path / name)
        assert (again.prior is None) == (pair.ours.prior is None)
        expected = state(pair.ours)
        assert all(torch.equal(tensor, expected[k]) for k, tensor in state(again).items())
        texts = ["lower newest horse"]
        assert torch.equal(again.clip.tokenizer(texts)[0], pair.ours.clip.tokenizer(texts)[0])
