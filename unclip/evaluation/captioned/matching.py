"""Do pictures show their captions: CLIP score and R-precision.

The CLIP score (Hessel et al. 2021) is a hundred times the mean cosine of picture and caption, as
torchmetrics has it; R-precision (Xu et al. 2018) the share of pictures that are nearer to their own
caption than to others of the set.
"""

import random
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unclip.errors import DataError
from unclip.evaluation.captioned.extractors import unit
from unclip.evaluation.retrieval import CANDIDATES, finds_own

BLOCK = 256
"""Pictures whose candidates are held at a time."""


def cosines(
    first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """Returns each row's cosine, in float64."""
    return (unit(first) * unit(second)).sum(dim=1)


def candidates(
    captions: Sequence[str], seed: int, most: int = CANDIDATES
) -> Int[Tensor, "batch candidates"]:
    """Chooses what each caption competes with: places of captions, its own first, no two alike.

    There are `most` of them, or as many as there are different captions.

    Raises:
        DataError: all captions are the same.
    """
    firsts: dict[str, int] = {}
    for place, caption in enumerate(captions):
        firsts.setdefault(caption, place)
    count = min(most, len(firsts))
    if count < 2:
        raise DataError(
            f"all {len(captions)} captions are the same: R-precision needs different ones"
        )
    places, rows = list(firsts.values()), []
    for place, caption in enumerate(captions):
        # One more than needed, should the own one be drawn.
        drawn = random.Random(f"rivals/{seed}/{place}").sample(places, count)
        others = [other for other in drawn if other != firsts[caption]]
        rows.append([place, *others[: count - 1]])
    return torch.tensor(rows)


def finds_caption(
    images: Float[Tensor, "batch dim"],
    texts: Float[Tensor, "batch dim"],
    rivals: Int[Tensor, "batch candidates"],
) -> Bool[Tensor, " batch"]:
    """Says for which pictures their own caption is nearer than all its rivals; a tie is a miss."""
    images, texts = unit(images), unit(texts)
    parts = [
        finds_own(images[start : start + BLOCK], texts[rivals[start : start + BLOCK]])
        for start in range(0, len(images), BLOCK)
    ]
    return torch.cat(parts)
