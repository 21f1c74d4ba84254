"""All figures of an evaluation on captioned pictures, from features alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unclip.errors import DataError
from unclip.evaluation.captioned.matching import candidates, cosines, finds_caption
from unclip.evaluation.captioned.neighbours import NEIGHBOURS, precision_recall
from unclip.evaluation.captioned.panel import Predicted, similarity_panel
from unclip.evaluation.distribution import frechet_distance, kernel_distance
from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import Estimate, mean, share

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
"""As torchmetrics and torch-fidelity have it; of fewer pictures all are one subset."""
FEW = 10_000
"""Pictures below which FID is known to be biased much."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Features of the model's and the real pictures, a row a pair."""

    made: Float[Tensor, "batch dim"]
    real: Float[Tensor, "batch dim"]


@dataclass(frozen=True, slots=True)
class Read:
    """A CLIP's features of both, and of the captions."""

    made: Float[Tensor, "batch dim"]
    real: Float[Tensor, "batch dim"]
    text: Float[Tensor, "batch dim"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What was found."""

    figures: list[Figure]
    scores: Float[Tensor, " batch"]
    """The cosine of each picture to its caption."""
    real_scores: Float[Tensor, " batch"]
    remarks: list[str] = field(default_factory=list)
    """What to mind when the figures are read."""


def check_enough(count: int) -> None:
    """Checks that there are pictures enough for every figure.

    Raises:
        DataError: there are not.
    """
    if count <= NEIGHBOURS:
        raise DataError(
            f"got {count} pictures, expected {NEIGHBOURS + 1} or more: precision and recall look "
            f"at the {NEIGHBOURS} nearest neighbours of each"
        )


def results(
    captions: Sequence[str], compared: Compared, read: Read, predicted: Predicted | None, seed: int
) -> Results:
    """Takes all figures.

    Raises:
        DataError: there are too few pictures, or all captions are the same.
    """
    check_enough(len(captions))
    rivals = candidates(captions, seed)
    scores, real_scores = cosines(read.made, read.text), cosines(read.real, read.text)
    figures = [*distribution(compared), *_matching(read, rivals, scores, real_scores)]
    if predicted is not None:
        figures += similarity_panel(predicted)
    count, dim = compared.made.shape
    remarks = []
    if count <= dim:
        remarks.append(
            f"FID of {count} pictures in {dim} features: their covariance is singular, the figure "
            f"is far too large; give {dim + 1} or more, {FEW:,} to compare with others"
        )
    elif count < FEW:
        remarks.append(
            f"FID of {count} pictures is biased upwards: compare it with that of as many pictures "
            "alone (KID is not biased)"
        )
    return Results(figures=figures, scores=scores, real_scores=real_scores, remarks=remarks)


def distribution(compared: Compared) -> list[Figure]:
    """FID, KID, precision and recall."""
    made, real = compared.made, compared.real
    count = len(made)
    fid = frechet_distance(made, real)
    subsets = KID_SUBSETS if count > KID_SUBSET_SIZE else 1
    kid = 1000 * kernel_distance(made, real, subsets=subsets, subset_size=KID_SUBSET_SIZE)
    found = precision_recall(made, real)
    plain = Estimate(value=fid, low=fid, high=fid, count=count)
    return [
        Figure(key="fid", text="FID", unit="", made=plain, real=None),
        Figure(key="kid_x1000", text="KID x 1000", unit="", made=_spread(kid, count), real=None),
        _share("precision", "precision, 3 neighbours", found.precision, None),
        _share("recall", "recall, 3 neighbours", found.recall, None),
    ]


def _matching(
    read: Read, rivals: Int[Tensor, "batch candidates"], scores: Tensor, real_scores: Tensor
) -> list[Figure]:
    made, real = (finds_caption(images, read.text, rivals) for images in (read.made, read.real))
    return [
        Figure(
            key="clip_score",
            text="CLIP score, 100 x cosine",
            unit="",
            made=mean(100 * scores),
            real=mean(100 * real_scores),
        ),
        _share("r_precision", f"R-precision@1 of {rivals.shape[1]}", made, real),
    ]


def _share(key: str, text: str, made: Tensor, real: Tensor | None) -> Figure:
    ceiling = None if real is None else share(real)
    return Figure(key=key, text=text, unit="share", made=share(made), real=ceiling)


def _spread(values: Tensor, count: int) -> Estimate:
    """The mean of subsets, and where 95 % of them lie."""
    low, high = torch.quantile(values, values.new_tensor([0.025, 0.975])).tolist()
    return Estimate(value=float(values.mean()), low=low, high=high, count=count)
