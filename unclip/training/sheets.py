"""Contact sheets of pictures, to look at while a stage trains."""

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def contact_sheet(images: Float[Tensor, "batch 3 height width"], columns: int) -> Image.Image:
    """Lays pictures in [-1, 1] out in rows of `columns`; a last row that is short is left blank."""
    blank = -len(images) % columns
    images = torch.cat([images, images.new_ones(blank, *images.shape[1:])])
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    sheet = rearrange(pixels, "(r c) d h w -> (r h) (c w) d", c=columns)
    return Image.fromarray(sheet.cpu().numpy())
