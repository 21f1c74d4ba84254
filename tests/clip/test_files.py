import pytest
import torch

from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_from_stage, clip_to_stage
from unclip.errors import CheckpointError, ConfigError

PROMPTS = ["a red cat", "naïve 日本!"]


def test_a_clip_survives_its_folder(tiny_clip: CLIP):
    config, tensors, extra = clip_to_stage(tiny_clip)
    again = clip_from_stage(config, tensors, extra)
    assert again.config == tiny_clip.config
    assert not again.training
    assert again.fingerprint() == tiny_clip.fingerprint()
    assert torch.equal(again.encode_text(PROMPTS).embed, tiny_clip.encode_text(PROMPTS).embed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_name_and_is_read_as_float32(tiny_clip: CLIP, dtype: torch.dtype):
    config, tensors, extra = clip_to_stage(tiny_clip)
    again = clip_from_stage(config, {name: t.to(dtype) for name, t in tensors.items()}, extra)
    assert again.fingerprint() == tiny_clip.fingerprint() == again.to(dtype).fingerprint()
    assert clip_to_stage(again)[0] == config
    text = again.float().encode_text(PROMPTS).embed
    assert text.dtype == torch.float32
    assert torch.allclose(text, tiny_clip.encode_text(PROMPTS).embed, atol=0.05)


def test_a_folder_without_a_name_is_named_by_its_weights(tiny_clip: CLIP):
    config, tensors, extra = clip_to_stage(tiny_clip)
    del config["fingerprint"]
    half = {name: tensor.half() for name, tensor in tensors.items()}
    for stored in (tensors, half):
        assert clip_from_stage(config, stored, extra).fingerprint() == tiny_clip.fingerprint()


def test_what_does_not_fit_is_named(tiny_clip: CLIP):
    config, tensors, extra = clip_to_stage(tiny_clip)
    with pytest.raises(CheckpointError, match=r"no merges\.txt"):
        clip_from_stage(config, tensors, {})
    fewer = {name: tensor for name, tensor in tensors.items() if name != "logit_scale"}
    with pytest.raises(CheckpointError, match="missing logit_scale"):
        clip_from_stage(config, fewer, extra)
    with pytest.raises(CheckpointError, match="unknown spare"):
        clip_from_stage(config, {**tensors, "spare": torch.zeros(1)}, extra)
    short = {**tensors, "text.final_norm.bias": torch.zeros(3)}
    with pytest.raises(
        CheckpointError, match=r"text\.final_norm\.bias is \(3,\), expected \(24,\)"
    ):
        clip_from_stage(config, short, extra)
    with pytest.raises(CheckpointError, match="and 84 more"):
        clip_from_stage(config, {}, extra)
    with pytest.raises(ConfigError, match=r"unknown key embed; did you mean embed_dim\?"):
        clip_from_stage({**config, "embed": 1}, tensors, extra)
