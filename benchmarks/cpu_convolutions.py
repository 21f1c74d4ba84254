"""Convolutions in float32 by fewer products (`unclip.nn.winograd`), beside oneDNN's, by shape.

The shapes are those of the small networks of `benchmarks/speed/shapes.py` and of Karlo's. The input
goes through SiLU and the answer has a picture added to it, as in a residual block; or the picture
is doubled in between. Kernels run in turn on one thread; process time, medians. Errors are against
float64, over the largest value. The last column says what `pays` chooses.

    python benchmarks/cpu_convolutions.py [--rounds 7] [--shapes small karlo]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, silu

from unclip.nn.memory import kept_memory
from unclip.nn.packed import _Doubled, _PackedConv
from unclip.nn.winograd import DoublingConv, WinogradConv

Shape = tuple[int, int, int, int]
"""Pictures, inputs, outputs, and the answer's side in pixels."""
SHAPES: dict[str, tuple[Shape, ...]] = {
    "small": (
        *((2, 192, 192, 64), (2, 96, 96, 64), (2, 288, 96, 64), (2, 192, 96, 64)),
        *((2, 288, 288, 32), (2, 192, 192, 32), (2, 480, 192, 32), (2, 288, 192, 32)),
        *((2, 96, 192, 32), (2, 384, 384, 16), (2, 288, 288, 16), (2, 672, 288, 16)),
        *((2, 192, 192, 16), (1, 192, 192, 16), (2, 384, 384, 8), (2, 768, 384, 8)),
        *((1, 128, 128, 256), (1, 64, 64, 256), (1, 192, 64, 256), (1, 192, 192, 128)),
        *((1, 128, 128, 128), (1, 320, 128, 128), (1, 256, 256, 64), (1, 192, 192, 64)),
        *((1, 448, 192, 64), (1, 256, 256, 32), (1, 512, 256, 32)),
    ),
    "karlo": (
        *((2, 320, 320, 64), (2, 640, 320, 64), (2, 640, 640, 32), (2, 1280, 640, 32)),
        *((2, 960, 960, 16), (2, 1600, 960, 16), (2, 1280, 1280, 8), (1, 1280, 1280, 8)),
        *((2, 2560, 1280, 8), (1, 320, 320, 256), (1, 640, 320, 256), (1, 640, 640, 128)),
        *((1, 960, 960, 64), (1, 1280, 1280, 32)),
    ),
}


def layer(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=(9 * inputs) ** -0.5)
    return conv


def milliseconds(works: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in works}
    for index in range(rounds + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if index:  # the first packs
                taken[name].append(1e3 * (time.process_time() - started))
    return taken


def error(found: Tensor, wanted: Tensor) -> float:
    """Of the first picture's upper rows, which are all that `wanted` has."""
    found = found[:1, :, : wanted.shape[2]]
    return float((found - wanted).abs().max() / wanted.abs().max())


def compare(shape: Shape, rounds: int, *, doubled: bool) -> None:
    batch, inputs, outputs, side = shape
    conv, before = layer(inputs, outputs), side // 2 if doubled else side
    x = torch.randn(batch, inputs, before, before).to(memory_format=torch.channels_last)
    kind = DoublingConv if doubled else WinogradConv
    direct, fewer = _PackedConv(conv), kind(conv)
    known = _Doubled(direct) if doubled else direct
    added = torch.randn(batch, outputs, side, side).to(memory_format=torch.channels_last)
    works = {
        "onednn": lambda: known(silu(x), add=added),
        "fewer": lambda: fewer(x, add=added, after_silu=True),
    }
    taken = milliseconds(works, rounds)
    ratio = statistics.median(a / b for a, b in zip(taken["onednn"], taken["fewer"], strict=True))

    assert conv.bias is not None
    top = silu(x[:1, :, :9].double())
    top = interpolate(top, scale_factor=2.0) if doubled else top
    wanted = conv2d(top, conv.weight.double(), conv.bias.double(), padding=1)[:, :, :8]
    wanted = wanted + added[:1, :, :8]
    first, second = (error(work(), wanted) for work in works.values())
    print(
        f"{batch} x {inputs:4} -> {outputs:4} at {side:3} px{', doubled' if doubled else '':9} "
        f"{statistics.median(taken['onednn']):8.1f} {statistics.median(taken['fewer']):8.1f} ms "
        f"{ratio:5.2f} x  {first:.0e} {second:.0e}  {'yes' if kind.pays(conv, x.shape) else 'no'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("shape                                 onednn    fewer     gain     errors  chosen")
    with torch.inference_mode(), kept_memory():
        for shape in (shape for name in options.shapes for shape in SHAPES[name]):
            compare(shape, options.rounds, doubled=False)
            if shape[1] == shape[2]:
                compare(shape, options.rounds, doubled=True)


if __name__ == "__main__":
    main()
