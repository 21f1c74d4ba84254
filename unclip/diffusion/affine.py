"""Every sampler as one affine step, all of whose numbers are tensors on the device.

A step of `samplers` is affine in the sample x, the predicted x_start, the x_start of the step
before, and the noise: x' = a x + b x_start + c before + std z. Here the samplers themselves are
asked, with unit vectors, for a, b, c and std of each step, in float64; so there is one source of
the formulas. The loop then runs a function of tensors alone, the same at every step, which can be
recorded in a CUDA graph with the network, the guidance and the conversion to x_start in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.denoiser import Denoiser, LastStep, Prepared
from unclip.diffusion.gaussian import x_start_of
from unclip.diffusion.guidance import Guided, combine
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback, Step, report
from unclip.diffusion.sampling import SamplerName, run_sampler
from unclip.diffusion.schedules import DiffusionConfig, Schedule, Variance

Record = Callable[..., Any]
"""`record(function, key, *arguments)` answers function(*arguments), perhaps from a recording; the
functions of equal keys do the same."""

X, X_START, BEFORE, NOISE = range(4)


class Coefficients(NamedTuple):
    """Numbers of one step, or of all."""

    signal: Tensor
    """sqrt(ab) at the step's time."""
    noise: Tensor
    """sqrt(1 - ab) there."""
    x: Tensor
    x_start: Tensor
    before: Tensor
    log_std: Tensor
    """Of the noise; with a learned variance at its lower end."""
    log_spread: Tensor
    """From there to its upper end."""
    scale: Tensor
    """Of guidance."""


@dataclass
class _Probe:
    """A network, a source of noise and a callback that ask every step about four unit vectors."""

    num_steps: int
    fraction: float | None
    index: int = 0
    answers: list[Tensor] = field(default_factory=list)

    def units(self, index: int, kind: int) -> Float[Tensor, "rows 1"]:
        """One where the step `index` is asked about `kind`, of 4 rows a step."""
        rows = torch.zeros(self.num_steps, 4, dtype=torch.float64)
        if index < self.num_steps:
            rows[index, kind] = 1
        return rows.view(-1, 1)

    def network(self, x: Tensor, t: int) -> Tensor:
        """Answers with x_start, and the variance's fraction if it is learned."""
        x_start = self.units(self.index, X_START) + self.units(self.index + 1, BEFORE)
        if self.fraction is None:
            return x_start
        return torch.cat([x_start, torch.full_like(x, self.fraction)], dim=1)

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draws as a `Noise`."""
        return self.units(self.index, NOISE)

    def fork(self, label: str) -> "_Probe":
        """Returns itself: there is one source."""
        return self

    def take(self, step: Step) -> Tensor:
        """Keeps a step's answers; the next step gets questions of its own."""
        self.answers.append(step.x_t.view(-1, 4)[step.index])
        self.index = step.index + 1
        return self.units(self.index, X)


def coefficients(
    name: SamplerName,
    schedule: Schedule,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    learned: bool = False,
) -> Float[Tensor, "steps 7"]:
    """Returns all but the last of `Coefficients` for every step, in float64 on the CPU.

    Args:
        learned: the variance lies in a learned range.
    """
    table = schedule.betas.numpy()
    learned = learned and name == "ddpm"
    return _coefficients(name, table.tobytes(), table.dtype.name, tuple(times), eta, learned)


@lru_cache(maxsize=64)
def _coefficients(
    name: SamplerName, betas: bytes, dtype: str, times: tuple[int, ...], eta: float, learned: bool
) -> Float[Tensor, "steps 7"]:
    table = torch.frombuffer(bytearray(betas), dtype=getattr(torch, dtype))
    schedule = Schedule(table, torch.cumprod(1 - table, 0))
    low = _ask(name, schedule, times, eta, -1.0 if learned else None)
    high = _ask(name, schedule, times, eta, 1.0) if learned else low
    bars = schedule.alphas_cumprod[list(times)].double()
    # No noise after the last step; what stands for its logarithm is multiplied by zeros.
    log_low, log_high = (rows[:, NOISE].log().nan_to_num(neginf=0.0) for rows in (low, high))
    columns = (bars.sqrt(), (1 - bars).sqrt(), *low[:, :NOISE].unbind(1))
    return torch.stack([*columns, log_low, log_high - log_low], dim=1)


def _ask(
    name: SamplerName, schedule: Schedule, times: Sequence[int], eta: float, fraction: float | None
) -> Float[Tensor, "steps 4"]:
    probe = _Probe(len(times), fraction)
    variance: Variance = "fixed_small" if fraction is None else "learned_range"
    config = DiffusionConfig(prediction="x_start", variance=variance)
    denoiser = Denoiser(probe.network, schedule, config)
    run_sampler(name, denoiser, probe.units(0, X), times, probe, eta=eta, callback=probe.take)
    return torch.stack(probe.answers)


