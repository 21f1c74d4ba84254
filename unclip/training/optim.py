"""AdamW, and a learning rate that is a pure function of the step."""

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from unclip.training.parts import local
from unclip.training.settings import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Builds AdamW; only matrices and kernels decay, norms, biases and single vectors do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def learning_rate(config: TrainConfig, step: int, warm_since: int = 0) -> float:
    """Rises linearly over the warm-up, then stays, or falls to zero along a cosine.

    An optimiser that is fresh at the step `warm_since` is warmed up to where the cosine stands.
    """
    warmed = min(1.0, (step - warm_since + 1) / max(1, config.warmup_steps))
    if config.decay == "constant" or step < config.warmup_steps:
        return config.lr * warmed
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * warmed * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Shrinks gradients, whole or in parts on several processes, to a common norm of at most
    `max_norm`; returns what the norm was, on every process alike."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [local(gradient) for gradient in gradients if isinstance(gradient, DTensor)]
    norm = get_total_norm([each for each in gradients if not isinstance(each, DTensor)])
    if parts:
        # In float64: the square of a large norm is beyond float32.
        square = get_total_norm(parts).to(parts[0].device, torch.float64).square()
        dist.all_reduce(square)
        norm = (square + norm.to(square.device).square()).sqrt().to(torch.float32)
    share = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local(each) for each in gradients], share)  # type: ignore[reportPrivateImportUsage]  # has no public name
    return norm


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets every group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `exp_avg.PARAMETER` and so on."""
    return {
        f"{kind}.{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
