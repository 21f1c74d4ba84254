"""Peak memory told on the meta device, against sums done by hand."""

import torch
from torch import Tensor, nn

from unclip.nn.peak import peak_bytes

MEGA = 4 * 2**20
"""Bytes of 2^20 numbers in float32."""


def numbers(count: int = 2**20) -> Tensor:
    return torch.empty(count, device="meta")


def test_what_is_alive_is_counted_and_what_is_dropped_is_not() -> None:
    x = numbers()

    def chain() -> Tensor:
        y = x + 1  # 1
        y = y * 2  # 2 for a moment, then 1
        return y.exp()  # 2, then 1

    def together() -> Tensor:
        a, b, c = x + 1, x + 2, x + 3
        return torch.stack([a, b, c])  # 3 + 3

    assert peak_bytes(chain) == 2 * MEGA
    assert peak_bytes(together) == 6 * MEGA
    assert peak_bytes(chain) == 2 * MEGA
    assert peak_bytes(lambda: x) == 0


def test_views_and_writing_in_place_take_nothing() -> None:
    x = numbers()

    def run() -> Tensor:
        y = x.view(1024, 1024).t()[3:].relu()
        y.add_(1).mul_(2)
        return y.reshape(-1)

    size = 4 * 1021 * 1024
    assert peak_bytes(run) in (size, 2 * size)  # the reshape may copy
    assert peak_bytes(lambda: x.view(2, -1).add_(1)) == 0


def test_half_the_precision_is_half_the_memory() -> None:
    network = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 8, 3))
    sizes = []
    for dtype in (torch.float32, torch.float16):
        twin = network.to("meta", dtype)
        x = torch.empty(1, 8, 64, 64, device="meta", dtype=dtype)
        sizes.append(peak_bytes(lambda twin=twin, x=x: twin(x)))
    assert sizes[0] == 2 * sizes[1]
    # Two of 16 channels: the convolution's answer and its SiLU.
    assert sizes[0] == 2 * 4 * 16 * 64 * 64
