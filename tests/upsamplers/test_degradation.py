import pytest
import torch

from unclip.training.draws import Draws
from upsamplers.augmentation import augment
from upsamplers.degradation import blur, bsr, gaussian_blur, jpeg, reduce_size


def picture(batch: int = 2, size: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, size // 4, size // 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")


def test_blur_of_a_point_is_the_gaussian() -> None:
    image = torch.zeros(1, 3, 9, 9)
    image[:, :, 4, 4] = 1
    spread = blur(image)[0, 0]
    weight = torch.exp(torch.tensor([-1.0, 0.0, -1.0]).abs().neg() / (2 * 0.6**2))
    weight = weight / weight.sum()
    assert torch.allclose(spread[3:6, 3:6], weight[:, None] * weight[None], atol=1e-6)
    assert spread.sum() == pytest.approx(1, abs=1e-6)


def test_each_picture_has_its_own_blur() -> None:
    image = picture()
    both = gaussian_blur(image, torch.tensor([0.3, 1.1]), 7)
    for row, sigma in enumerate((0.3, 1.1)):
        alone = gaussian_blur(image[row : row + 1], torch.tensor([sigma]), 7)
        assert torch.allclose(both[row], alone[0], atol=1e-6)


def test_a_flat_picture_survives_blur_and_reduction() -> None:
    flat = torch.full((1, 3, 16, 16), 0.25)
    assert torch.allclose(blur(flat), flat, atol=1e-6)
    assert torch.allclose(reduce_size(flat, 4), torch.full((1, 3, 4, 4), 0.25))


def test_jpeg_spoils_more_at_lower_quality() -> None:
    image = picture()[0]
    errors = [float((jpeg(image, quality) - image).abs().mean()) for quality in (95, 50, 10)]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.05


def test_bsr_depends_on_the_sample_alone() -> None:
    images = picture(4)
    whole = bsr(images, Draws(0, "upsampler_1024", range(4)))
    for row in range(4):
        alone = bsr(images[row : row + 1], Draws(0, "upsampler_1024", [row]))
        assert torch.allclose(whole[row], alone[0], atol=1e-6)
    assert whole.abs().max() <= 1
    assert not torch.allclose(whole, images)
    other = bsr(images, Draws(1, "upsampler_1024", range(4)))
    assert not torch.allclose(whole, other)


def test_augmentation_keeps_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(2, 3, 64, 64, generator=generator) for _ in range(2))
    mixed = augment(x, torch.tensor([0.0, 0.8]), eps)
    assert torch.equal(mixed[0], x[0])
    assert mixed[1].std() == pytest.approx(1, abs=0.03)
