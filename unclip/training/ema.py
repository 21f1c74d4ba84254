"""The float32 moving average of the weights, which is what is sampled from and shipped."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """Keeps `average`, a copy of the model; buffers are copied, parameters averaged."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = copy.deepcopy(model).float().eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors that a checkpoint keeps."""
        return self.average.state_dict()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model after step 1, 2, ...

        The decay grows as (1 + step) / (10 + step) up to its limit, so that the random start is
        soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [p.detach() for p in self.average.parameters()]
        weights = [p.detach().float() for p in model.parameters()]
        # In float32: a bf16 average would stand still at a decay of 0.999.
        torch._foreach_lerp_(averages, weights, 1 - decay)  # type: ignore[reportPrivateImportUsage]  # has no public name
        for kept, buffer in zip(self.average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
