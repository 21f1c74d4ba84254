"""Both towers against open_clip and transformers, random values in every parameter, float32."""

from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig as HuggingFaceConfig
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP, prepare_images
from unclip.clip.files import build_clip
from unclip.clip.names import to_open_clip
from unclip.clip.weights import from_hugging_face, from_open_clip, from_openai
from unclip.errors import CheckpointError

PROMPTS = ["", "a red cat", "naïve 日本 🦄!", "far too many words to fit into so few tokens " * 9]
SHAPES = {
    "small": {"text": (24, 2, 3, 40, 8, 700), "image": (36, 3, 2, 77, 8, 24), "embed": 12},
    "deep": {"text": (64, 4, 1, 256, 77, 514), "image": (128, 4, 2, 512, 7, 56), "embed": 48},
    "wide heads": {"text": (96, 1, 8, 96, 24, 4096), "image": (48, 1, 12, 50, 16, 32), "embed": 5},
}


def open_clip_settings(shape: str, quick_gelu: bool, eps: float = 1e-5) -> dict[str, Any]:
    width, layers, heads, mlp, length, vocab = SHAPES[shape]["text"]
    v_width, v_layers, v_heads, v_mlp, patch, size = SHAPES[shape]["image"]
    return {
        "embed_dim": SHAPES[shape]["embed"],
        "quick_gelu": quick_gelu,
        "text_cfg": {
            "context_length": length,
            "vocab_size": vocab,
            "width": width,
            "heads": heads,
            "layers": layers,
            "mlp_ratio": (mlp + 0.5) / width,
            "norm_kwargs": {"eps": eps},
        },
        "vision_cfg": {
            "image_size": size,
            "patch_size": patch,
            "width": v_width,
            "head_width": v_width // v_heads,
            "layers": v_layers,
            "mlp_ratio": (v_mlp + 0.5) / v_width,
            "norm_kwargs": {"eps": eps},
        },
    }


def hugging_face_config(shape: str, activation: str, eos: int = 2) -> HuggingFaceConfig:
    width, layers, heads, mlp, length, vocab = SHAPES[shape]["text"]
    v_width, v_layers, v_heads, v_mlp, patch, size = SHAPES[shape]["image"]
    return HuggingFaceConfig(
        projection_dim=SHAPES[shape]["embed"],
        text_config={
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": mlp,
            "max_position_embeddings": length,
            "vocab_size": vocab,
            "hidden_act": activation,
            "projection_dim": SHAPES[shape]["embed"],
            "bos_token_id": 0,
            "eos_token_id": eos,
        },
        vision_config={
            "hidden_size": v_width,
            "num_hidden_layers": v_layers,
            "num_attention_heads": v_heads,
            "intermediate_size": v_mlp,
            "patch_size": patch,
            "image_size": size,
            "hidden_act": activation,
            "projection_dim": SHAPES[shape]["embed"],
        },
    )


def pictures(config: CLIPConfig) -> Tensor:
    size = config.image.image_size
    return torch.rand(3, 3, size, size) * 2 - 1


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_open_clip(shape: str, quick_gelu: bool, merges, randomise):
    settings = open_clip_settings(shape, quick_gelu)
    theirs = open_clip.CLIP(**settings).eval()
    randomise(theirs)
    config, tensors = from_open_clip(theirs.state_dict(), settings)
    assert config.activation == ("quick_gelu" if quick_gelu else "gelu")
    check_open_clip(build_clip(config, tensors, merges), theirs)


def test_our_names_lead_back_to_open_clips(randomise):
    settings = open_clip_settings("small", False)
    theirs = open_clip.CLIP(**settings)
    randomise(theirs)
    _, ours = from_open_clip(theirs.state_dict(), settings)
    back, expected = to_open_clip(ours), theirs.state_dict()
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], expected[name]) for name in expected)
    with pytest.raises(CheckpointError, match=r"'text\.extra' is no tensor of CLIP's towers"):
        to_open_clip({"text.extra": torch.zeros(1)})


