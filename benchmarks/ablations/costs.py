"""What a decoder costs, counted: PyTorch's own FLOP counter, attention as matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from decoder.config import DecoderRun
from decoder.loss import decoder_loss
from decoder.model import Decoder
from unclip.diffusion.schedules import build_schedule
from unclip.training.companions import FrozenClip
from unclip.training.draws import Draws

PROMPT = "a red apple on a blue background, pencil drawing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """FLOPs of a network."""

    forward: int
    """Of one forward pass of the decoder for one picture."""
    training: int
    """Of one training picture: CLIP's two towers, the decoder forward and backward."""
    parameters: int


def count(config: DecoderRun, clip: FrozenClip) -> Cost:
    """Counts one picture's FLOPs on a network of random weights.

    Convolutions and matrix products are counted (a multiplication and an addition are two), which
    is nearly all; painting the scene is not.
    """
    model = Decoder(config.model).train()
    side = config.model.image_size
    images = torch.zeros(1, 3, side, side)
    draws = Draws(0, "cost", [0])
    with _counter() as training:
        text, embed = clip.text([PROMPT]), clip.image(images)
        decoder_loss(
            model,
            config.model,
            build_schedule(config.model.diffusion),
            images,
            embed,
            text,
            clip.null,
            draws,
            image_dropout=config.image_dropout,
            text_dropout=config.text_dropout,
        )["loss"].backward()
    with _counter() as forward, torch.no_grad():
        here = torch.ones(1, dtype=torch.bool)
        times = torch.zeros(1, dtype=torch.long)
        model(images, times, embed, text.embed, text.hidden, text.mask, ~here, None)
    return Cost(
        forward=forward.get_total_flops(),
        training=training.get_total_flops(),
        parameters=sum(p.numel() for p in model.parameters()),
    )


@contextmanager
def _counter() -> Iterator[FlopCounterMode]:
    """Counts while it is entered; fused attention kernels hide their products on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        yield flops
