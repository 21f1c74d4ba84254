"""Muon: momentum whose matrices are made orthogonal before the step; AdamW for all else.

A gradient of a weight matrix has few large directions, and Adam follows these alone; made
orthogonal, every direction moves alike (Jordan et al. 2024, "Muon: an optimizer for hidden
layers"). Its step is scaled to the size that AdamW's has (Liu et al. 2025, "Muon is scalable for
LLM training", section 2.2), so learning rate and decay mean the same for both.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration brings singular values near 1 (Jordan et al. 2024)."""
ADAM_RMS = 0.2
"""What the elements of AdamW's step amount to, over the learning rate."""
MIN_SIDE = 16
"""Narrower matrices are left to AdamW: a picture's three channels are no hidden features."""


def is_hidden_matrix(parameter: nn.Parameter) -> bool:
    """Whether a weight is a matrix, or a kernel that is one when flattened, between features."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= MIN_SIDE


def orthogonalise(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Brings all singular values of a matrix near 1 (0.7 to 1.2), in bfloat16."""
    a, b, c = COEFFICIENTS
    wide = matrix.bfloat16()
    tall = wide.shape[0] > wide.shape[1]
    wide = wide.T if tall else wide
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return (wide.T if tall else wide).to(matrix.dtype)


class Muon(torch.optim.AdamW):
    """Groups with `hidden: True` are stepped by Muon, others by AdamW."""

    def __init__(self, groups: Iterable[dict[str, Any]], **adamw: Any) -> None:
        super().__init__(groups, **adamw)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """Makes one step; the gradients of hidden matrices are gone after it."""
        for group in self.param_groups:
            if group["hidden"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step(parameter, group["lr"], group["weight_decay"])
        super().step()

    def _step(self, parameter: nn.Parameter, lr: float, weight_decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None, "the caller looks"
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, state["momentum"], MOMENTUM).flatten(1)  # Nesterov's
        scale = ADAM_RMS * max(ahead.shape) ** 0.5
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(orthogonalise(ahead).view_as(parameter), alpha=-lr * scale)
        parameter.grad = None  # AdamW passes it over
