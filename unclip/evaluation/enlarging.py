"""The upsamplers against bicubic and Lanczos: PSNR and edge width, on true pictures."""

from collections.abc import Callable, Mapping

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
    rows = {"model": torch.cat(made), "bicubic": bicubic, "lanczos": lanczos}
    return _compared(rows, truth, f"{low_size} to {size} px")


def _compared(rows: Mapping[str, Tensor], truth: Tensor, title: str) -> list[Figure]:
    """PSNR and edge width of every way to enlarge, and how far the model is above bicubic."""
    size, where = truth.shape[-1], edges(truth)
    drawn = where.flatten(1).any(dim=1)  # a blank picture has a PSNR, but no edges
    true_width = mean(edge_width(truth[drawn], where[drawn]))
    ratios = {name: psnr(images, truth) for name, images in rows.items()}
    figures = [
        Figure(
            key=f"psnr_gain_{size}",
            text=f"PSNR above bicubic, {title}",
            unit="dB",
            made=mean(ratios["model"] - ratios["bicubic"]),
            real=None,
        )
    ]
    for name, images in rows.items():
        figures += [
            Figure(
                key=f"psnr_{size}_{name}",
                text=f"PSNR, {title}, {name}",
                unit="dB",
                made=mean(ratios[name]),
                real=None,
            ),
            Figure(
                key=f"edge_width_{size}_{name}",
                text=f"edge width, {title}, {name}",
                unit="px",
                made=mean(edge_width(images[drawn], where[drawn])),
                real=true_width,
            ),
        ]
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
