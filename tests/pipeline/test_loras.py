"""LoRA files: what diffusers makes of them, what is refused, and that merging is exact."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_loras import write_random

from unclip import UnCLIPPipeline
from unclip.errors import CheckpointError, InputError
from unclip.lora_file import DIFFUSERS, OURS, parse_lora, read_lora
from unclip.nn.lora import PROJECTIONS
from unclip.pipeline import loras as merging


@pytest.fixture
def tiny(tiny_runs: Path) -> Callable[..., UnCLIPPipeline]:
    return lambda *loras: UnCLIPPipeline.from_pretrained(tiny_runs / "model", loras=loras)


def test_merged_when_loaded_and_later(tiny: Callable, tmp_path: Path) -> None:
    plain = tiny()
    wrapped = write_random(tmp_path / "a.safetensors", "decoder", plain.decoder, alpha=3.0)
    write_random(tmp_path / "b.safetensors", "prior", plain.prior)
    write_random(tmp_path / "c.safetensors", "upsampler_256", plain.upsamplers[0])
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    pipe = tiny(f"{files[0]}:0.5", *files[1:], files[0])
    name = "unet.mid_block.resnets.0.conv2"
    delta = wrapped.adapters()[name].delta()
    assert delta.abs().max() > 0.1
    before, after = plain.decoder.state_dict(), pipe.decoder.state_dict()
    torch.testing.assert_close(
        after[f"{name}.weight"], before[f"{name}.weight"] + 1.5 * delta, rtol=1e-6, atol=1e-6
    )
    assert torch.equal(after["unet.conv_in.weight"], before["unet.conv_in.weight"])

    for path, scale in ((files[0], 1.5), (files[1], 1.0), (files[2], 1.0)):
        plain.load_lora(path, scale)
    for one, other in zip(plain.model, pipe.model, strict=True):
        networks = zip(*(n if isinstance(n, tuple) else (n,) for n in (one, other)), strict=True)
        for left, right in networks:
            for key, value in left.state_dict().items():
                torch.testing.assert_close(value, right.state_dict()[key], rtol=1e-6, atol=1e-6)
    scales = [(lora.name, lora.scale) for lora in pipe.record.loras]
    assert scales == [("sks", 0.5), ("sks", 1.0), ("sks", 1.0), ("sks", 1.0)]
    with pytest.raises(InputError, match="with low memory, what is written into weights is lost"):
        pipe.enable_low_memory().load_lora(files[0])


def test_karlo_is_rounded_once_and_diffusers_reads_the_file(
    karlo_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from peft import LoraConfig, get_peft_model_state_dict

    plain = UnCLIPPipeline.from_pretrained(karlo_folder)
    path = tmp_path / "k.safetensors"
    wrapped = write_random(path, "decoder", plain.decoder, alpha=1.0, targets=PROJECTIONS)
    unet = UNet2DConditionModel.from_pretrained(karlo_folder / "decoder")
    names = [name for name in PROJECTIONS if not name.startswith("ff")]
    unet.add_adapter(LoraConfig(r=2, target_modules=names), "same")
    theirs = {f"unet.{name}" for name in get_peft_model_state_dict(unet, adapter_name="same")}
    assert set(load_file(path)) == theirs

    # What diffusers makes of it, merged by PEFT.
    unet = UNet2DConditionModel.from_pretrained(karlo_folder / "decoder")
    unet.load_lora_adapter(str(tmp_path), weight_name=path.name, prefix="unet")
    unet.fuse_lora()
    unet.unload_lora()
    merged = UnCLIPPipeline.from_pretrained(karlo_folder, loras=[path])
    ours = merged.decoder.unet.state_dict()
    for name, value in unet.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-6)

    half = UnCLIPPipeline.from_pretrained(karlo_folder, loras=[path], dtype="bfloat16")
    name = next(iter(wrapped.adapters())) + ".weight"
    expected = merged.decoder.state_dict()[name].bfloat16()
    assert torch.equal(half.decoder.state_dict()[name], expected)
    low = UnCLIPPipeline.from_pretrained(karlo_folder, loras=[path], low_memory=True)
    assert torch.equal(low.decoder.state_dict()[name], merged.decoder.state_dict()[name])
    # A model has one fingerprint in any precision.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UnCLIPPipeline.from_pretrained(karlo_folder, dtype="bfloat16").load_lora(path)


def test_another_base_is_told(tiny: Callable, tmp_path: Path, karlo_folder: Path) -> None:
    plain = tiny()
    with torch.no_grad():
        plain.decoder.unet.conv_in.weight.mul_(1.1)
    path = tmp_path / "a.safetensors"
    write_random(path, "decoder", plain.decoder)
    with pytest.warns(UserWarning, match=r"trained beside the decoder of tiny \(\w+\), this is"):
        tiny(path)
    with pytest.raises(CheckpointError, match=r"LoRA sks does not fit the decoder of karlo: unet"):
        UnCLIPPipeline.from_pretrained(karlo_folder, loras=[path])
    write_random(path, "upsampler_256", plain.upsamplers[0])
    with pytest.raises(CheckpointError, match="for the stage upsampler_256, but karlo has prior, "):
        UnCLIPPipeline.from_pretrained(karlo_folder, loras=[path])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("unet.a.lora_A.weight"), "unet.a has lora_A or lora_B alone"),
        (lambda t: t.update(other=torch.ones(1)), "no LoRA of an unCLIP: .* got other"),
        (lambda t: t.clear(), "got no tensors"),
        (lambda t: t.update({"unet.a.lora_B.weight": torch.ones(4, 3)}), r"lora_B \(4, 3\), expec"),
        (lambda t: t["unet.a.lora_A.weight"].fill_(torch.nan), "not finite: train it again"),
        (lambda t: t.update({"prior.a.lora_A.weight": torch.ones(1, 1)}), "both a prior and"),
    ],
)
def test_damaged_files(tmp_path: Path, change: Callable, reason: str) -> None:
    tensors = {"unet.a.lora_A.weight": torch.ones(2, 5), "unet.a.lora_B.weight": torch.ones(4, 2)}
    change(tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=reason):
        read_lora(tmp_path / "a.safetensors")


def test_other_programs_files(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    tensors = {"unet.a.lora_A.weight": torch.ones(2, 5), "unet.a.lora_B.weight": torch.ones(4, 2)}
    save_file(tensors, path)
    lora = read_lora(path)
    assert (lora.name, lora.stage, lora.base) == ("style", "decoder", None)
    assert lora.pairs["unet.a"].scale == 1
    save_file(tensors | {"unet.a.alpha": torch.tensor(3.0)}, path)
    assert read_lora(path).pairs["unet.a"].scale == 1.5
    assert torch.equal(read_lora(path).delta("unet.a", 2.0), torch.full((4, 5), 6.0))
    save_file(tensors, path, metadata={DIFFUSERS: json.dumps({"unet.use_dora": True})})
    with pytest.raises(CheckpointError, match="LoRA with use_dora, which is not read here"):
        read_lora(path)
    save_file(tensors, path, metadata={OURS: json.dumps({"stage": "../x"})})
    with pytest.raises(CheckpointError, match=r"is for the stage \.\./x, its layers are not"):
        read_lora(path)
    path.write_bytes(b"\x80\x02pickle")
    with pytest.raises(CheckpointError, match="only safetensors is read"):
        read_lora(path)


def test_places_and_scales(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    place = tmp_path / "final" / "pytorch_lora_weights.safetensors"
    place.touch()
    assert parse_lora(str(tmp_path)) == (place, 1.0)
    assert parse_lora(f"{tmp_path}:-0.5") == (place, -0.5)
    odd = tmp_path / "a:2"
    odd.touch()
    assert parse_lora(str(odd)) == (odd, 1.0)
    for text, reason in ((f"{place}:x", "is 'x', expected a number"), ("none:1", "no LoRA none:1")):
        with pytest.raises(InputError, match=reason):
            parse_lora(text)


def test_the_file_says_what_it_is(tiny: Callable, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_random(path, "prior", tiny().prior, alpha=4.0)
    with safe_open(path, "pt") as file:
        adapter = json.loads(file.metadata()[DIFFUSERS])
        assert "prior.transformer_blocks.0.ff.net.0.proj.lora_B.weight" in set(file.keys())
    assert (adapter["prior.r"], adapter["prior.lora_alpha"]) == (2, 4.0)
    assert (
        merging.read_loras([f"{path}:2"])[0].lora.pairs["transformer_blocks.0.ff.net.2"].scale == 2
    )
