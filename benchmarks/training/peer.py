"""DALLE2-pytorch's training steps, through its own trainers, at our networks' number of parameters.

It is not installed with the project: `pip install --no-deps --target DIR dalle2-pytorch ...` and
`PYTHONPATH=DIR` (docs/training.md has the line), because it asks for an open_clip of before 2025.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from benchmarks.speed.shapes import CLIP_CONTEXT, IMAGE_TOKENS, Shape
from benchmarks.training.step import CROP_PX, Batch, Step

UNET_MULTIPLES = (1, 2, 3, 4)
"""Of the first level's width, as in our shapes."""
LARGEST_DIM = 512
DIM_STEP = 8


def has_peer() -> bool:
    """Tells whether DALLE2-pytorch can be imported."""
    return find_spec("dalle2_pytorch") is not None


def peer_step(stage: str, shape: Shape, batch: Batch, parameters: int, *, bf16: bool) -> Step:
    """Builds the peer's network with as many parameters as ours has, and a step of its trainer."""
    torch.manual_seed(0)
    device = batch.images.device.type
    network, train = _STAGES[stage](shape, batch, parameters, Accelerator(cpu=device == "cpu"))
    name = "DALLE2-pytorch" + (", bf16" if bf16 else "")

    def run() -> None:
        # An Accelerator's precision is the process's: two trainers could not have two of them.
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            train()

    return Step(name, run, _count(network), len(batch.images))


def _prior(
    shape: Shape, batch: Batch, parameters: int, accelerator: Accelerator
) -> tuple[nn.Module, Callable[[], None]]:
    peer, trainers = _import()

    # Its network is as wide as CLIP's embedding: the depth makes up for it.
    def build(depth: int) -> nn.Module:
        return peer.DiffusionPriorNetwork(
            dim=shape.embed_dim,
            depth=depth,
            dim_head=shape.prior_head_dim,
            heads=shape.embed_dim // shape.prior_head_dim,
            max_text_len=CLIP_CONTEXT,
        )

    network = _nearest(build, range(1, 4 * shape.prior_layers), parameters)
    prior = peer.DiffusionPrior(
        network, image_embed_dim=shape.embed_dim, timesteps=1000, cond_drop_prob=0.1
    )
    trainer = trainers.DiffusionPriorTrainer(
        prior, accelerator=accelerator, lr=1e-4, max_grad_norm=1.0
    )
    # It knows padding by rows of zeros, and takes states as wide as its embedding.
    encodings = batch.text_hidden * batch.text_mask[..., None]

    def run() -> None:
        trainer(
            text_embed=batch.text_embed,
            text_encodings=encodings,
            image_embed=batch.image_embed.clone(),  # it scales what it is given in place
        )
        trainer.update()

    return network, run


def _decoder(
    shape: Shape, batch: Batch, parameters: int, accelerator: Accelerator
) -> tuple[nn.Module, Callable[[], None]]:
    peer, trainers = _import()

    def build(dim: int) -> nn.Module:
        return _unet(
            dim,
            shape,
            image_embed_dim=shape.embed_dim,
            text_embed_dim=shape.text.width,
            cond_dim=shape.context_dim,
            num_image_tokens=IMAGE_TOKENS,
            self_attn=(False, True, True, True),
            cond_on_text_encodings=True,
            cond_on_image_embeds=True,
            max_text_len=CLIP_CONTEXT,
        )

    network = _nearest(build, range(DIM_STEP, LARGEST_DIM, DIM_STEP), parameters)
    decoder = peer.Decoder(unet=(network,), image_sizes=(shape.small_px,), timesteps=1000)
    trainer = trainers.DecoderTrainer(decoder, accelerator=accelerator, lr=1e-4, max_grad_norm=1.0)
    images = (batch.images + 1) / 2
    encodings = batch.text_hidden * batch.text_mask[..., None]

    def run() -> None:
        trainer(images, image_embed=batch.image_embed, text_encodings=encodings, unet_number=1)
        trainer.update(1)

    return network, run


def _upsampler(
    shape: Shape, batch: Batch, parameters: int, accelerator: Accelerator
) -> tuple[nn.Module, Callable[[], None]]:
    peer, trainers = _import()

    def build(dim: int) -> nn.Module:
        return _unet(dim, shape, lowres_cond=True, attend_at_middle=False)

    network = _nearest(build, range(DIM_STEP, LARGEST_DIM, DIM_STEP), parameters)
    # It trains no upsampler without a network before it.
    first = _unet(DIM_STEP, shape)
    decoder = peer.Decoder(
        unet=(first, network),
        image_sizes=(shape.small_px, shape.large_px),
        random_crop_sizes=(None, CROP_PX),
        learned_variance=False,
        unconditional=True,
    )
    trainer = trainers.DecoderTrainer(decoder, accelerator=accelerator, lr=1e-4, max_grad_norm=1.0)
    large = nn.functional.interpolate((batch.images + 1) / 2, size=shape.large_px)

    def run() -> None:
        trainer(large, unet_number=2)
        trainer.update(2)

    return network, run


_STAGES = {"prior": _prior, "decoder": _decoder, "upsampler": _upsampler}


def _import() -> tuple[Any, Any]:
    return import_module("dalle2_pytorch"), import_module("dalle2_pytorch.trainer")


def _unet(dim: int, shape: Shape, **options: Any) -> nn.Module:
    return _import()[0].Unet(
        dim=dim,
        dim_mults=UNET_MULTIPLES,
        num_resnet_blocks=shape.depth,
        attn_dim_head=shape.head_dim,
        attn_heads=8,
        **options,
    )


def _nearest(build: Callable[[int], nn.Module], sizes: range, parameters: int) -> nn.Module:
    """Builds the network whose number of parameters is nearest; it grows with the size."""
    low, high = 0, len(sizes) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _at(build, sizes[middle]) < parameters else (low, middle)
    best = min((low, high), key=lambda i: abs(_at(build, sizes[i]) - parameters))
    return build(sizes[best])


def _at(build: Callable[[int], nn.Module], size: int) -> int:
    with torch.device("meta"):
        return _count(build(size))


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
