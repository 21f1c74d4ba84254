"""Sprites onto pictures: antialiased scaling as two matrix products, then alpha-over.

Scaling by the triangle filter is linear and separable, so a sprite's place and size are two
matrices (Heckbert 1989, section 3): exact at any size, batched, and no sample is skipped however
much it shrinks.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

MARGIN = 16
"""Pixels around a sprite that its edges are averaged with: it may shrink to a sixteenth."""


def resize_matrix(
    centre: Float[Tensor, " batch"], side: Float[Tensor, " batch"], size_px: int, sprite_px: int
) -> Float[Tensor, "batch size sprite"]:
    """Returns what draws a sprite's line of pixels into a picture's.

    Args:
        centre, side: of the sprite's square, over the picture's side.
    """
    place = (torch.arange(size_px, device=centre.device, dtype=torch.float32) + 0.5) / size_px
    side = side.clamp(min=1e-6)
    source = ((place - centre[:, None]) / side[:, None] + 0.5) * sprite_px - 0.5
    reach = (sprite_px / (side * size_px)).clamp(min=1.0)[:, None, None]
    # What lies outside the sprite is see-through, and counts in the mean.
    pixels = torch.arange(-MARGIN, sprite_px + MARGIN, device=centre.device, dtype=torch.float32)
    weights = (1 - (source[..., None] - pixels).abs() / reach).clamp(min=0)
    whole = weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights[..., MARGIN : MARGIN + sprite_px] / whole


def place_sprites(
    sprites: Float[Tensor, "batch 4 sprite sprite"],
    boxes: Float[Tensor, "batch 3"],
    mirrored: Float[Tensor, " batch"],
    size_px: int,
) -> Float[Tensor, "batch 4 size size"]:
    """Draws sprites (premultiplied RGB, alpha) at their places, on nothing.

    Args:
        boxes: centre x, centre y and side of each sprite's square, over the picture's side.
        mirrored: 1 where left and right are exchanged.
    """
    x, y, side = boxes.unbind(1)
    down = resize_matrix(y, side, size_px, sprites.shape[-1])
    across = resize_matrix(x, side, size_px, sprites.shape[-1])
    across = torch.where(rearrange(mirrored, "b -> b 1 1") > 0, across.flip(-1), across)
    return torch.einsum("bts,bcsk,buk->bctu", down, sprites, across)


def over(
    canvas: Float[Tensor, "batch 3 size size"], layer: Float[Tensor, "batch 4 size size"]
) -> Float[Tensor, "batch 3 size size"]:
    """Lays a premultiplied layer over a picture (Porter and Duff 1984)."""
    return canvas * (1 - layer[:, 3:]) + layer[:, :3]
