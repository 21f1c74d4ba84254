"""The judge: a CLIP that is trained apart from every model it judges, and how it is asked.

It lies beside the repository's code (`benchmarks/judge/`), not in the package.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from unclip.checkpoint import load_stage
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_from_stage
from unclip.evaluation.counting import background
from unclip.evaluation.facts import Facts, question
from unclip.evaluation.retrieval import distractors

BATCH = 64


class Judge:
    """A CLIP that is asked which facts a picture shows."""

    def __init__(self, clip: CLIP) -> None:
        """Takes a CLIP in evaluation mode."""
        self.clip = clip
        self.name = clip.fingerprint()
        """Its fingerprint: figures of two judges do not compare."""
        self._texts: dict[str, Tensor] = {}

    @property
    def size_px(self) -> int:
        """Side of the pictures it sees; others are resized."""
        return self.clip.config.image.image_size

    @torch.inference_mode()
    def see(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Returns the normalised features of pictures in [-1, 1], on the CPU."""
        parts = [self.clip.encode_image(part) for part in images.split(BATCH)]
        return functional.normalize(torch.cat(parts).float(), dim=-1).cpu()

    @torch.inference_mode()
    def read(self, facts: Sequence[Facts]) -> Float[Tensor, "batch dim"]:
        """Returns the normalised features of what is asked about facts, on the CPU."""
        asked = [question(each) for each in facts]
        new = [text for text in dict.fromkeys(asked) if text not in self._texts]
        for start in range(0, len(new), BATCH):
            texts = new[start : start + BATCH]
            embed = functional.normalize(self.clip.encode_text(texts).embed.float(), dim=-1).cpu()
            self._texts |= dict(zip(texts, embed, strict=True))
        return torch.stack([self._texts[text] for text in asked])

    def rivals(self, pool: Sequence[Facts], count: int) -> Float[Tensor, "count candidates dim"]:
        """Reads the first facts of a pool, each before 99 others of it (`distractors`).

        Raises:
            DataError: the pool has too few different facts.
        """
        return self.read(pool)[distractors([question(facts) for facts in pool])[:count]]


def load_judge(folder: str | Path) -> Judge:
    """Reads a judge from a stage folder of CLIP.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    stage = load_stage(folder, "clip")
    return Judge(clip_from_stage(stage.config, stage.tensors, stage.extra))


def halves(
    images: Float[Tensor, "batch 3 height width"],
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 3 height width"]]:
    """Cuts pictures into their left and right halves, each in the middle of its background."""
    width = images.shape[-1]
    cut, margin = width // 2, width // 4
    ground = background(images)[..., None, None]
    parts = []
    for half in (images[..., :cut], images[..., width - cut :]):
        part = ground.expand_as(images).clone()
        part[..., margin : margin + cut] = half
        parts.append(part)
    return parts[0], parts[1]


def stands_left_and_right(
    judge: Judge, images: Float[Tensor, "batch 3 height width"], facts: Sequence[Facts]
) -> Bool[Tensor, " batch"]:
    """Says whether the judge finds the first thing rather in the left half, and the second rather
    in the right one; guessing is right once in four."""
    singles = [[Facts(kind="single", things=(each.things[i],)) for each in facts] for i in (0, 1)]
    first, second = (judge.read(single) for single in singles)
    left, right = (judge.see(half) for half in halves(images))
    on_left = (left * (first - second)).sum(dim=1) > 0
    on_right = (right * (second - first)).sum(dim=1) > 0
    return on_left & on_right