def run_steps(
    name: SamplerName,
    denoiser: Denoiser,
    x: Float[Tensor, "batch ..."],
    times: Sequence[int],
    noise: Noise,
    record: Record | None,
    *,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Samples with recorded steps if there is a `record`, else as `run_sampler`."""
    if record is None:
        return run_sampler(name, denoiser, x, times, noise, eta=eta, callback=callback)
    return sample_recorded(name, denoiser, x, times, noise, record, eta=eta, callback=callback)


def sample_recorded(
    name: SamplerName,
    denoiser: Denoiser,
    x: Float[Tensor, "batch ..."],
    times: Sequence[int],
    noise: Noise,
    record: Record,
    *,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Samples as `run_sampler` does, each step as a whole by `record`.

    Nothing waits for the device unless the callback does. Without a callback, all noise is drawn
    before the first step and sent at once.

    Args:
        denoiser: its network is a `Prepared` one, guided or not.
    """
    config, network = denoiser.config, denoiser.network
    learned = config.variance == "learned_range"
    rows = coefficients(name, denoiser.schedule, times, eta=eta, learned=learned)
    scale = network.scale if isinstance(network, Guided) else 1.0
    rows = torch.cat([rows, torch.full((len(rows), 1), scale, dtype=rows.dtype)], dim=1)
    table = send(rows.to(x.dtype), x.device)
    draws = _Draws(noise, x, len(times) - 1 if _is_noisy(name, eta) else 0, callback is None)
    before = torch.zeros_like(x)
    for index, t in enumerate(times):
        prepared, guided = _at(network, t)
        step = AffineStep(config, prepared.function, guided, name == "dpmpp_2m", draws.count > 0)
        x, before = record(
            step,
            (prepared.name, *step.key),
            (x, draws(index)),
            table[index],
            before,
            prepared.at(t),
            prepared.constant,
        )
        x = report(callback, Step(index, len(times), t, x, before))
    return x


@dataclass(frozen=True)
class AffineStep:
    """One step as a function of tensors."""

    config: DiffusionConfig
    function: Callable[[Tensor, Any, Any], Tensor]
    guided: int | None
    """Channels that are guided; 0 for all, None where guidance is off."""
    multistep: bool
    noisy: bool

    @property
    def key(self) -> tuple[object, ...]:
        """Tells steps apart whose network is the same."""
        return (
            self.config.prediction,
            self.config.variance,
            self.config.clip_x_start,
            self.guided,
            self.multistep,
            self.noisy,
        )

    def __call__(
        self,
        sample: tuple[Tensor, Tensor],
        row: Float[Tensor, "8"],
        before: Float[Tensor, "batch ..."],
        changing: Any,
        constant: Any,
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """Returns the next sample and the x_start that it was made from.

        Args:
            sample: x_t and this step's noise.
            row: `Coefficients`.
        """
        (x, z), c = sample, Coefficients(*row.unbind())
        if self.guided is None:
            output = self.function(x, changing, constant).to(x.dtype)
        else:
            both = self.function(torch.cat([x, x]), changing, constant)
            output = combine(x, both, c.scale, self.guided or None)
        fraction = None
        if self.config.variance == "learned_range":
            output, fraction = output.split(x.shape[1], dim=1)
        x_start = x_start_of(self.config.prediction, output, x, c.signal, c.noise)
        if (bound := self.config.clip_x_start) is not None:
            x_start = x_start.clamp(-bound, bound)

        mean = c.x * x + c.x_start * x_start
        if self.multistep:
            mean = mean + c.before * before
        if not self.noisy:
            return mean, x_start
        log_std = c.log_std
        if fraction is not None:
            log_std = log_std + (fraction + 1) / 2 * c.log_spread
        return mean + log_std.exp() * z, x_start


class _Draws:
    """The noise of each step, on the sample's device; none after the last one."""

    def __init__(self, noise: Noise, x: Tensor, count: int, at_once: bool) -> None:
        self.noise, self.x, self.count = noise, x, count
        self.none = torch.zeros_like(x) if count else x.new_zeros(())
        self.rows = None
        if at_once and count:
            rows = torch.stack([noise(x.shape[1:]) for _ in range(count)])
            self.rows = send(rows.to(x.dtype), x.device)

    def __call__(self, index: int) -> Tensor:
        if index >= self.count:
            return self.none
        if self.rows is not None:
            return self.rows[index]
        return send(self.noise(self.x.shape[1:]).to(self.x.dtype), self.x.device)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Sends values to a device; to CUDA through pinned memory, so that nobody waits."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _is_noisy(name: SamplerName, eta: float) -> bool:
    return name == "ddpm" or (name == "ddim" and eta > 0)


def _at(network: Any, t: int) -> tuple[Prepared, int | None]:
    """The network that runs at time t, and the channels that are guided."""
    if isinstance(network, LastStep):
        return network.at_time(t), None
    if not isinstance(network, Guided):
        return network, None
    if network.off(t):
        return cast(Prepared, network.cond), None
    return cast(Prepared, network.both), network.channels or 0
