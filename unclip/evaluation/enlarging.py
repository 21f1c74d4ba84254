"""The upsamplers against bicubic and Lanczos: PSNR and edge width, on true pictures."""

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import mean
from unclip.evaluation.sharpness import edge_width, edges, psnr
from unclip.evaluation.suite import FIRST_SEED, Artist

Enlarge = Callable[[Tensor], Tensor]


def enlarging(
    artist: Artist, truth: Float[Tensor, "batch 3 size size"], advance: Callable[[str], None]
) -> list[Figure]:
    """Shrinks true pictures by the mean of their squares, enlarges them again, and compares.

    A picture is enlarged alone: large ones need much memory.
    """
    size = truth.shape[-1]
    low_size = artist.sizes[artist.sizes.index(size) - 1]
    low_res = functional.avg_pool2d(truth, size // low_size)
    seeds = [FIRST_SEED["upsampling"] + i for i in range(len(truth))]
    made = []
    for image, seed in zip(low_res, seeds, strict=True):
        made.append(artist.enlarge(image[None], [seed]).float().cpu())
        advance("upsampling")
    bicubic, lanczos = (
        resample(low_res, size, method)
        for method in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    )
    where = edges(truth)
    rows = {"model": torch.cat(made), "bicubic": bicubic, "lanczos": lanczos}
    true_width = mean(edge_width(truth, where))
    figures = []
    for name, images in rows.items():
        title = f"{low_size} to {size} px, {name}"
        figures.append(
            Figure(
                key=f"psnr_{size}_{name}",
                text=f"PSNR, {title}",
                unit="dB",
                made=mean(psnr(images, truth)),
                real=None,
            )
        )
        figures.append(
            Figure(
                key=f"edge_width_{size}_{name}",
                text=f"edge width, {title}",
                unit="px",
                made=mean(edge_width(images, where)),
                real=true_width,
            )
        )
    return figures


def resample(
    images: Float[Tensor, "batch 3 low low"], size_px: int, method: Image.Resampling
) -> Float[Tensor, "batch 3 size size"]:
    """Enlarges pictures in [-1, 1] with Pillow's filters, in floating point."""
    channels = rearrange(images, "b c h w -> (b c) h w").float().cpu().numpy()
    large = [
        np.asarray(Image.fromarray(channel).resize((size_px, size_px), method))
        for channel in channels
    ]
    stacked = torch.from_numpy(np.stack(large))
    return rearrange(stacked, "(b c) h w -> b c h w", c=3).clamp(-1, 1)
