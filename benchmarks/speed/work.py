"""What a picture costs at least: operations counted on our modules without values, weights read,
and the time that the machine's limits leave for it.

The upper bound of speed is not the peer's work: the text of the prior needs to be run only once.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.engine import DTYPES, STAGES, Dtype
from benchmarks.speed.record import Limit, Work
from benchmarks.speed.shapes import CLIP_CONTEXT, IMAGE_TOKENS, Shape, Steps
from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig
from prior.model import EXTRA_TOKENS, Prior
from unclip.clip.config import CLIPConfig, TextConfig
from unclip.clip.features import TextFeatures
from unclip.clip.towers import TextTower
from unclip.nn.initialise import NoFirstWeights
from unclip.nn.unet import UNetConfig
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

T = TypeVar("T", bound=nn.Module)

GUIDED = 2
"""Rows a picture: with the condition, and without."""


def count_work(shape: Shape, steps: Steps, batch: int) -> tuple[Work, ...]:
    """Counts what each stage does for one batch."""
    with torch.device("meta"), torch.no_grad():
        stages = (
            _text(shape, batch),
            _prior(shape, steps.prior, batch),
            _decoder(shape, steps.decoder, batch),
            _super_res(shape, steps.super_res, batch),
        )
    return tuple(
        Work(stage=name, plain_flop=plain, flop=least, weights=weights)
        for name, (plain, least, weights) in zip(STAGES, stages, strict=True)
    )


def least_seconds(work: Work, limit: Limit) -> float:
    """The time that computing or reading the weights takes, whichever is longer."""
    read = work.weights * DTYPES[limit.dtype].itemsize
    return max(work.flop / limit.flop_per_second, read / limit.bytes_per_second)


def over_limit(
    seconds: Sequence[float], work: Sequence[Work], limits: Sequence[Limit], dtype: Dtype
) -> tuple[float, ...] | None:
    """Returns how many times the limit each stage took, and last the whole; None without a limit
    of that precision."""
    limit = next((limit for limit in limits if limit.dtype == dtype), None)
    if limit is None:
        return None
    least = [least_seconds(stage, limit) for stage in work]
    stages = [a / b for a, b in zip(seconds, least, strict=True)]
    return (*stages, sum(seconds) / sum(least))


def _flop(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def _bare(build: Callable[[], T]) -> T:
    """Builds a module without drawing its first weights."""
    with NoFirstWeights():
        return build()


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _features(shape: Shape, rows: int) -> TextFeatures:
    return TextFeatures(
        torch.empty(rows, shape.embed_dim),
        torch.empty(rows, CLIP_CONTEXT, shape.text.width),
        torch.ones(rows, CLIP_CONTEXT, dtype=torch.bool),
    )


def _text(shape: Shape, batch: int) -> tuple[float, float, int]:
    text = TextConfig(
        width=shape.text.width,
        num_layers=shape.text.layers,
        num_heads=shape.text.heads,
        mlp_dim=4 * shape.text.width,
        vocab_size=shape.text.vocabulary,
    )
    config = CLIPConfig(embed_dim=shape.embed_dim, text=text, activation="quick_gelu")
    tower = _bare(lambda: TextTower(config))
    ids = torch.zeros(GUIDED * batch, CLIP_CONTEXT, dtype=torch.long)
    flop = _flop(lambda: tower(ids))
    read = _parameters(tower) - tower.token_embedding.weight.numel()
    return flop, flop, read


def prior_config(shape: Shape) -> PriorConfig:
    """Our prior of a shape."""
    return PriorConfig(
        embed_dim=shape.embed_dim,
        text_width=shape.text.width,
        num_layers=shape.prior_layers,
        num_heads=shape.prior_heads,
        head_dim=shape.prior_head_dim,
    )


def _prior(shape: Shape, steps: int, batch: int) -> tuple[float, float, int]:
    rows, network = GUIDED * batch, _bare(lambda: Prior(prior_config(shape)))
    text, x, t = _features(shape, rows), torch.empty(rows, shape.embed_dim), torch.zeros(rows)
    plain = steps * _flop(lambda: network(x, t, text.embed, text.hidden, text.mask))
    # Attention is causal and the text comes first: its tokens and the text embedding are run once,
    # and in each step time, sample and query. Nearly all operations are alike for all tokens.
    once, step, whole = CLIP_CONTEXT + 1, EXTRA_TOKENS - 1, CLIP_CONTEXT + EXTRA_TOKENS
    least = plain * (once + steps * step) / (steps * whole)
    return plain, least, steps * _parameters(network)


def decoder_config(shape: Shape) -> DecoderConfig:
    """Our decoder of a shape."""
    levels = len(shape.channels)
    return DecoderConfig(
        image_size=shape.small_px,
        embed_dim=shape.embed_dim,
        text_width=shape.text.width,
        num_image_tokens=IMAGE_TOKENS,
        unet=UNetConfig(
            out_channels=6,
            channels=shape.channels,
            depth=shape.depth,
            attention=(False, *[True] * (levels - 1)),
            head_dim=shape.head_dim,
            context_dim=shape.context_dim,
        ),
    )


def _decoder(shape: Shape, steps: int, batch: int) -> tuple[float, float, int]:
    rows, network = GUIDED * batch, _bare(lambda: Decoder(decoder_config(shape)))
    x = torch.empty(rows, 3, shape.small_px, shape.small_px)
    text, t = _features(shape, rows), torch.zeros(rows)
    embed, drop = torch.empty(rows, shape.embed_dim), torch.zeros(rows, dtype=torch.bool)
    features = (text.embed, text.hidden, text.mask)

    # The peer computes the context's keys and values in every step.
    once = _flop(lambda: network.condition(embed, *features, drop))
    whole = _flop(lambda: network(x, t, embed, *features, drop))
    return steps * whole, once + steps * (whole - once), steps * _parameters(network)


def upsampler_config(shape: Shape) -> UpsamplerConfig:
    """Our upsampler of a shape."""
    unet = UNetConfig(
        in_channels=6,
        channels=shape.super_res_channels,
        depth=shape.depth,
        attention=(False,) * len(shape.super_res_channels),
        scale_shift=False,
    )
    return UpsamplerConfig(low_size=shape.small_px, image_size=shape.large_px, unet=unet)


def _super_res(shape: Shape, steps: int, batch: int) -> tuple[float, float, int]:
    network = _bare(lambda: Upsampler(upsampler_config(shape)))
    x = torch.empty(batch, 3, shape.large_px, shape.large_px)
    flop = steps * _flop(lambda: network(x, torch.zeros(batch), x, None))
    return flop, flop, steps * _parameters(network)
