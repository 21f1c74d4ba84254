"""Sampling pictures: guidance, the learned nulls, variations without text, independence of the
batch."""

import pytest
import torch

from decoder.config import DecoderConfig
from decoder.model import Decoder
from decoder.sample import sample_images
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import SeededNoise
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import ConfigError
from unclip.nn.unet import UNetConfig


def make(learned_null: bool, learned_variance: bool, text_layers: int = 0) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(
        DecoderConfig(
            image_size=16,
            embed_dim=8,
            text_width=12,
            num_image_tokens=2,
            text_layers=text_layers,
            text_heads=2,
            learned_text_null=learned_null,
            unet=UNetConfig(
                out_channels=6 if learned_variance else 3,
                channels=(8, 16),
                depth=1,
                attention=(False, True),
                head_dim=8,
                context_dim=8,
                groups=4,
            ),
            diffusion=DiffusionConfig(
                prediction="eps",
                variance="learned_range" if learned_variance else "fixed_small",
                clip_x_start=1.0,
            ),
        )
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return decoder.eval()


def features(rows: int) -> TextFeatures:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5)[None] < torch.tensor([3, 5, 4])[:rows, None]
    return TextFeatures(
        torch.randn(rows, 8, generator=generator),
        torch.randn(rows, 5, 12, generator=generator),
        mask,
    )


EMBED = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize("learned", [False, True])
def test_a_picture_does_not_depend_on_its_neighbours(sampler: SamplerName, learned: bool) -> None:
    decoder, text, null = make(learned, learned), features(3), features(1)
    settings = {"num_steps": 4, "guidance_scale": 3.0, "sampler": sampler}
    together = sample_images(
        decoder, EMBED, text, null, noise=SeededNoise([1, 2, 3], "d"), **settings
    )
    assert together.shape == (3, 3, 16, 16)
    assert together.abs().max() <= 1
    assert together.std() > 0.05
    for row in range(3):
        part = slice(row, row + 1)
        alone = sample_images(
            decoder, EMBED[part], text[part], null, noise=SeededNoise([1 + row], "d"), **settings
        )
        # A quarter of a grey level; what is promised is one.
        assert (alone[0] - together[row]).abs().max() < 2e-3


def test_prepared_steps_equal_the_whole_forward_pass() -> None:
    decoder, text = make(True, False), features(3)
    x, t = torch.randn(3, 3, 16, 16), torch.tensor([10, 500, 999])
    keep = torch.zeros(3, dtype=torch.bool)
    with torch.no_grad():
        whole = decoder(x, t, EMBED, text.embed, text.hidden, text.mask, keep, keep)
        condition = decoder.condition(EMBED, text.embed, text.hidden, text.mask, keep, keep)
        step = decoder.unet(x, decoder.unet.modulations(t, condition.embed), condition.context)
    assert torch.equal(whole, step)


def test_dropped_conditions_do_not_matter() -> None:
    decoder, text = make(True, False), features(3)
    other = TextFeatures(text.embed + 1, text.hidden - 1, text.mask.roll(1, 0))
    x, t = torch.randn(3, 3, 16, 16), torch.tensor([10, 500, 999])
    drop, keep = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    with torch.no_grad():
        first = decoder(x, t, EMBED, text.embed, text.hidden, text.mask, drop, drop)
        second = decoder(x, t, EMBED * 2, other.embed, other.hidden, other.mask, drop, drop)
        kept = decoder(x, t, EMBED, text.embed, text.hidden, text.mask, keep, drop)
    assert torch.equal(first, second)
    assert (first - kept).abs().max() > 1e-4


def test_without_text_the_learned_null_stands_in() -> None:
    decoder = make(True, False)
    settings = {"num_steps": 3, "guidance_scale": 1.0, "sampler": "ddim"}
    from_embedding = sample_images(
        decoder, EMBED, None, noise=SeededNoise([0, 1, 2], "d"), **settings
    )
    with_text = sample_images(
        decoder, EMBED, features(3), noise=SeededNoise([0, 1, 2], "d"), **settings
    )
    assert (from_embedding - with_text).abs().max() > 1e-4


def test_without_a_learned_null_the_empty_prompt_is_needed() -> None:
    with pytest.raises(ConfigError, match="null_text"):
        sample_images(make(False, True), EMBED, features(3), noise=SeededNoise([0, 1, 2], "d"))


def test_blocks_over_the_text_see_both_ways_but_no_padding() -> None:
    decoder, text = make(False, False, text_layers=2), features(1)
    nobody = torch.zeros(1, dtype=torch.bool)

    def tokens(hidden: torch.Tensor) -> torch.Tensor:
        told = decoder.conditioning(EMBED[:1], text.embed, hidden, text.mask, nobody, None)
        return told.tokens[0, decoder.config.num_image_tokens :]

    before, hidden = tokens(text.hidden), text.hidden.clone()
    hidden[0, 4] += 1  # past the three tokens that there are
    assert torch.equal(tokens(hidden)[:3], before[:3])
    hidden[0, 2] += 1
    assert not torch.isclose(tokens(hidden)[0], before[0]).all()
    with pytest.raises(ConfigError, match="text_heads 2 do not divide"):
        DecoderConfig(text_layers=1, text_heads=2, unet=UNetConfig(out_channels=6, context_dim=9))
