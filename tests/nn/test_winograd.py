"""Winograd's convolutions against `conv2d` in float64, and where they are chosen."""

from collections.abc import Iterator
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, silu

from unclip.nn import packed, winograd
from unclip.nn.fast import fast
from unclip.nn.packed import pack_conv
from unclip.nn.packed_blocks import PackedKernels, PackedResBlock
from unclip.nn.unet import UNet, UNetConfig
from unclip.nn.winograd import DoublingConv, WinogradConv

KINDS = [WinogradConv, DoublingConv]
# Batch, inputs, outputs, height, width: several pictures a block, rows of one, and what is left.
SHAPES = [(3, 5, 7, 6, 10), (1, 3, 4, 2, 2), (5, 6, 3, 16, 8), (2, 4, 5, 10, 300)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def layer(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=(9 * inputs) ** -0.5)
    return conv.requires_grad_(False)


def picture(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


def precise(conv: nn.Conv2d, x: Tensor, kind: type, bias: Tensor | None = None) -> Tensor:
    x = interpolate(x.double(), scale_factor=2.0) if kind is DoublingConv else x.double()
    bias = conv.bias if bias is None else bias
    return conv2d(x, conv.weight.double(), None if bias is None else bias.double(), padding=1)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_convolution(kind: type[WinogradConv], shape: tuple[int, ...]) -> None:
    batch, inputs, outputs, height, width = shape
    conv, x = layer(inputs, outputs), picture(batch, inputs, height, width)
    kernel, before = kind(conv), x.clone()
    wanted = precise(conv, x, kind)
    found = kernel(x)
    assert found.shape == wanted.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert error(found, wanted) < 1e-6
    assert torch.equal(x, before)

    added, bias = picture(*found.shape), torch.randn(outputs)
    assert error(kernel(x, add=added), wanted + added) < 1e-6
    assert error(kernel(x, bias=bias), precise(conv, x, kind, bias)) < 1e-6
    assert error(kernel(x, after_silu=True), precise(conv, silu(x), kind)) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_may_have_no_bias(kind: type[WinogradConv]) -> None:
    conv, x = nn.Conv2d(4, 6, 3, padding=1, bias=False), picture(1, 4, 8, 8)
    with torch.no_grad():
        assert error(kind(conv)(x), precise(conv, x, kind)) < 1e-6


def test_doubling_takes_odd_sides() -> None:
    conv, x = layer(4, 6), picture(3, 4, 5, 9)
    assert error(DoublingConv(conv)(x), precise(conv, x, DoublingConv)) < 1e-6


def test_several_threads_are_left_to_onednn() -> None:
    conv, shape = nn.Conv2d(640, 640, 3), (2, 640, 32, 32)
    assert WinogradConv.pays(conv, shape)
    assert DoublingConv.pays(conv, shape)
    torch.set_num_threads(2)
    assert not WinogradConv.pays(conv, shape)
    assert not DoublingConv.pays(conv, shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), [(192, 192), (320, 128)])
def test_it_rounds_no_worse_than_a_direct_sum(
    kind: type[WinogradConv], inputs: int, outputs: int
) -> None:
    conv, x = layer(inputs, outputs), picture(1, inputs, 16, 16)
    wanted = precise(conv, x, kind)
    direct = packed._PackedConv(conv)
    told = direct(interpolate(x, scale_factor=2.0) if kind is DoublingConv else x)
    assert error(kind(conv)(x), wanted) <= 2 * error(told, wanted)


@pytest.mark.parametrize(
    ("shape", "outputs", "pays"),
    [
        ((2, 192, 64, 64), 192, True),
        ((1, 320, 128, 128), 128, True),
        ((2, 768, 8, 8), 384, True),
        ((1, 1280, 8, 8), 1280, True),
        ((2, 384, 8, 8), 384, False),  # too few tiles
        ((1, 192, 16, 16), 192, False),
        ((1, 448, 128, 128), 64, False),  # too few outputs
        ((1, 64, 256, 256), 64, False),
        ((2, 192, 64, 63), 192, False),  # an odd side
        ((2, 192, 63, 64), 192, False),
    ],
)
def test_where_it_pays(shape: tuple[int, ...], outputs: int, pays: bool) -> None:
    assert WinogradConv.pays(nn.Conv2d(shape[1], outputs, 3), shape) is pays


@pytest.mark.parametrize(
    ("shape", "pays"),
    [
        ((1, 64, 128, 128), True),
        ((2, 384, 8, 8), True),
        ((2, 192, 33, 31), True),
        ((1, 48, 128, 128), False),
        ((2, 64, 8, 8), False),
    ],
)
def test_where_doubling_pays(shape: tuple[int, ...], pays: bool) -> None:
    assert DoublingConv.pays(nn.Conv2d(shape[1], shape[1], 3), shape) is pays


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, dtype=torch.bfloat16),
    ],
)
def test_other_layers_are_left_alone(conv: nn.Conv2d) -> None:
    assert not winograd.applies(conv)


@torch.inference_mode()
def test_each_input_gets_the_kernel_that_suits_it() -> None:
    conv = layer(192, 192)
    for doubled, kind in ((False, WinogradConv), (True, DoublingConv)):
        convolve = pack_conv(conv, doubled=doubled)
        assert isinstance(convolve, packed._WhereItPays)
        small, large = picture(1, 192, 5, 7), picture(3, 192, 16, 16)
        assert error(convolve(small), precise(conv, small, kind)) < 4e-6
        assert convolve.kernel is None
        assert error(convolve(large), precise(conv, large, kind)) < 4e-6
        assert type(convolve.kernel) is kind
        wanted = precise(conv, silu(small), kind)
        added = picture(*wanted.shape)
        found = convolve(small, add=added, after_silu=True)
        assert error(found, wanted + added) < 4e-6


@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_network_runs_on_them(randomise, scale_shift: bool, rows: int) -> None:
    config = UNetConfig(
        channels=(192, 192), depth=1, attention=(False, False), scale_shift=scale_shift
    )
    unet = UNet(config).eval()
    randomise(unet)
    exact = UNet(config).double().eval()
    exact.load_state_dict(unet.state_dict())
    x = torch.randn(3, 3, 32, 24)
    steps = unet.modulations(torch.full((rows,), 7), None)
    wanted = exact(x.double(), tuple(step.double() for step in steps))
    with torch.inference_mode(), fast(unet) as run:
        found = run(x, steps)
    assert error(found, wanted) < 5e-6

    kernels = PackedKernels()
    with torch.inference_mode():
        unet(x.contiguous(memory_format=torch.channels_last), steps, kernels=kernels)
    double = cast(PackedResBlock, kernels(unet.get_submodule("up_blocks.0.upsamplers.0")))
    for convolve, kind in ((double.conv1, DoublingConv), (double.conv2, WinogradConv)):
        assert isinstance(convolve, packed._WhereItPays)
        assert type(convolve.kernel) is kind
