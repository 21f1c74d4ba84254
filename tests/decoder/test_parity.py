"""The decoder with its text projection against diffusers, and the full-size key list."""

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from torch import nn

from decoder.config import DecoderConfig
from decoder.model import Decoder
from unclip.diffusion.schedules import DiffusionConfig
from unclip.nn.unet import UNetConfig


def randomise(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)


def references(
    channels: tuple[int, ...], depth: int, clip_dim: int, context_dim: int
) -> tuple[UNet2DConditionModel, UnCLIPTextProjModel]:
    levels = len(channels)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        block_out_channels=channels,
        layers_per_block=depth,
        down_block_types=(
            "ResnetDownsampleBlock2D",
            *["SimpleCrossAttnDownBlock2D"] * (levels - 1),
        ),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * (levels - 1), "ResnetUpsampleBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=context_dim,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )
    projection = UnCLIPTextProjModel(
        clip_embeddings_dim=clip_dim,
        time_embed_dim=4 * channels[0],
        cross_attention_dim=context_dim,
    )
    randomise(unet, 1)
    randomise(projection, 2)
    return unet.eval(), projection.eval()


def ours(
    unet: nn.Module,
    projection: nn.Module,
    channels: tuple[int, ...],
    depth: int,
    clip_dim: int,
    context_dim: int,
) -> Decoder:
    attention = (False, *[True] * (len(channels) - 1))
    decoder = Decoder(
        DecoderConfig(
            image_size=16,
            embed_dim=clip_dim,
            text_width=clip_dim,
            unet=UNetConfig(
                out_channels=6,
                channels=channels,
                depth=depth,
                attention=attention,
                head_dim=8,
                context_dim=context_dim,
                groups=8,
            ),
            diffusion=DiffusionConfig(variance="learned_range"),
        )
    )
    decoder.unet.load_state_dict(unet.state_dict())
    decoder.conditioning.load_state_dict(projection.state_dict())
    return decoder.eval()


SHAPES = [((16, 32), 1, 12, 20, 16), ((16, 24, 32), 2, 10, 24, 16), ((8, 16, 24, 32), 3, 8, 8, 32)]


@pytest.mark.parametrize(("channels", "depth", "clip_dim", "context_dim", "size"), SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_diffusers(
    channels: tuple[int, ...], depth: int, clip_dim: int, context_dim: int, size: int, batch: int
) -> None:
    unet, projection = references(channels, depth, clip_dim, context_dim)
    decoder = ours(unet, projection, channels, depth, clip_dim, context_dim)

    # As the pipeline does with guidance: unconditional rows first in diffusers, last in ours.
    generator = torch.Generator().manual_seed(5)
    image_embed = torch.randn(batch, clip_dim, generator=generator)
    text_embed = torch.randn(2 * batch, clip_dim, generator=generator)
    hidden = torch.randn(2 * batch, 9, clip_dim, generator=generator)
    lengths = torch.randint(2, 10, (2 * batch,), generator=generator)
    mask = torch.arange(9)[None] < lengths[:, None]
    x_t = torch.randn(2 * batch, 3, size, size, generator=generator)
    t = torch.randint(1000, (1,), generator=generator)

    with torch.no_grad():
        context, additive = projection(
            image_embeddings=image_embed,
            prompt_embeds=text_embed,
            text_encoder_hidden_states=hidden,
            do_classifier_free_guidance=True,
        )
        expected = unet(
            sample=x_t,
            timestep=t,
            encoder_hidden_states=context,
            class_labels=additive,
            attention_mask=nn.functional.pad(mask, (4, 0), value=True),
        ).sample
        drop = torch.arange(2 * batch) < batch
        actual = decoder(
            x_t, t.expand(2 * batch), image_embed.repeat(2, 1), text_embed, hidden, mask, drop
        )
    assert expected.abs().mean() > 0.05
    assert (actual - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


def test_full_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        decoder = Decoder(DecoderConfig())
        projection = UnCLIPTextProjModel(
            clip_embeddings_dim=768, time_embed_dim=1280, cross_attention_dim=1536
        )
    assert sum(p.numel() for p in decoder.unet.parameters()) == 885_439_686
    assert len(decoder.unet.state_dict()) == 716
    tensors = decoder.conditioning.state_dict()
    assert sum(t.numel() for t in tensors.values()) == 7_878_400
    assert {k: v.shape for k, v in tensors.items()} == {
        k: v.shape for k, v in projection.state_dict().items()
    }
