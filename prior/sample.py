"""Text features to a CLIP image embedding: sample N candidates, keep the one closest to the
text."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from prior.model import Prior
from prior.steps import prepare_steps
from unclip.clip.features import TextFeatures
from unclip.diffusion.affine import run_steps
from unclip.diffusion.denoiser import Denoiser, Network
from unclip.diffusion.guidance import guide
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.schedules import build_schedule, respace
from unclip.nn.graphs import step_recorder


class CandidateNoise:
    """Draws for `candidates` embeddings a picture, neighbours first; each has a stream of its
    own."""

    def __init__(self, noise: Noise, candidates: int) -> None:
        self.noises = [noise.fork(str(i)) for i in range(candidates)]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draws a row for every candidate of every picture."""
        return torch.stack([noise(shape) for noise in self.noises], dim=1).flatten(0, 1)

    def fork(self, label: str) -> "CandidateNoise":
        """Returns a copy whose streams are told apart by `label`."""
        copy = CandidateNoise.__new__(CandidateNoise)
        copy.noises = [noise.fork(label) for noise in self.noises]
        return copy


def best_candidate(
    candidates: Float[Tensor, "batch candidates dim"], text_embed: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch dim"]:
    """Keeps the candidate with the largest dot product with the text embedding (unCLIP section
    2.2).

    Each picture is scored alone, in float32: the shape of the product never depends on the batch,
    so neither does the choice.
    """
    kept = [
        rows[(rows.float() @ z.float()).argmax()]
        for rows, z in zip(candidates, text_embed, strict=True)
    ]
    return torch.stack(kept)


@torch.inference_mode()
def sample_image_embed(
    prior: Prior,
    text: TextFeatures,
    null_text: TextFeatures,
    *,
    noise: Noise,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    candidates: int | None = None,
    callback: Callback | None = None,
    latents: Float[Tensor, "rows dim"] | None = None,
) -> Float[Tensor, "batch dim"]:
    """Samples CLIP image embeddings (not normalised, not whitened) for a batch of texts.

    Args:
        null_text: the empty prompt's features, one row or a row a picture; the unconditional
            branch.
        noise: gives (batch, dim) draws, one picture's rows independent of its neighbours.
        num_steps, guidance_scale, candidates: None takes the checkpoint's defaults.
        latents: the first noise, a row a candidate; None draws it.
    """
    defaults = prior.config.sampling
    num_steps = defaults.num_steps if num_steps is None else num_steps
    scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    candidates = defaults.candidates if candidates is None else candidates

    # The text is run once; candidates share it.
    schedule = build_schedule(prior.config.diffusion)
    times = respace(schedule.num_timesteps, num_steps)
    record = step_recorder(prior)
    # A recording serves prompts of every length, so there all are padded to one.
    padded = record is not None
    network = _network(prior, text, null_text, scale, candidates, times, padded=padded)
    denoiser = Denoiser(network, schedule, prior.config.diffusion)

    # Ancestral sampling in whitened space.
    draws = CandidateNoise(noise, candidates)
    x = draws((prior.config.embed_dim,)) if latents is None else latents.float()
    x = x.to(text.embed.device)
    x = run_steps("ddpm", denoiser, x, times, draws, record, callback=callback)
    embeds = prior.unwhiten(x.float())
    return best_candidate(embeds.unflatten(0, (-1, candidates)), text.embed)


def _network(
    prior: Prior,
    text: TextFeatures,
    null_text: TextFeatures,
    scale: float,
    candidates: int,
    times: Sequence[int],
    *,
    padded: bool,
) -> Network:
    """Closes the prior over its texts and times; guided when `scale` is not 1."""
    texts = [(text, candidates)]
    if scale != 1:
        # One null text is run once for all pictures.
        texts.append((null_text, candidates * len(text) // len(null_text)))
    steps = prepare_steps(prior, texts, times, padded=padded)
    return guide(steps, steps, scale)
