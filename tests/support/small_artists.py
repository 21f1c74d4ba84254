"""Artists whose skill is known, and a judge that knows colours alone."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unclip.checkpoint import StageFolder, save_stage
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_to_stage
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.evaluation.colours import NAMES, colour_shares
from unclip.evaluation.enlarging import resample
from unclip.evaluation.facts import Facts
from unclip.evaluation.judge import Judge
from unclip.evaluation.suite import Case, World


class ColourJudge(Judge):
    """Sees the shares of the colours, and reads nothing but the first thing's colour."""

    def __init__(self) -> None:
        self.name = "colours"

    def see(self, images: Tensor) -> Tensor:
        shares = colour_shares(images)
        shares[:, NAMES.index("gray")] += 1 - shares.sum(dim=1)
        return functional.normalize(shares, dim=-1)

    def read(self, facts: Sequence[Facts]) -> Tensor:
        places = [NAMES.index(each.things[0].colour or "gray") for each in facts]
        return torch.eye(len(NAMES))[places]


class Copyist:
    """Paints the truth of every prompt it was told of, and enlarges as bicubic does."""

    sizes = (64, 256)

    def __init__(self, world: World, cases: Sequence[Case]) -> None:
        self.world, self.known = world, {case.prompt: case for case in cases}

    def paint(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return self.world.truth([self.known[prompt] for prompt in prompts], 64)

    def vary(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        return images

    def enlarge(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        return resample(images, 256, Image.Resampling.BICUBIC)


class Scribbler:
    """Paints noise of its seed, whatever is asked for."""

    sizes = (64,)

    def paint(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return torch.stack(
            [
                torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
                for seed in seeds
            ]
        )

    def vary(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        return self.paint([""] * len(images), seeds)

    def enlarge(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        raise AssertionError("it has no upsamplers")


def save_small_judge(folder: Path, seed: int = 5) -> Path:
    """Writes a judge of random weights."""
    from tiny_model import clip_config, randomise

    config = clip_config()
    text = config.text
    tokenizer = Tokenizer(
        open_clip_merges()[: text.vocab_size - 514], text.vocab_size, text.context_length
    )
    clip = CLIP(config, tokenizer).eval()
    randomise(clip, seed)
    shape, tensors, extra = clip_to_stage(clip)
    save_stage(folder, StageFolder("clip", shape, {}, tensors, extra), dtype=torch.float16)
    return folder