def check_open_clip(ours: CLIP, theirs: open_clip.CLIP) -> None:
    text = ours.encode_text(PROMPTS)
    ids, _ = ours.tokenizer(PROMPTS)
    expected = theirs.forward_intermediates(
        text=ids, text_indices=1, normalize=False, normalize_intermediates=True
    )
    assert_close(text.embed, theirs.encode_text(ids))
    assert isinstance(expected["text_intermediates"], list)
    assert_close(text.hidden, expected["text_intermediates"][-1])
    images = pictures(ours.config)
    prepared = prepare_images(images, ours.config.image)
    assert_close(ours.encode_image(images), theirs.encode_image(prepared))
    assert torch.equal(ours.logit_scale, theirs.logit_scale)


def test_open_clips_text_tower_may_lie_one_level_down(merges, randomise):
    settings = open_clip_settings("small", False)
    theirs = open_clip.CustomTextCLIP(**settings).eval()
    randomise(theirs)
    ours = build_clip(*from_open_clip(theirs.state_dict(), settings), merges)
    ids, _ = ours.tokenizer(PROMPTS)
    assert_close(ours.encode_text(PROMPTS).embed, theirs.encode_text(ids))


def test_quick_gelu_is_told_by_the_caller_where_the_config_is_silent(randomise):
    settings = open_clip_settings("small", False)
    del settings["quick_gelu"]
    tensors = open_clip.CLIP(**settings).state_dict()
    assert from_open_clip(tensors, settings)[0].activation == "gelu"
    assert from_open_clip(tensors, settings, quick_gelu=True)[0].activation == "quick_gelu"


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14-quickgelu", "ViT-H-14"])
def test_open_clips_own_configs_are_understood(name: str):
    settings = open_clip.get_model_config(name)
    assert settings is not None
    with torch.device("meta"):
        model = open_clip.CLIP(**settings)
    small = {k: v for k, v in model.state_dict().items() if ".resblocks." not in k}
    small |= {k: v for k, v in model.state_dict().items() if ".resblocks.0." in k}
    config, _ = from_open_clip(small, settings)
    modules: dict[str, Any] = dict(model.named_modules())
    assert config.text.num_heads == modules["transformer.resblocks.0.attn"].num_heads
    assert config.image.num_heads == modules["visual.transformer.resblocks.0.attn"].num_heads
    assert config.image.image_size == 224
    assert config.activation == ("quick_gelu" if "quickgelu" in name else "gelu")


