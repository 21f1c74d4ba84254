"""Text features to a CLIP image embedding, code by code."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prior.autoregressive import AutoregressivePrior
from prior.sample import CandidateNoise, best_candidate
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback, Step
from unclip.nn.incremental import Incremental


@torch.inference_mode()
def sample_codes(
    prior: AutoregressivePrior,
    text: TextFeatures,
    null_text: TextFeatures,
    *,
    noise: Noise,
    guidance_scale: float | None = None,
    candidates: int | None = None,
    dot_percentile: float | None = None,
    callback: Callback | None = None,
) -> Float[Tensor, "batch dim"]:
    """Samples CLIP image embeddings (not normalised, not whitened) for a batch of texts.

    Args:
        null_text: the empty prompt's features, one row or a row a picture; for guidance.
        noise: gives (batch, numbers) draws; a picture's codes hang on its own alone.
        guidance_scale, candidates, dot_percentile: None takes the checkpoint's defaults.
        callback: sees the embedding after each code, the others at their mean; what it returns is
            of no account.
    """
    config, defaults = prior.config, prior.config.sampling
    scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    candidates = defaults.candidates if candidates is None else candidates
    above = defaults.dot_percentile if dot_percentile is None else dot_percentile

    # One uniform number for the dot product and one for each code.
    draws = CandidateNoise(noise, candidates)((config.num_codes + 1,))
    uniform = _uniform(draws).to(text.embed.device)
    dot = ((above + (1 - above) * uniform[:, 0]) * config.num_buckets).long()
    dot = dot.clamp(max=config.num_buckets - 1)

    rows = text.repeat_interleave(candidates)
    count = len(rows)
    if scale != 1:
        null = null_text.repeat_interleave(count // len(null_text))
        rows, dot = TextFeatures.cat([rows, null]), torch.cat([dot, dot])
    codes = _write(prior, rows, dot, uniform[:, 1:], count, scale, callback)
    embeds = prior.decode(codes).unflatten(0, (-1, candidates))
    return best_candidate(embeds, text.embed)


def _write(
    prior: AutoregressivePrior,
    text: TextFeatures,
    dot: Int[Tensor, " rows"],
    uniform: Float[Tensor, "pictures codes"],
    count: int,
    scale: float,
    callback: Callback | None,
) -> Int[Tensor, "pictures codes"]:
    """Draws code after code; rows past `count` are the unconditional answers."""
    weight = prior.to_logits.weight
    text = text.to(dtype=weight.dtype)
    tokens, mask = prior.prefix(text.embed, text.hidden, text.mask, dot)
    length = tokens.shape[1] + prior.config.num_codes - 1
    cache = Incremental(prior.transformer_blocks, len(tokens), length, weight)
    codes = dot.new_full((count, prior.config.num_codes), prior.config.num_buckets // 2)
    last = cache.run(tokens, mask)[:, -1:]
    for number in range(prior.config.num_codes):
        logits = prior.answer(last)[:, 0].double()
        if scale != 1:
            given, free = logits[:count], logits[count:]
            logits = free + scale * (given - free)
        codes[:, number] = pick(logits, uniform[:, number])
        if callback is not None:
            _tell(callback, prior, codes, number)
        if number + 1 < prior.config.num_codes:
            new = codes[:, number : number + 1].repeat(len(tokens) // count, 1)
            last = cache.run(prior.code_tokens(new, first=number))
    return codes


def _tell(callback: Callback, prior: AutoregressivePrior, codes: Tensor, number: int) -> None:
    total, embed = prior.config.num_codes, prior.decode(codes)
    callback(Step(number, total, total - 1 - number, embed, embed))


def pick(
    logits: Float[Tensor, "batch buckets"], uniform: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Returns the bucket at which the distribution's cumulated share passes a number in [0, 1)."""
    shares = logits.double().softmax(1).cumsum(1)
    wanted = uniform.double()[:, None] * shares[:, -1:]
    return torch.searchsorted(shares, wanted, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def _uniform(normal: Tensor) -> Tensor:
    """Numbers in [0, 1) of standard normal ones: their cumulated share."""
    shares = 0.5 * (1 + torch.erf(normal.double() / math.sqrt(2)))
    return shares.clamp(0, 1 - 1e-12)
