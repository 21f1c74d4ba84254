"""How the small picture is spoilt in training, so that the upsampler forgives the stage before it.

Blur for the first upsampler and a BSR degradation for the second (unCLIP section 2.1; the idea of
BSR is Zhang et al. 2021, arXiv 2103.14006: blur, resizing, noise and JPEG in a random order).
All randomness is drawn from `Draws`, so a sample's degradation does not depend on its neighbours.
"""

import io

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from unclip.training.draws import Draws

BLUR_KERNEL_PX, BLUR_SIGMA_PX = 3, 0.6  # unCLIP appendix C
BSR_KERNEL_PX = 7
BSR_SIGMA_PX = (0.1, 1.2)
BSR_SCALE = (0.6, 1.2)
BSR_NOISE = (0.0, 0.06)
BSR_JPEG_QUALITY = (50.0, 95.0)
BSR_STEP_PROBABILITY = 0.6
"""Each of BSR's four operations is applied to a sample with this probability."""


def reduce_size(
    images: Float[Tensor, "batch 3 height width"], factor: int
) -> Float[Tensor, "batch 3 low_height low_width"]:
    """Shrinks pictures by an integer factor, each pixel the mean of its square."""
    return nn.functional.avg_pool2d(images, factor)


def gaussian_blur(
    images: Float[Tensor, "batch 3 height width"], sigma: Float[Tensor, " batch"], kernel_px: int
) -> Float[Tensor, "batch 3 height width"]:
    """Blurs each picture with a Gaussian of its own standard deviation, in pixels."""
    offsets = torch.arange(kernel_px, device=images.device) - kernel_px // 2
    weights = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    weights = weights / weights.sum(1, keepdim=True)  # (B, K)
    kernel = weights[:, :, None] * weights[:, None, :]  # (B, K, K)
    batch, channels = images.shape[:2]
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    pad = [kernel_px // 2] * 4
    padded = nn.functional.pad(images, pad, mode="replicate").flatten(0, 1)[None]
    blurred = nn.functional.conv2d(padded, kernel, groups=batch * channels)
    return rearrange(blurred[0], "(b c) h w -> b c h w", c=channels)


def blur(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Blurs as the paper's first upsampler does: kernel 3, sigma 0.6."""
    sigma = torch.full((len(images),), BLUR_SIGMA_PX, device=images.device)
    return gaussian_blur(images, sigma, BLUR_KERNEL_PX)


def bsr(
    images: Float[Tensor, "batch 3 height width"], draws: Draws
) -> Float[Tensor, "batch 3 height width"]:
    """Applies blur, a resize to and fro, noise and JPEG to pictures in [-1, 1].

    Each sample has its own order, strengths, and choice of operations.
    """
    order = torch.stack([draws.uniform() for _ in range(4)], dim=1).argsort(dim=1)
    apply = torch.stack([draws.bernoulli(BSR_STEP_PROBABILITY) for _ in range(4)], dim=1)
    strength = torch.stack([draws.uniform() for _ in range(4)], dim=1)
    grain = draws.normal(images.shape[1:])
    rows = []
    for i in range(len(images)):
        row = images[i : i + 1]
        for operation in order[i].tolist():
            if apply[i, operation]:
                u = float(strength[i, operation])
                row = _operate(operation, row, u, grain[i : i + 1])
        rows.append(row)
    return torch.cat(rows).clamp(-1, 1)


def _operate(operation: int, image: Tensor, u: float, grain: Tensor) -> Tensor:
    """Applies one of BSR's operations with strength u in [0, 1)."""
    if operation == 0:
        return gaussian_blur(image, image.new_tensor([_between(BSR_SIGMA_PX, u)]), BSR_KERNEL_PX)
    if operation == 1:
        return _resize_to_and_fro(image, _between(BSR_SCALE, u))
    if operation == 2:
        return image + _between(BSR_NOISE, u) * grain
    return jpeg(image[0], round(_between(BSR_JPEG_QUALITY, u)))[None]


def _between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _resize_to_and_fro(image: Tensor, scale: float) -> Tensor:
    height, width = image.shape[-2:]
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
    return nn.functional.interpolate(small, (height, width), mode="bicubic", antialias=True)


def jpeg(image: Float[Tensor, "3 height width"], quality: int) -> Float[Tensor, "3 height width"]:
    """Codes a picture in [-1, 1] as JPEG of the given quality (1 to 95) and reads it back."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(buffer, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(buffer)))
    return (decoded.permute(2, 0, 1).to(image) / 127.5) - 1
