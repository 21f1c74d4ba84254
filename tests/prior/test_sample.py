"""Sampling embeddings: candidates, guidance, and independence of the batch."""

import pytest
import torch

from prior.config import PriorConfig
from prior.model import Prior
from prior.sample import CandidateNoise, best_candidate, sample_image_embed
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import SeededNoise


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    model = Prior(
        PriorConfig(
            embed_dim=8, text_width=12, context_length=5, num_layers=2, num_heads=2, head_dim=8
        )
    )
    model.clip_mean.normal_()
    model.clip_std.uniform_(0.5, 2)
    return model.eval()


def features(rows: int) -> TextFeatures:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5)[None] < torch.tensor([3, 5, 4, 2])[:rows, None]
    return TextFeatures(
        torch.randn(rows, 8, generator=generator),
        torch.randn(rows, 5, 12, generator=generator),
        mask,
    )


def test_the_best_candidate_has_the_largest_product() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    candidates = torch.tensor([[[0.5, 9.0], [0.7, -9.0]], [[3.0, -2.0], [3.0, 2.0]]])
    kept = best_candidate(candidates, text)
    assert kept.tolist() == [[pytest.approx(0.7), -9.0], [3.0, -2.0]]


def test_candidates_are_neighbours_with_streams_of_their_own() -> None:
    draws = CandidateNoise(SeededNoise([3, 4], "prior"), 2)((6,))
    assert draws.shape == (4, 6)
    for row, (seed, candidate) in enumerate([(3, 0), (3, 1), (4, 0), (4, 1)]):
        alone = SeededNoise([seed], "prior").fork(str(candidate))((6,))[0]
        assert torch.equal(draws[row], alone)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_row_does_not_depend_on_its_neighbours(prior: Prior, scale: float) -> None:
    text, null = features(3), features(4)[3:]
    together = sample_image_embed(
        prior, text, null, noise=SeededNoise([7, 8, 9], "prior"), num_steps=5, guidance_scale=scale
    )
    for row in range(3):
        alone = sample_image_embed(
            prior,
            text[row : row + 1],
            null,
            noise=SeededNoise([7 + row], "prior"),
            num_steps=5,
            guidance_scale=scale,
        )
        assert (alone[0] - together[row]).abs().max() < 1e-4
    assert together.std(0).max() > 0.1


def test_one_candidate_of_several_is_kept(prior: Prior) -> None:
    text, null = features(2), features(4)[3:]
    several = sample_image_embed(
        prior, text, null, noise=SeededNoise([0, 1], "prior"), num_steps=4, candidates=3
    )
    singles = []
    for candidate in range(3):
        noise = SeededNoise([0, 1], f"prior/{candidate}")

        class Only:
            """Gives the stream of one candidate as the only one."""

            def __init__(self, noise: SeededNoise) -> None:
                self.noise = noise

            def __call__(self, shape):
                return self.noise(shape)

            def fork(self, label: str) -> "Only":
                return self

        singles.append(
            sample_image_embed(prior, text, null, noise=Only(noise), num_steps=4, candidates=1)
        )
    stacked = torch.stack(singles, dim=1)
    assert (several - best_candidate(stacked, text.embed)).abs().max() < 1e-4


def test_guidance_changes_the_sample_and_the_unconditional_branch_is_the_null(prior: Prior) -> None:
    text, null = features(2), features(4)[3:]
    noise = SeededNoise([0, 1], "prior")
    plain, strong, dead = (
        sample_image_embed(
            prior,
            text if scale else null.repeat_interleave(2),
            null,
            noise=SeededNoise(noise.seeds, "prior"),
            num_steps=4,
            guidance_scale=scale or 5.0,
            candidates=1,
        )
        for scale in (1.0, 5.0, 0.0)
    )
    assert (plain - strong).abs().max() > 1e-3
    # Guiding the null away from itself is no guidance.
    unguided = sample_image_embed(
        prior,
        null.repeat_interleave(2),
        null,
        noise=SeededNoise(noise.seeds, "prior"),
        num_steps=4,
        guidance_scale=1.0,
        candidates=1,
    )
    assert (dead - unguided).abs().max() < 1e-4
