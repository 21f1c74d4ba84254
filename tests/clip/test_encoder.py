import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP, prepare_images
from unclip.clip.tokenize import Tokenizer
from unclip.data.samples import to_tensor
from unclip.errors import ConfigError, InputError


def test_text_features_have_one_row_a_prompt(tiny_clip: CLIP):
    text = tiny_clip.encode_text(["a cat", ""])
    assert (text.embed.shape, text.hidden.shape) == ((2, 12), (2, 10, 24))
    assert text.mask.sum(dim=1).tolist() == [len(tiny_clip.tokenizer.encode("a cat")) + 2, 2]
    assert len(tiny_clip.encode_text([])) == 0


def test_padding_and_neighbours_do_not_reach_a_prompt(tiny_clip: CLIP):
    alone, many = tiny_clip.encode_text(["cat"]), tiny_clip.encode_text(["a dog and more", "cat"])
    assert torch.allclose(alone.embed[0], many.embed[1], atol=1e-6)
    ids, mask = tiny_clip.tokenizer(["cat"])
    padded = torch.where(mask, ids, 5)
    other = tiny_clip.encode_tokens(padded, mask)
    assert torch.allclose(alone.embed, other.embed, atol=1e-6)
    assert torch.allclose(alone.hidden[mask], other.hidden[mask], atol=1e-6)


def test_one_prompt_must_stand_in_a_list(tiny_clip: CLIP):
    with pytest.raises(InputError, match="expected a list"):
        tiny_clip.encode_text("a cat")


def test_classify_is_the_softmax_of_scaled_cosines(tiny_clip: CLIP):
    tiny_clip.logit_scale.fill_(math.log(20))
    images, labels = torch.rand(2, 3, 24, 24) * 2 - 1, ["cat", "dog", "a blue house"]
    probabilities = tiny_clip.classify(images, labels)
    image_embed, text_embed = tiny_clip.encode_image(images), tiny_clip.encode_text(labels).embed
    cosine = torch.cosine_similarity(image_embed[:, None], text_embed[None], dim=-1)
    assert torch.allclose(probabilities, (20 * cosine).softmax(dim=1), atol=1e-6)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(2))
    with pytest.raises(InputError, match="no labels"):
        tiny_clip.classify(images, [])


def plain(size: int) -> ImageConfig:
    half = (0.5, 0.5, 0.5)
    return ImageConfig(patch_size=1, image_size=size, mean=half, std=half)


def test_pictures_of_the_right_size_are_only_normalised():
    config = ImageConfig(patch_size=8, image_size=8)
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    expected = ((images / 2 + 0.5).permute(0, 2, 3, 1) - mean) / std
    assert torch.allclose(prepare_images(images, config), expected.permute(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(50, 50), (61, 40), (33, 80), (9, 7)])
def test_pictures_are_resized_and_cropped_as_by_pillow(width: int, height: int):
    # Pillow rounds and cuts to 8 bits between its two passes: keep away from black and white.
    pixels = torch.randint(64, 192, (height, width, 3), dtype=torch.uint8)
    image, size = Image.fromarray(pixels.numpy()), 16
    short = min(width, height)
    target = (size * width // short, size * height // short)
    left, top = (target[0] - size) // 2, (target[1] - size) // 2
    resized = image.resize(target, Image.Resampling.BICUBIC)
    expected = to_tensor(resized.crop((left, top, left + size, top + size)))
    ours = prepare_images(to_tensor(image)[None], plain(size))[0]
    assert (ours - expected).abs().max() < 2.5 / 127.5


def fill(clip: CLIP) -> None:
    """The same numbers on every machine."""
    for parameter in clip.parameters():
        values = torch.arange(parameter.numel(), dtype=torch.float64).remainder(97) / 97 - 0.5
        parameter.copy_(values.reshape(parameter.shape))


def test_fingerprint_is_stable_and_names_weights_and_vocabulary(
    tiny_clip: CLIP, tiny_config: CLIPConfig, merges
):
    fill(tiny_clip)
    name = tiny_clip.fingerprint()
    assert name == "279bd307c8324345"
    assert tiny_clip.fingerprint() == name

    swapped = [merges[1], merges[0], *merges[2:]]
    other = CLIP(tiny_config, Tokenizer(swapped, 700, 10))
    fill(other)
    assert other.fingerprint() != name
    tiny_clip.text.final_norm.bias[3] += 1e-3
    assert tiny_clip.fingerprint() != name


def test_fingerprint_tells_activations_apart(merges):
    names = set()
    for activation in ("gelu", "quick_gelu"):
        config = CLIPConfig(
            embed_dim=2,
            activation=activation,
            text=TextConfig(width=2, num_layers=1, num_heads=1, mlp_dim=2, vocab_size=514),
            image=ImageConfig(width=2, num_layers=1, num_heads=1, mlp_dim=2),
        )
        clip = CLIP(config, Tokenizer(merges, 514, 77))
        fill(clip)
        names.add(clip.fingerprint())
    assert len(names) == 2


def test_a_tokenizer_of_another_size_is_refused(tiny_config: CLIPConfig, merges):
    with pytest.raises(ConfigError, match="the tokenizer has 701 tokens and prompts of 10"):
        CLIP(tiny_config, Tokenizer(merges, 701, 10))
    with pytest.raises(ConfigError, match="prompts of 9"):
        CLIP(tiny_config, Tokenizer(merges, 700, 9))


def test_wrong_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"text\.width is 10, expected a multiple"):
        TextConfig(width=10, num_heads=3)
    with pytest.raises(ConfigError, match=r"image\.num_heads 0"):
        ImageConfig(num_heads=0)
    with pytest.raises(ConfigError, match=r"image\.image_size is 30, expected a multiple"):
        ImageConfig(image_size=30, patch_size=8)
    with pytest.raises(ConfigError, match=r"text\.context_length is 1"):
        TextConfig(context_length=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_runs_in_other_precisions(tiny_clip: CLIP, dtype: torch.dtype):
    images: Tensor = torch.rand(2, 3, 40, 30) * 2 - 1
    text, image = tiny_clip.encode_text(["a cat"]).embed, tiny_clip.encode_image(images)
    tiny_clip.to(dtype)
    assert tiny_clip.encode_image(images).dtype == tiny_clip.encode_text(["a cat"]).embed.dtype
    assert torch.allclose(tiny_clip.encode_image(images).float(), image, atol=0.1)
    assert torch.allclose(tiny_clip.encode_text(["a cat"]).embed.float(), text, atol=0.1)
    assert torch.isfinite(tiny_clip.classify(images, ["a", "b"])).all()
