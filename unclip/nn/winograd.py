"""3x3 convolutions in float32 by fewer products: Winograd's F(2x2, 3x3) (arXiv 1509.09308).

Two neighbouring outputs of a filter of three, in each direction, take four products in place of
six (Lavin and Gray 2015, equations 5 to 8): Y = A' [(G g G') * (B' d B)] A, of 4x4 tiles d which
overlap by two pixels. The sums over channels of all tiles are 16 matrix products.

A picture that was doubled by repeating pixels shows each output tile three different pixels in a
direction, not four: with d = (a, b, b, c) one of the four products is always of zero, and a tile
takes 9 products in place of 36 (`DoublingConv`).

Both round less than oneDNN's direct sum does. How many times faster they are was measured on one
thread of an Intel Sapphire Rapids, whose direct convolutions run at its limit of float32
(benchmarks/cpu_convolutions.py); `pays` is made from this:

    channels (in = out)           64 to 96  128   192         256 to 384  640        960 to 1280
    convolution                   0.6, 0.8  1.0   1.05 to 1.5  1.2 to 1.5  1.7 to 1.8  1.7 to 1.9
    of a picture that is doubled  1.0, 1.4  1.8   1.7 to 2.1  2.2 to 2.9  3.2 to 3.5  2.9 to 3.5

Pictures are in channels-last order. Tiles are made and used in blocks that stay in a core's cache.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

# G of F(2, 3) (equation 7), and of a doubled picture: there B'd = (a - b, b, c - b).
_FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_DOUBLED_FILTER = ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))

_TILES = 128
"""Tiles of a block: enough for a matrix product, few enough for the cache."""


Block = tuple[slice, slice]
"""Pictures and rows of tiles."""


def applies(conv: nn.Conv2d) -> bool:
    """Whether a layer is of the kind that these kernels replace."""
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    return conv.weight.dtype == torch.float32 and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)


class WinogradConv:
    """A convolution of 3x3 with a border of one pixel, of pictures with even sides.

    Its transformed weights take 16/9 of the layer's memory.
    """

    pixels = 4
    """Input pixels of a tile that no other tile has."""
    least_width, least_work = 176, 2**14
    """Where it pays: the mean of the channels, and that times the tiles (`pays`)."""
    centre = 5
    """The product that adds to all outputs of a tile alike: the bias enters there."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.bias = conv.bias
        self.weight = _transformed(conv.weight, _FILTER)

    @classmethod
    def pays(cls, conv: nn.Conv2d, shape: Sequence[int]) -> bool:
        """Whether the kernel is faster than oneDNN's for an input (batch, channels, height, width).

        Products fall with inputs times outputs, the transforms cost as much as their sum, so the
        harmonic mean of the two decides; and the weights are read for few tiles as for many.
        Never on several threads, which would wait for each other after every small operation.
        """
        if torch.get_num_threads() > 1:
            return False
        batch, channels, height, width = shape
        mean = 2 / (1 / channels + 1 / conv.out_channels)
        tiles = batch * height * width / cls.pixels
        even = cls.pixels == 1 or (height % 2 == 0 and width % 2 == 0)
        return even and mean >= cls.least_width and tiles * mean >= cls.least_work

    def __call__(
        self,
        x: Float[Tensor, "batch channels height width"],
        bias: Float[Tensor, " out"] | None = None,
        add: Float[Tensor, "batch out new_height new_width"] | None = None,
        after_silu: bool = False,
    ) -> Float[Tensor, "batch out new_height new_width"]:
        """Convolves; `bias` is in place of the layer's own, and `add` is added to the answer.

        With `after_silu` the input goes through SiLU first.
        """
        padded, out = self._prepared(x, after_silu)
        bias = self.bias if bias is None else bias
        added = None if add is None else add.permute(0, 2, 3, 1).reshape(out.shape)
        for block in _blocks(out.shape[0], out.shape[1], out.shape[3]):
            products = self._products(padded, block)
            if bias is not None:
                products[self.centre].add_(bias)
            self._answer(products, out[block])
            if added is not None:
                out[block].add_(added[block])
        return out.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)

    def _prepared(self, x: Tensor, after_silu: bool) -> tuple[Tensor, Tensor]:
        """The padded input, even and odd rows and columns apart, and room for the answer."""
        batch, channels, height, width = x.shape
        rows, columns = height // 2, width // 2
        padded = x.new_empty(2, 2, batch, rows + 1, columns + 1, channels)
        padded[0, :, :, 0], padded[1, :, :, rows] = 0, 0
        padded[:, 0, :, :, 0], padded[:, 1, :, :, columns] = 0, 0
        pixels = x.permute(0, 2, 3, 1).reshape(batch, rows, 2, columns, 2, channels)
        for i, down in ((0, slice(0, rows)), (1, slice(1, rows + 1))):
            for j, right in ((0, slice(0, columns)), (1, slice(1, columns + 1))):
                _write(pixels[:, :, i, :, j], padded[1 - i, 1 - j, :, down, right], after_silu)
        return padded, x.new_empty(batch, rows, 2, columns, 2, self.weight.shape[2])

    def _products(self, padded: Tensor, block: Block) -> Tensor:
        """B'dB of the block's tiles, times the weights."""
        pictures, rows = block
        tiles = padded[:, :, pictures, rows.start : rows.stop + 1]
        _, _, batch, below, columns, channels = tiles.shape
        down = tiles.new_empty(4, 2, batch, below - 1, columns, channels)
        even, odd = tiles
        _differences((even[:, :, :-1], odd[:, :, :-1], even[:, :, 1:], odd[:, :, 1:]), down)
        inputs = tiles.new_empty(4, 4, batch, below - 1, columns - 1, channels)
        even, odd = down.unbind(1)
        _differences(
            (even[..., :-1, :], odd[..., :-1, :], even[..., 1:, :], odd[..., 1:, :]),
            inputs.transpose(0, 1),
        )
        return torch.bmm(inputs.view(16, -1, channels), self.weight)

    def _answer(self, products: Tensor, out: Tensor) -> None:
        """Writes A'mA of the block's products."""
        batch, rows, _, columns, _, channels = out.shape
        m = products.view(4, 4, batch, rows, columns, channels)
        m[0].add_(m[1]).add_(m[2])
        m[1].sub_(m[2]).sub_(m[3])
        m0, m1, m2, m3 = m[:2].unbind(1)
        left, right = out.movedim(2, 0).unbind(4)
        torch.add(m0.add_(m1), m2, out=left)
        torch.sub(m1.sub_(m2), m3, out=right)


