"""Memory of a GPU in training: what is held all the time, and what a step holds at its peak.

Weights, gradients, AdamW's two moments and the averages are float32, 4 bytes a parameter each. DDP
has all of them on every GPU; `fully_shard` (FSDP2) has a share of each, and gathers one block while
the next is on its way.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from unclip.planning.simulate import Step, block_sizes, simulate


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    gradients: float
    optimizer: float
    averages: float
    activations: float
    """At the peak: what is kept for the backward pass, copies of weights in bfloat16, and what
    passes."""
    gathered: float
    """Weights and gradients of the blocks that a sharded network has whole at the moment."""
    companions: float
    """The frozen CLIP beside the stage."""

    @property
    def total(self) -> float:
        """All of it."""
        held = self.weights + self.gradients + self.optimizer + self.averages
        return held + self.activations + self.gathered + self.companions


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A part of a step on one GPU, plain and with the blocks' activations computed again."""

    plain: Step
    recomputed: Step


def measure(
    network: nn.Module, loss: Callable[[], Tensor], *, autocast: bool, alone: bool
) -> Steps:
    """Counts both ways of a step; `alone` is one process, which holds no room for gradients."""
    held = not alone
    plain = simulate(network, loss, autocast=autocast, gradients_held=held)
    recomputed = simulate(
        network,
        loss,
        autocast=autocast,
        recompute=True,
        gradients_held=held,
        casts_held=False,
    )
    return Steps(plain=plain, recomputed=recomputed)


def whole(
    parameters: int,
    steps: Steps,
    *,
    averages: int,
    recompute: bool,
    alone: bool,
    companions: float = 0.0,
) -> Memory:
    """The memory of a GPU that holds all of the network, and so many averages of it."""
    gradients = 4.0 * parameters
    live = float(steps.plain.live_bytes)
    if recompute:
        # Copies of the weights are made again, too; until the forward pass ends all are there.
        again = steps.recomputed
        live = float(max(again.live_bytes, again.saved_bytes + steps.plain.cast_bytes))
    return Memory(
        weights=4.0 * parameters,
        gradients=gradients,
        optimizer=8.0 * parameters,
        averages=4.0 * averages * parameters,
        # One process has gradients only when there are no activations any more, and counts both.
        activations=max(0.0, live - gradients) if alone else live,
        gathered=0.0,
        companions=companions,
    )


def sharded(
    network: nn.Module,
    steps: Steps,
    *,
    averages: int,
    gpus: int,
    recompute: bool,
    autocast: bool,
    companions: float = 0.0,
) -> Memory:
    """The memory of a GPU that holds a share of each block, and of each average."""
    share = sum(p.numel() for p in network.parameters()) / gpus
    largest, rest = block_sizes(network)
    weight = 2 if autocast else 4
    live = steps.plain.live_bytes - steps.plain.cast_bytes
    return Memory(
        weights=4 * share,
        gradients=4 * share,
        optimizer=8 * share,
        averages=4 * averages * share,
        activations=float(steps.recomputed.live_bytes if recompute else live),
        # This block and the next, and what is in no block; gradients of one and of the rest.
        gathered=float(weight) * (2 * largest + rest) + 4.0 * (largest + rest),
        companions=companions,
    )
