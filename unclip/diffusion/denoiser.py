"""A network wrapped so that samplers need not know what it predicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.gaussian import predict_x_start
from unclip.diffusion.schedules import DiffusionConfig, Schedule

Network = Callable[[Tensor, int], Tensor]
"""x_t and t to the network's raw answer; the conditions are already inside."""


@dataclass(frozen=True)
class Prepared:
    """A network with its conditions beside it, so that a step can be recorded (`affine`)."""

    function: Callable[[Tensor, Any, Any], Tensor]
    """x_t, what changes with the time, and what does not, to the network's raw answer."""
    at: Callable[[int], Any]
    """The time to what changes with it: a tensor, or tuples of them."""
    constant: Any
    name: str = ""
    """Tells the networks of one sampling loop apart."""

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """Answers as a `Network`."""
        return self.function(x, self.at(t), self.constant)


@dataclass(frozen=True)
class LastStep:
    """Two networks: the second one makes the step at the last time."""

    network: Prepared
    last: Prepared
    last_time: int

    def at_time(self, t: int) -> Prepared:
        """The one that runs at time t."""
        return self.last if t == self.last_time else self.network

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """Answers as a `Network`."""
        return self.at_time(t)(x, t)


class Denoised(NamedTuple):
    """What a denoiser says of x_t."""

    x_start: Float[Tensor, "batch ..."]
    variance_fraction: Float[Tensor, "batch ..."] | None
    """Of a learned-range variance: from -1 (the posterior's variance) to 1 (beta); else None."""


@dataclass(frozen=True)
class Denoiser:
    """Calls a network and converts its answer, in float32 whatever the network's precision."""

    network: Network
    schedule: Schedule
    config: DiffusionConfig

    def __call__(self, x_t: Float[Tensor, "batch ..."], t: int) -> Denoised:
        """Predicts the clean sample (clipped as configured) and the variance's fraction."""
        output = self.network(x_t, t).to(x_t.dtype)
        fraction = None
        if self.config.variance == "learned_range":
            output, fraction = output.split(x_t.shape[1], dim=1)
        x_start = predict_x_start(self.schedule, self.config.prediction, output, x_t, t)
        if (bound := self.config.clip_x_start) is not None:
            x_start = x_start.clamp(-bound, bound)
        return Denoised(x_start, fraction)
