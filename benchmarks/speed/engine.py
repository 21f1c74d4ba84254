"""What is measured: an engine makes pictures of prompts and tells when a stage is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from benchmarks.speed.shapes import Steps
from unclip.errors import BackendError

STAGES = ("text", "prior", "decoder", "super_res")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Dtype = Literal["float32", "float16", "bfloat16"]

Mark = Callable[[], None]
"""Called when a stage is done: `STAGES` times in a picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The same for all engines of a round."""

    prompts: tuple[str, ...]
    """A picture each."""
    seed: int
    """Of the one generator, on the CPU, that all noise is drawn from, in diffusers' order."""
    steps: Steps

    def generator(self) -> torch.Generator:
        """Returns the generator at its beginning."""
        return torch.Generator().manual_seed(self.seed)


class Engine(Protocol):
    """A loaded model."""

    def paint(self, task: Task, mark: Mark) -> np.ndarray:
        """Makes pictures, (batch, height, width, 3) in [0, 1], as float32."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One row of the table."""

    name: str
    title: str
    dtype: Dtype
    load: Callable[[Path, torch.device, torch.dtype], Engine]
    equal_output: bool = True
    """Whether its pictures must be the reference's."""

    def open(self, folder: Path, device: torch.device) -> Engine:
        """Loads the model folder."""
        return self.load(folder, device, DTYPES[self.dtype])


PROMPTS = (
    "an astronaut riding a horse, pencil drawing",
    "a corgi's head depicted as an explosion of a nebula",
    "a red fox in the snow",
    "a high quality photo of a cup of coffee on a wooden table in the morning sun",
    "a bowl of soup that looks like a monster, knitted out of wool",
    "panda mad scientist mixing sparkling chemicals, artstation",
    "a lighthouse at night",
    "an oil painting of two rabbits at a chess board, with a castle in the background",
)
"""Of several lengths: who leaves out padding gains by short ones."""


def prompts(first: int, count: int) -> tuple[str, ...]:
    """Returns prompts for a batch; another `first` begins elsewhere, so that inputs rotate."""
    return tuple(PROMPTS[(first + i) % len(PROMPTS)] for i in range(count))


def choose_device(name: str) -> torch.device:
    """Returns the device.

    Raises:
        BackendError: it is cuda and there is none.
    """
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError("there is no CUDA device here: run this on a machine that has one")
    return device


def select(kinds: Sequence[Kind], names: Sequence[str]) -> list[Kind]:
    """Returns the kinds of these names, in their own order.

    Raises:
        BackendError: there is none of a name.
    """
    known = [kind.name for kind in kinds]
    for name in names:
        if name not in known:
            raise BackendError(f"--engines names {name}, expected some of {', '.join(known)}")
    return [kind for kind in kinds if kind.name in names]
