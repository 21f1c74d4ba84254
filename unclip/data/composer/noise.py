"""Noise as a function of (seed, place): the same on every device, in every batch, at every size."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

_MASK = 0xFFFFFFFF


def hashed(
    seeds: Int[Tensor, " batch"], height: int, width: int, channel: int = 0
) -> Float[Tensor, "batch height width"]:
    """Uniform values in [0, 1) on a lattice, by a hash of 32-bit whole numbers (Wellons 2018)."""
    y = torch.arange(height, device=seeds.device)
    x = torch.arange(width, device=seeds.device)
    place = (rearrange(y, "h -> h 1") * 0x9E3779B1 + x * 0x85EBCA77 + channel * 0xC2B2AE3D) & _MASK
    mixed = _mix(place[None] ^ _mix(rearrange(seeds & _MASK, "b -> b 1 1")))
    return (mixed >> 8).float() / 2**24


def smooth(
    seeds: Int[Tensor, " batch"], cells: int, size_px: int, channel: int = 0
) -> Float[Tensor, "batch 1 size size"]:
    """Values around 0 with a standard deviation of about 1, smooth between `cells` a side."""
    lattice = (hashed(seeds, cells, cells, channel)[:, None] - 0.5) * 12**0.5
    return interpolate(lattice, size=(size_px, size_px), mode="bicubic", align_corners=False)


def _mix(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """A bijection of 32-bit numbers that spreads every bit (`lowbias32`), in 64-bit arithmetic."""
    x = (x ^ (x >> 16)) & _MASK
    x = _product(x, 0x7FEB352D)
    x = x ^ (x >> 15)
    x = _product(x, 0x846CA68B)
    return x ^ (x >> 16)


def _product(x: Int[Tensor, "..."], factor: int) -> Int[Tensor, "..."]:
    # In halves: the whole product would not fit into 63 bits.
    low = x * (factor & 0xFFFF)
    high = ((x * (factor >> 16)) & 0xFFFF) << 16
    return (low + high) & _MASK
