"""R-precision: does a judge find the caption of a picture among 100 (Xu et al. 2018, AttnGAN)."""

import random
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unclip.errors import DataError

CANDIDATES = 100


def distractors(
    questions: Sequence[str], *, others: int = CANDIDATES - 1, seed: int = 0
) -> Int[Tensor, "batch candidates"]:
    """Chooses what each question competes with: rows of places, its own first.

    No two candidates of a row say the same; what is chosen for a question depends on the seed, its
    place and the questions alone.

    Raises:
        DataError: there are not enough different questions.
    """
    firsts: dict[str, int] = {}
    for place, question in enumerate(questions):
        firsts.setdefault(question, place)
    if len(firsts) <= others:
        raise DataError(
            f"got {len(firsts)} different captions, expected more than {others}: "
            "the set is too small for this figure"
        )
    rows = []
    for place, question in enumerate(questions):
        rivals = [first for text, first in firsts.items() if text != question]
        rows.append([place, *random.Random(f"{seed}/{place}").sample(rivals, others)])
    return torch.tensor(rows)


def finds_own(
    images: Float[Tensor, "batch dim"], candidates: Float[Tensor, "batch candidates dim"]
) -> Bool[Tensor, " batch"]:
    """Says for which pictures the first candidate is nearer than all others; a tie is a miss.

    Both are normalised already.
    """
    return ranks(images, candidates) == 1


def ranks(
    images: Float[Tensor, "batch dim"], candidates: Float[Tensor, "batch candidates dim"]
) -> Int[Tensor, " batch"]:
    """Returns each picture's rank of its first candidate, from 1; of equal ones it is the last."""
    scores = torch.einsum("bd,bkd->bk", images.double(), candidates.double())
    return (scores >= scores[:, :1]).sum(dim=1)


def pairwise_distance(
    features: Float[Tensor, "groups members dim"],
) -> Float[Tensor, " groups"]:
    """Returns each group's mean cosine distance between two of its members; 0 is all alike."""
    members = features.shape[1]
    cosine = features.double() @ features.double().mT
    off = cosine.sum(dim=(1, 2)) - cosine.diagonal(dim1=1, dim2=2).sum(dim=1)
    return 1 - off / (members * (members - 1))
