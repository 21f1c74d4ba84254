"""Minutes to stages, and a stage's seconds to steps: pure arithmetic."""

from collections.abc import Sequence

from unclip.errors import ConfigError

MODULES = {
    "clip": "unclip.training.clip",
    "prior": "prior.train",
    "decoder": "decoder.train",
    "upsampler_256": "upsamplers.train",
    "upsampler_1024": "upsamplers.train",
}
"""The stages in the order they are trained, and what trains them."""
WEIGHTS = {"clip": 3, "prior": 2, "decoder": 8, "upsampler_256": 2, "upsampler_1024": 2}
"""Shares of the minutes: the decoder decides what is seen, and all hangs on CLIP."""
CHOOSING = 1
"""The share of choosing a stage by the short suite, beside `WEIGHTS`."""
CHOSEN = ("prior", "decoder")
AIM = 0.92
"""Of the seconds that are left, for steps; the rest is for checkpoints, sheets and bad luck."""


SLACK = 1.4
"""A run's start and end may take so much longer than those that were measured."""


def in_order(stages: Sequence[str]) -> list[str]:
    """Sorts stages in the order they hang on each other.

    Raises:
        ConfigError: one is unknown, or there is none.
    """
    unknown = [stage for stage in stages if stage not in MODULES]
    if unknown or not stages:
        got = f"{unknown[0]!r} is no stage" if unknown else "no stage is given"
        raise ConfigError(f"{got}: choose of {', '.join(MODULES)}")
    return [stage for stage in MODULES if stage in stages]


def share(seconds: float, stages: Sequence[str], num_choosing: int) -> float:
    """Returns what the first of these stages gets of the seconds left for all of them.

    What one stage leaves over goes to the next ones, because each is dealt its share when it
    begins.
    """
    total = sum(WEIGHTS[stage] for stage in stages) + CHOOSING * num_choosing
    return seconds * WEIGHTS[stages[0]] / total


def steps_within(seconds: float, overhead_seconds: float, step_seconds: float) -> int:
    """Returns how many steps end within the seconds, the run's start and end included."""
    return max(0, int(AIM * (seconds - SLACK * overhead_seconds) / step_seconds))


def ends_in_time(steps_left: int, step_seconds: float, seconds_left: float) -> bool:
    """Says whether a run will have its last step before its time is over."""
    return steps_left * step_seconds <= seconds_left
