import pytest
import torch
from diffusers.models.embeddings import TimestepEmbedding as Reference
from diffusers.models.embeddings import Timesteps

from unclip.nn.embeddings import TimestepEmbedding, sinusoid


@pytest.mark.parametrize("dim", [2, 32, 320])
@pytest.mark.parametrize("times", [torch.tensor([0, 1, 500, 999]), torch.tensor([0.25, 17.5])])
def test_sinusoid_is_diffusers_timesteps(dim: int, times: torch.Tensor) -> None:
    reference = Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(sinusoid(times, dim), reference(times))


def test_sinusoid_is_float32_whatever_the_times_are() -> None:
    assert sinusoid(torch.tensor([3.0], dtype=torch.bfloat16), 8).dtype == torch.float32
    assert sinusoid(torch.tensor([3.0], dtype=torch.float64), 8).dtype == torch.float32


def test_timestep_embedding_is_diffusers(randomise) -> None:
    ours, reference = TimestepEmbedding(12, 20), Reference(12, 20)
    randomise(reference)
    ours.load_state_dict(reference.state_dict(), strict=True)
    wave = torch.randn(3, 12)
    torch.testing.assert_close(ours(wave), reference(wave), rtol=0, atol=1e-6)
