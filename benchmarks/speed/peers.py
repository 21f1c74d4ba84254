"""diffusers' UnCLIPPipeline, patched as little as lets it run, and its stages told apart.

`from_pretrained` of diffusers 0.38 and later doesn't find the class that Karlo's index names, so
the module is put where it looks. On a CPU in bfloat16 it fails in a bicubic resize, which is then
computed in float32. All noise is drawn in float32 and rounded, so that pictures of every precision
can be compared; in float32 that changes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.engine import Mark, Task
from unclip.errors import BackendError

STAGE_STARTS = ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
"""Each is told its number of steps once a picture, when its stage begins."""
NETWORKS = ("prior", "decoder", "super_res_first", "super_res_last")


class Diffusers:
    """The peer."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def paint(self, task: Task, mark: Mark) -> np.ndarray:
        """Makes pictures by the pipeline's documented call."""
        with _marking(self.pipe, mark), _patched():
            images = self.pipe(
                list(task.prompts),
                prior_num_inference_steps=task.steps.prior,
                decoder_num_inference_steps=task.steps.decoder,
                super_res_num_inference_steps=task.steps.super_res,
                generator=task.generator(),
                output_type="np",
            ).images
        mark()
        return images


def load_plain(folder: Path, device: torch.device, dtype: torch.dtype) -> Diffusers:
    """Loads it as its documentation says."""
    return Diffusers(_load(folder, dtype).to(device))


def load_tuned(folder: Path, device: torch.device, dtype: torch.dtype) -> Diffusers:
    """Loads it, lays pictures channels last and compiles all four networks."""
    pipe = _load(folder, dtype).to(device)
    for name in NETWORKS:
        network: nn.Module = getattr(pipe, name)
        if name != "prior":
            network = network.to(memory_format=torch.channels_last)
        setattr(pipe, name, torch.compile(network, mode="max-autotune"))
    return Diffusers(pipe)


def _load(folder: Path, dtype: torch.dtype) -> Any:
    try:
        import diffusers
        from diffusers.pipelines.deprecated import unclip
        from diffusers.pipelines.deprecated.unclip.pipeline_unclip import UnCLIPPipeline
        from diffusers.utils import logging
        from transformers.utils import logging as towers
    except ImportError as error:
        raise BackendError(f"the peer is diffusers >= 0.38 with transformers: {error}") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    towers.disable_progress_bar()
    diffusers.pipelines.unclip = unclip  # pyright: ignore[reportAttributeAccessIssue]  # the patch
    pipe = UnCLIPPipeline.from_pretrained(str(folder), dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _marking(pipe: Any, mark: Mark) -> Iterator[None]:
    """Calls `mark` before each scheduler is told its steps: then the stage before is done."""
    schedulers = [getattr(pipe, name) for name in STAGE_STARTS]

    def marked(told: Callable[..., None]) -> Callable[..., None]:
        def tell(*args: Any, **kwargs: Any) -> None:
            mark()
            told(*args, **kwargs)

        return tell

    for scheduler in schedulers:
        scheduler.set_timesteps = marked(scheduler.set_timesteps)
    try:
        yield
    finally:
        for scheduler in schedulers:
            del scheduler.set_timesteps


@contextmanager
def _patched() -> Iterator[None]:
    """Draws in float32, and resizes so where a CPU has to."""
    from diffusers.pipelines.deprecated.unclip import pipeline_unclip
    from diffusers.schedulers import scheduling_unclip

    plain, draw = (vars(pipeline_unclip)[name] for name in ("F", "randn_tensor"))

    def interpolate(input: Tensor, *args: Any, antialias: bool = False, **kwargs: Any) -> Tensor:
        x = input.float() if input.device.type == "cpu" else input
        return plain.interpolate(x, *args, antialias=antialias, **kwargs).to(input.dtype)

    def draw_rounded(*args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        return draw(*args, dtype=torch.float32, **kwargs).to(dtype or torch.float32)

    functions = SimpleNamespace(**vars(plain))
    functions.interpolate = interpolate
    patches: list[tuple[ModuleType, str, object, object]] = [
        (pipeline_unclip, "F", functions, plain),
        (pipeline_unclip, "randn_tensor", draw_rounded, draw),
        (scheduling_unclip, "randn_tensor", draw_rounded, draw),
    ]
    for module, name, patch, _ in patches:
        setattr(module, name, patch)
    try:
        yield
    finally:
        for module, name, _, before in patches:
            setattr(module, name, before)
