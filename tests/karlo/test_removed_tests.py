"""diffusers' removed tests of its unCLIP pipelines, with their dummies and expected slices.

They were removed with commit bc55b631fd (2025): tests/pipelines/unclip/. Their tokenizer lay on the
hub; the vocabulary here is the same. Their own tolerance is 1e-2.
"""

import random
from typing import Any

import numpy as np
import pytest
import torch
from karlo_folders import Pair
from PIL import Image
from torch import Tensor

from unclip.clip.config import OPENAI_MEAN, OPENAI_STD

STEPS: dict[str, Any] = {
    "decoder_num_inference_steps": 2,
    "super_res_num_inference_steps": 2,
    "output_type": "np",
}
PROMPT = [0.9997, 0.9988, 0.0028, 0.9997, 0.9984, 0.9965, 0.0029, 0.9986, 0.0025]
TENSOR = [0.9997, 0.0002, 0.9997, 0.9997, 0.9969, 0.0023, 0.9997, 0.9969, 0.9970]
PICTURE = [0.9997, 0.0003, 0.9997, 0.9997, 0.9970, 0.0024, 0.9997, 0.9971, 0.9971]
LIST = [0.9997, 0.9989, 0.0008, 0.0021, 0.9960, 0.0018, 0.0014, 0.0002, 0.9933]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def check(images: np.ndarray, expected: list[float], count: int = 1) -> None:
    assert images.shape == (count, 64, 64, 3)
    assert np.abs(images[0, -3:, -3:, -1].flatten() - expected).max() < 1e-2


def test_prompt(removed_prompts: Pair) -> None:
    call = STEPS | {"prior_num_inference_steps": 2}
    output = removed_prompts.ours("horse", generator=seeded(), **call)
    check(output.images, PROMPT)
    again = removed_prompts.ours("horse", generator=seeded(), return_dict=False, **call)
    check(again[0], PROMPT)


def floats() -> Tensor:
    numbers = random.Random(0)
    return torch.tensor([numbers.random() for _ in range(3 * 32 * 32)]).view(1, 3, 32, 32)


def photo() -> Image.Image:
    pixels = (floats() * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    return Image.fromarray((pixels * 255).round().astype("uint8"))


def test_tensor(removed_pictures: Pair) -> None:
    """diffusers takes a tensor as the tower's input; ours are pictures in [-1, 1]."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (OPENAI_MEAN, OPENAI_STD))
    values = (floats() * std + mean) * 2 - 1
    output = removed_pictures.ours.variations(values, generator=seeded(), **STEPS)
    check(output.images, TENSOR)


def test_picture(removed_pictures: Pair) -> None:
    output = removed_pictures.ours.variations(photo(), generator=seeded(), **STEPS)
    check(output.images, PICTURE)
    again = removed_pictures.ours.variations(
        photo(), generator=seeded(), return_dict=False, **STEPS
    )
    check(again[0], PICTURE)


def test_pictures(removed_pictures: Pair) -> None:
    output = removed_pictures.ours.variations([photo()] * 2, generator=seeded(), **STEPS)
    check(output.images, LIST, count=2)


@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_gives_what_each_alone_does(removed_prompts: Pair, batch: int) -> None:
    """Theirs allowed a difference of 9.8e-3."""
    call = STEPS | {"prior_num_inference_steps": 2}
    alone = removed_prompts.ours("horse", seed=0, **call).images[0]
    together = removed_prompts.ours(["horse"] * batch, seed=0, **call).images[0]
    assert np.abs(alone - together).max() < 9.8e-3
