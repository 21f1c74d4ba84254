"""The autoregressive prior's training loss: every code's cross-entropy (unCLIP section 2.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.autoregressive import AutoregressivePrior
from unclip.clip.features import TextFeatures
from unclip.training.draws import Draws


def autoregressive_loss(
    network: nn.Module,
    prior: AutoregressivePrior,
    image_embed: Float[Tensor, "batch dim"],
    text: TextFeatures,
    null_text: TextFeatures,
    draws: Draws,
    *,
    text_dropout: float,
) -> dict[str, Tensor]:
    """Scores the codes of embeddings, each given the true ones before it.

    A dropped text leaves the dot product that it had: with guidance the two answers then differ by
    the text alone.

    Args:
        network: `prior`, or what wraps it.

    Returns the mean loss in nats a code and, to watch, the share of codes that are guessed.
    """
    # A bucket is narrower than what bfloat16 can tell apart.
    with torch.autocast(image_embed.device.type, enabled=False):
        codes = prior.encode(image_embed)
        dot = prior.dot_buckets(image_embed, text.embed)
    text = text.replace(null_text, draws.bernoulli(text_dropout))
    logits = network(text.embed, text.hidden, text.mask, dot, codes).float()
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), codes.flatten())
    guessed = (logits.detach().argmax(-1) == codes).float().mean()
    return {"loss": loss, "guessed": guessed}
