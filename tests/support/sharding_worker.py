"""Trains small networks for three steps, whole or sharded, and writes what came of it.

`python sharding_worker.py OUT KEY=VALUE...`; of several processes each takes its part of a batch.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from tiny_model import randomise
from torch import Tensor, nn

from decoder.config import DecoderRun
from decoder.model import Decoder
from prior.config import PriorRun
from prior.model import Prior
from unclip.config import from_dict, load_config
from unclip.training.clip import ClipRun, open_clip_config
from unclip.training.ema import Ema
from unclip.training.optim import clip_gradients, make_optimizer
from unclip.training.parts import local, whole
from unclip.training.settings import TrainConfig
from unclip.training.sharding import prepare_model
from unclip.training.world import make_accelerator

CONFIGS = Path(__file__).parents[2] / "configs" / "tiny"
BATCH = 6
Loss = Callable[[nn.Module, slice], Tensor]


def numbers(*shape: int) -> Tensor:
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(sum(shape)))


def prior() -> tuple[nn.Module, Loss]:
    config = load_config(PriorRun, CONFIGS / "prior.yaml").model
    x, text, hidden = numbers(16), numbers(16), numbers(16, 32)
    t, mask = torch.arange(BATCH), torch.arange(16) < torch.arange(1, BATCH + 1)[:, None]

    def loss(model: nn.Module, mine: slice) -> Tensor:
        output = model(x[mine], t[mine], text[mine], hidden[mine], mask[mine])
        return (output - x[mine]).square().mean()

    return Prior(config), loss


def decoder() -> tuple[nn.Module, Loss]:
    config = load_config(DecoderRun, CONFIGS / "decoder.yaml").model
    x, image, text, hidden = numbers(3, 64, 64), numbers(16), numbers(16), numbers(16, 32)
    t, mask = torch.arange(BATCH), torch.arange(16) < torch.arange(1, BATCH + 1)[:, None]
    drop = torch.arange(BATCH) % 2 == 0

    def loss(model: nn.Module, mine: slice) -> Tensor:
        given = (x, t, image, text, hidden, mask, drop, ~drop)
        return (model(*(each[mine] for each in given))[:, :3] - x[mine]).square().mean()

    return Decoder(config), loss


def clip() -> tuple[nn.Module, Loss]:
    config = load_config(ClipRun, CONFIGS / "clip.yaml").model
    images, ids = numbers(3, 32, 32), torch.arange(BATCH * 16).reshape(BATCH, 16)

    def loss(model: nn.Module, mine: slice) -> Tensor:
        image, text, scale = model(images[mine], ids[mine])
        return scale * (image - text).square().mean()

    return open_clip.CLIP(**open_clip_config(config)), loss


def main(out: str, *settings: str) -> None:
    given = dict(setting.split("=") for setting in settings)
    flags = {name: given.pop(name, "false") == "true" for name in ("recompute", "compile")}
    names = given.pop("networks", "prior,decoder,clip").split(",")
    train = {"steps": 3, "batch_size": BATCH, "lr": 1e-3, "eps": 1e-3, "weight_decay": 0.1}
    train |= {"clip_norm": 0.5, "precision": "float32", **flags, **given}
    config = from_dict(TrainConfig, train, "the test")
    accelerator = make_accelerator(config)
    rank, world_size = accelerator.process_index, accelerator.num_processes
    mine = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    found: dict[str, Tensor] = {}
    for name in names:
        made, loss = globals()[name]()
        randomise(made, 5)
        for key, value in steps(made, loss, mine, config, accelerator):
            found[f"{name}.{key}"] = whole({key: value}, keep=True)[key].clone()
        held = sum(local(p).numel() for p in made.parameters())
        shares = accelerator.gather(torch.tensor([held]))
        assert isinstance(shares, Tensor)
        found[f"{name}.held"] = shares
    if accelerator.is_main_process:
        save_file({name: value.contiguous() for name, value in found.items()}, out)
    accelerator.end_training()


def steps(made: nn.Module, loss: Loss, mine: slice, config, accelerator) -> Iterator:
    model = prepare_model(made, config, accelerator)
    optimizer, ema = make_optimizer(made, config), Ema(made, config.ema_stds)
    for step in range(1, config.steps + 1):
        value = loss(model, mine)
        accelerator.backward(value)
        yield f"loss.{step}", accelerator.reduce(value.detach(), "mean")
        if step == 1:
            for name, parameter in made.named_parameters():
                assert parameter.grad is not None, name
                yield f"grad.{name}", parameter.grad
        yield f"norm.{step}", clip_gradients(made.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(made, step)
    yield from ((f"model.{name}", value) for name, value in made.state_dict().items())
    yield from ((f"ema.{name}", value) for name, value in ema.tensors().items())


if __name__ == "__main__":
    main(*sys.argv[1:])