class DoublingConv(WinogradConv):
    """The same convolution of a picture that is doubled first; its weights keep their size."""

    pixels = 1
    least_width, least_work = 64, 3 * 2**12
    centre = 4

    def __init__(self, conv: nn.Conv2d) -> None:
        self.bias = conv.bias
        self.weight = _transformed(conv.weight, _DOUBLED_FILTER)

    def _prepared(self, x: Tensor, after_silu: bool) -> tuple[Tensor, Tensor]:
        batch, channels, height, width = x.shape
        padded = x.new_empty(batch, height + 2, width + 2, channels)
        padded[:, 0], padded[:, -1], padded[:, :, 0], padded[:, :, -1] = 0, 0, 0, 0
        _write(x.permute(0, 2, 3, 1), padded[:, 1:-1, 1:-1], after_silu)
        return padded, x.new_empty(batch, height, 2, width, 2, self.weight.shape[2])

    def _products(self, padded: Tensor, block: Block) -> Tensor:
        pictures, rows = block
        tiles = padded[pictures, rows.start : rows.stop + 2]
        batch, below, across, channels = tiles.shape
        down = tiles.new_empty(3, batch, below - 2, across, channels)
        _doubled_differences(tiles[:, :-2], tiles[:, 1:-1], tiles[:, 2:], down)
        inputs = tiles.new_empty(3, 3, batch, below - 2, across - 2, channels)
        left, middle, right = down[..., :-2, :], down[..., 1:-1, :], down[..., 2:, :]
        _doubled_differences(left, middle, right, inputs.transpose(0, 1))
        return torch.bmm(inputs.view(9, -1, channels), self.weight)

    def _answer(self, products: Tensor, out: Tensor) -> None:
        batch, rows, _, columns, _, channels = out.shape
        m = products.view(3, 3, batch, rows, columns, channels)
        m[0].add_(m[1])
        m[1].add_(m[2])
        m0, m1, m2 = m[:2].unbind(1)
        left, right = out.movedim(2, 0).unbind(4)
        torch.add(m0, m1, out=left)
        torch.add(m1, m2, out=right)


def _transformed(weight: Tensor, filters: Sequence[Sequence[float]]) -> Tensor:
    """G g G' as matrices from inputs to outputs, one for each product of a tile."""
    g = torch.tensor(filters, dtype=torch.float64)
    tiles = torch.einsum("ai,bj,ocij->abco", g, g, weight.double())
    return tiles.flatten(0, 1).to(weight.dtype).contiguous()


def _write(pixels: Tensor, to: Tensor, after_silu: bool) -> None:
    if after_silu:
        torch.ops.aten.silu.out(pixels, out=to)
    else:
        to.copy_(pixels)


def _differences(d: Sequence[Tensor], out: Tensor) -> None:
    """B'd in one direction."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _doubled_differences(a: Tensor, b: Tensor, c: Tensor, out: Tensor) -> None:
    torch.sub(a, b, out=out[0])
    out[1].copy_(b)
    torch.sub(c, b, out=out[2])


def _blocks(batch: int, rows: int, columns: int) -> Iterator[Block]:
    """Cuts the tiles into blocks: several pictures, or some rows of one."""
    pictures, height = max(1, _TILES // (rows * columns)), max(1, min(rows, _TILES // columns))
    for first in range(0, batch, pictures):
        for top in range(0, rows, height):
            yield slice(first, min(first + pictures, batch)), slice(top, min(top + height, rows))
