"""Our stages' training steps: their own losses, optimiser and averages, on given embeddings."""

from collections.abc import Callable, Iterable
from itertools import count

import torch
from torch import Tensor, nn

from benchmarks.speed.shapes import Shape
from benchmarks.speed.work import decoder_config, prior_config, upsampler_config
from benchmarks.training.ladder import Rung
from benchmarks.training.step import CROP_PX, Batch, Step
from decoder.loss import decoder_loss
from decoder.model import Decoder
from prior.loss import prior_loss
from prior.model import Prior
from unclip.clip.features import TextFeatures
from unclip.diffusion.schedules import build_schedule
from unclip.nn.resblock import ResBlock
from unclip.nn.transformer import TransformerBlock
from unclip.training.draws import Draws
from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.settings import TrainConfig
from upsamplers.loss import upsampler_loss
from upsamplers.model import Upsampler

Loss = Callable[[nn.Module, Draws], Tensor]


def our_step(stage: str, shape: Shape, rung: Rung, batch: Batch) -> Step:
    """Builds a stage of a shape, and a step of its training."""
    device, size = batch.images.device, len(batch.images)
    torch.manual_seed(0)
    network, loss = _STAGES[stage](shape, batch)
    network = network.to(device).train()
    if rung.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if rung.compiled:
        for module in network.modules():
            if isinstance(module, ResBlock | TransformerBlock):
                module.compile()
    config = TrainConfig(steps=1, batch_size=size, lr=1e-4, weight_decay=0.01)
    optimizer = make_optimizer(network, config)
    ema = Ema(network, config.ema_stds)
    average = ema.update if rung.fused else _average_singly(network)
    if not rung.fused:
        for group in optimizer.param_groups:
            group.update(fused=False, foreach=False)
    numbers = count(1)

    def run() -> None:
        number = next(numbers)
        draws = Draws(0, stage, range(number * size, (number + 1) * size), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=rung.bf16):
            value = loss(network, draws)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm, foreach=rung.fused)
        optimizer.step()
        average(network, number)
        optimizer.zero_grad(set_to_none=True)

    return Step(f"ours, {rung.name}", run, _parameters(network.parameters()), size)


def _average_singly(network: nn.Module) -> Callable[[nn.Module, int], None]:
    """An average that walks the tensors one by one, as is often seen."""
    kept = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def update(model: nn.Module, _: int) -> None:
        for average, parameter in zip(kept, model.parameters(), strict=True):
            average.lerp_(parameter, 1e-3)

    return update


def _prior(shape: Shape, batch: Batch) -> tuple[nn.Module, Loss]:
    config = prior_config(shape)
    schedule = build_schedule(config.diffusion)
    text = TextFeatures(batch.text_embed, batch.text_hidden, batch.text_mask)

    def loss(network: nn.Module, draws: Draws) -> Tensor:
        return prior_loss(network, config, schedule, batch.image_embed, text, draws)["loss"]

    return Prior(config), loss


def _decoder(shape: Shape, batch: Batch) -> tuple[nn.Module, Loss]:
    config = decoder_config(shape)
    schedule = build_schedule(config.diffusion)
    text = TextFeatures(batch.text_embed, batch.text_hidden, batch.text_mask)
    null = text[:1]

    def loss(network: nn.Module, draws: Draws) -> Tensor:
        return decoder_loss(
            network,
            config,
            schedule,
            batch.images,
            batch.image_embed,
            text,
            null,
            draws,
            image_dropout=0.1,
            text_dropout=0.5,
        )["loss"]

    return Decoder(config), loss


def _upsampler(shape: Shape, batch: Batch) -> tuple[nn.Module, Loss]:
    config = upsampler_config(shape)
    schedule = build_schedule(config.diffusion)
    crops = batch.images[:, :, :CROP_PX, :CROP_PX]

    def loss(network: nn.Module, draws: Draws) -> Tensor:
        return upsampler_loss(
            network, config, schedule, crops, draws, degradation="blur", max_augmentation=0.0
        )["loss"]

    return Upsampler(config), loss


_STAGES = {"prior": _prior, "decoder": _decoder, "upsampler": _upsampler}
STAGES = tuple(_STAGES)


def _parameters(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
