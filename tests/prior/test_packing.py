"""Several noised draws behind one text: the same answers and gradients as each draw alone."""

import pytest
import torch
from torch import Tensor

from prior.config import PriorConfig
from prior.loss import prior_loss
from prior.model import Prior
from prior.packing import packed_mask
from unclip.clip.features import TextFeatures
from unclip.diffusion.schedules import build_schedule
from unclip.training.draws import Draws

CONFIG = PriorConfig(
    embed_dim=8, text_width=12, context_length=5, num_layers=2, num_heads=2, head_dim=8
)


def make_prior() -> Prior:
    torch.manual_seed(0)
    return Prior(CONFIG)


def features() -> TextFeatures:
    generator = torch.Generator().manual_seed(1)
    return TextFeatures(
        torch.randn(3, 8, generator=generator),
        torch.randn(3, 5, 12, generator=generator),
        torch.arange(5)[None] < torch.tensor([3, 5, 2])[:, None],
    )


class FixedDraws(Draws):
    """Gives the draws of one place among those of a caption."""

    def __init__(self, place: int) -> None:
        super().__init__(0, "prior", [10, 11, 12])
        for _ in range(place):
            self.integers(1000)
            self.normal((8,))


def gradients(prior: Prior) -> list[Tensor]:
    found = []
    for parameter in prior.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.clone())
    prior.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_the_packed_loss_is_the_mean_of_the_draws_alone(draws: int) -> None:
    prior, schedule, text = make_prior(), build_schedule(CONFIG.diffusion), features()
    x_start = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    packed = prior_loss(
        prior, CONFIG, schedule, x_start, text, FixedDraws(0), draws_per_caption=draws
    )
    packed["loss"].backward()
    together = gradients(prior)
    alone = [
        prior_loss(prior, CONFIG, schedule, x_start, text, FixedDraws(place))
        for place in range(draws)
    ]
    for name in packed:
        mean = torch.stack([each[name] for each in alone]).mean()
        torch.testing.assert_close(packed[name], mean, rtol=0, atol=1e-6)
    torch.stack([each["loss"] for each in alone]).mean().backward()
    torch.testing.assert_close(together, gradients(prior), rtol=1e-4, atol=1e-6)
    assert draws == 1 or len({round(float(each["loss"].detach()), 6) for each in alone}) == draws


def test_an_answer_does_not_depend_on_the_draws_beside_it() -> None:
    prior, text = make_prior().eval(), features()
    x_t = torch.randn(6, 8)
    t = torch.tensor([5, 900, 40, 1, 999, 300])
    with torch.no_grad():
        before = prior(x_t, t, text.embed, text.hidden, text.mask)
        x_t[1::2], t[1::2] = 3.0, 7
        after = prior(x_t, t, text.embed, text.hidden, text.mask)
    torch.testing.assert_close(after[0::2], before[0::2], rtol=0, atol=1e-6)
    assert not torch.isclose(after[1::2], before[1::2]).all(dim=1).any()


def test_who_sees_whom() -> None:
    mask = packed_mask(torch.tensor([[True, False, True]]), draws=2, draw_tokens=2)
    assert mask[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 0, 0],
        [1, 0, 1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0, 1, 0],
        [1, 0, 1, 0, 0, 1, 1],
    ]