def test_reads_openais_file(merges, randomise):
    settings = open_clip_settings("deep", True)
    settings["text_cfg"]["heads"], settings["vision_cfg"]["head_width"] = 1, 64
    theirs = open_clip.CLIP(**settings).eval()
    randomise(theirs)
    extras = {
        "input_resolution": torch.tensor(56),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(514),
    }
    half = {name: tensor.half() for name, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(half)
    config, tensors = from_openai(half | extras)
    assert config.activation == "quick_gelu"
    check_open_clip(build_clip(config, tensors, merges), theirs)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_hugging_faces_clip_model(shape: str, activation: str, merges, randomise):
    settings = hugging_face_config(shape, activation)
    theirs = CLIPModel(settings).eval()
    randomise(theirs)
    theirs.logit_scale.fill_(3)
    tensors = theirs.state_dict() | {"text_model.embeddings.position_ids": torch.arange(9)[None]}
    both = settings.to_dict()
    config, tensors = from_hugging_face(tensors, both["text_config"], both["vision_config"])
    ours = build_clip(config, tensors, merges)

    text, images = ours.encode_text(PROMPTS), pictures(ours.config)
    ids, _ = ours.tokenizer(PROMPTS)
    prepared = prepare_images(images, ours.config.image)
    expected = theirs(input_ids=ids, pixel_values=prepared)
    assert_close(text.hidden, expected.text_model_output.last_hidden_state)
    assert_close(torch.nn.functional.normalize(text.embed), expected.text_embeds)
    image_embed = ours.encode_image(images)
    assert_close(torch.nn.functional.normalize(image_embed), expected.image_embeds)
    probabilities = expected.logits_per_image.softmax(dim=-1)
    assert probabilities.std() > 0.05
    assert (ours.classify(images, PROMPTS) - probabilities).abs().max() <= 1e-5


@pytest.mark.parametrize("eos", [2, -1])
def test_equals_hugging_faces_two_halves(eos: int, merges, randomise):
    settings = hugging_face_config("small", "quick_gelu", eos % SHAPES["small"]["text"][-1])
    assert isinstance(settings.text_config, CLIPTextConfig)
    assert isinstance(settings.vision_config, CLIPVisionConfig)
    text_model = CLIPTextModelWithProjection(settings.text_config).eval()
    vision_model = CLIPVisionModelWithProjection(settings.vision_config).eval()
    randomise(text_model)
    randomise(vision_model)
    config, tensors = from_hugging_face(
        text_model.state_dict() | vision_model.state_dict(),
        text_model.config.to_dict(),
        vision_model.config.to_dict(),
    )
    assert config.text.clean == "hugging_face"
    ours = build_clip(config, tensors, merges)
    assert ours.logit_scale.exp() == pytest.approx(100)

    text, images = ours.encode_text(PROMPTS), pictures(ours.config)
    expected = text_model(ours.tokenizer(PROMPTS)[0])
    assert_close(text.embed, expected.text_embeds)
    assert_close(text.hidden, expected.last_hidden_state)
    prepared = prepare_images(images, ours.config.image)
    assert_close(ours.encode_image(images), vision_model(prepared).image_embeds)


def test_hugging_faces_defaults_stand_in_for_what_a_config_leaves_out():
    settings = hugging_face_config("wide heads", "quick_gelu")
    tensors = CLIPModel(settings).state_dict()
    config, _ = from_hugging_face(tensors, {}, {})
    assert config.activation == "quick_gelu"
    assert (config.text.num_heads, config.image.num_heads, config.eps) == (8, 12, 1e-5)


def test_other_architectures_are_refused_by_name(tiny_clip: CLIP):
    settings = open_clip_settings("small", False)
    tensors = open_clip.CLIP(**settings).state_dict()
    with pytest.raises(CheckpointError, match="'logit_bias' is not part of a CLIP"):
        from_open_clip({**tensors, "logit_bias": torch.zeros(())}, settings)
    with pytest.raises(CheckpointError, match=r"'visual\.transformer\.resblocks\.0\.ls_1\.gamma'"):
        from_open_clip(
            {**tensors, "visual.transformer.resblocks.0.ls_1.gamma": torch.zeros(3)}, settings
        )
    options = {**settings["text_cfg"], "pool_type": "last"}
    with pytest.raises(CheckpointError, match="option pool_type = 'last'"):
        from_open_clip(tensors, {**settings, "text_cfg": options})
    with pytest.raises(CheckpointError, match="expected text_cfg and vision_cfg"):
        from_open_clip(tensors, {"model_cfg": settings})
    wordless = {k: v for k, v in tensors.items() if k != "token_embedding.weight"}
    with pytest.raises(CheckpointError, match=r"lack text\.token_embedding\.weight"):
        from_open_clip(wordless, settings)
    with pytest.raises(CheckpointError, match=r"lack ln_final\.weight"):
        from_openai({})
    with pytest.raises(CheckpointError, match="hidden_act 'gelu_new'"):
        from_hugging_face({}, {"hidden_act": "gelu_new"}, {"hidden_act": "gelu_new"})
    with pytest.raises(CheckpointError, match="towers differ in hidden_act"):
        from_hugging_face({}, {"hidden_act": "gelu"}, {})


def test_towers_with_different_eps_are_refused():
    settings = open_clip_settings("small", False)
    settings["text_cfg"]["norm_kwargs"] = None
    settings["vision_cfg"]["norm_kwargs"] = {"eps": 1e-6}
    tensors = open_clip.CLIP(**settings).state_dict()
    with pytest.raises(CheckpointError, match="differ in eps, 1e-05 and 1e-06"):
        from_open_clip(tensors, settings)
