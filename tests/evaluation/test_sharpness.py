import math

import pytest
import torch
from drawn_pictures import RGB, add_disc, plain
from torch.nn import functional

from unclip.evaluation.sharpness import edge_width, edges, psnr


def test_psnr_of_a_constant_error() -> None:
    first = torch.zeros(2, 3, 8, 8)
    second = first + torch.tensor([0.2, 0.02])[:, None, None, None]
    assert psnr(first, second).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)
    assert psnr(first, first).tolist() == [120.0, 120.0]


def test_psnr_of_noise() -> None:
    noise = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    found = psnr(torch.zeros_like(noise), 0.1 * noise)
    assert float(found) == pytest.approx(-20 * math.log10(0.05), abs=0.05)


def step(blur: float, size: int = 96) -> torch.Tensor:
    """A dark and a light half, the edge blurred by a Gaussian."""
    x = torch.arange(size) - size / 2 + 0.5
    light = 0.5 * torch.erf(x / (blur * math.sqrt(2))) if blur else 0.5 * x.sign()
    return (2 * light).expand(3, size, size)[None]


@pytest.mark.parametrize("blur", [1.0, 1.5, 2.0])
def test_width_of_a_blurred_step(blur: float) -> None:
    """Its slope is 1 / (s √(2π)) at its steepest, a little less over a whole pixel."""
    where = edges(step(0.0))
    assert where.any()
    found = float(edge_width(step(blur), where))
    assert found == pytest.approx(blur * math.sqrt(2 * math.pi), rel=0.06)
    assert float(edge_width(step(0.0), where)) == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_enlarging_widens_edges(mode: str) -> None:
    truth = add_disc(plain(size=256), 128, 128, 80, RGB["blue"])[None]
    small = functional.avg_pool2d(truth, 4)
    large = functional.interpolate(small, scale_factor=4, mode=mode)
    where = edges(truth)
    assert float(edge_width(truth, where)) < 1.5
    assert 3 < float(edge_width(large, where)) < 8
    assert float(psnr(large, truth)) < 40


def test_edge_width_forgets_contrast() -> None:
    where = edges(step(0.0))
    pale = edge_width(0.3 * step(1.5), where)
    assert torch.allclose(pale, edge_width(step(1.5), where), rtol=1e-3)


def test_pale_and_soft_pictures_have_edges() -> None:
    """Those of the steepest change, which is far below a hard edge's."""
    for image in (0.1 * step(0.0), step(6.0), 0.3 * step(2.0)):
        where = edges(image)
        assert where.any()
        assert not where[..., :20].any()
    found = float(edge_width(0.3 * step(2.0), edges(0.3 * step(2.0))))
    assert found == pytest.approx(2 * math.sqrt(2 * math.pi), rel=0.06)


def test_blank_pictures_have_no_edges() -> None:
    with pytest.raises(ValueError, match="without edges"):
        edge_width(plain()[None], edges(plain()[None]))
