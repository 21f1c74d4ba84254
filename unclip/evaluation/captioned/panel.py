"""What the prior predicts, beside what is true: the panel that LAION watched its priors by.

`prior.md` of DALLE2-pytorch: an embedding that the prior predicts from a caption should be as near
to the caption as the true picture's is (the baseline, so the difference is about 0), near to the
true picture's, and far from those of other pictures and captions. All of it is in the space of the
CLIP that the prior was trained on.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unclip.evaluation.captioned.matching import cosines
from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import mean


@dataclass(frozen=True, slots=True)
class Predicted:
    """Embeddings of one CLIP, a row a pair."""

    text: Float[Tensor, "batch dim"]
    image: Float[Tensor, "batch dim"]
    """Of the true pictures."""
    prior: Float[Tensor, "batch dim"]
    """What the prior made of the captions."""


def unrelated(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """Puts each row in its neighbour's place: pairs are shuffled already."""
    return rows.roll(1, dims=0)


def similarity_panel(found: Predicted) -> list[Figure]:
    """The panel's figures: mean cosines, each with its interval."""
    text, image, prior = found.text, found.image, found.prior
    baseline, predicted = cosines(text, image), cosines(text, prior)

    def figure(key: str, words: str, made: Tensor, real: Tensor | None) -> Figure:
        ceiling = None if real is None else mean(real)
        return Figure(key=key, text=words, unit="", made=mean(made), real=ceiling)

    return [
        figure("prior_text", "prior: cosine to the caption", predicted, baseline),
        figure(
            "prior_text_delta", "prior: the same less the real one's", predicted - baseline, None
        ),
        figure("prior_image", "prior: cosine to the own picture", cosines(prior, image), None),
        figure(
            "prior_unrelated_image",
            "prior: cosine to an unrelated picture",
            cosines(prior, unrelated(image)),
            cosines(image, unrelated(image)),
        ),
        figure(
            "prior_unrelated_text",
            "prior: cosine to an unrelated caption",
            cosines(unrelated(text), prior),
            cosines(unrelated(text), image),
        ),
    ]
