"""A causal transformer in a sampling loop: a step runs only the tokens that the step makes anew.

The sequence is [prefix, one step token, new tokens]. No step changes the prefix, and a step token
(the time) sees nothing but the prefix and itself; so all prefixes and the tokens of all steps are
run together once, and their keys and values are kept. Prefixes may differ in length: the tokens of
all stand in one row, nothing is padded, and no padding is masked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from unclip.nn.attention import attend
from unclip.nn.packed import pack_linear
from unclip.nn.transformer import Projection, TransformerBlock

Look = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values of all tokens, (tokens, heads, head_dim) each, to what they see."""


class Stepper:
    """Keeps the keys and values of prefixes and step tokens; for sampling alone, no gradients."""

    def __init__(
        self,
        blocks: nn.ModuleList | Sequence[TransformerBlock],
        prefixes: Sequence[Float[Tensor, "_ dim"]],
        copies: Sequence[int],
        steps: Float[Tensor, "steps dim"],
        *,
        tokens: int,
        stays: bool = True,
    ) -> None:
        """Runs the prefixes and the step tokens.

        Args:
            prefixes: the first tokens, of any length.
            copies: how many neighbouring rows of the batch each prefix is for.
            steps: the token of every step, the same in all rows.
            tokens: how many new tokens a row has at each step.
            stays: the blocks stay where they are, so that a GPU may keep their joined weights.
        """
        self._blocks = _joined(blocks) if stays else _join(blocks)
        self._tokens = tokens
        lengths = [len(prefix) for prefix in prefixes]
        kept = self._run_prefixes(prefixes, steps)
        self._groups: list[_Group] = []
        index = 0
        for (length, times), members in groupby(zip(lengths, copies, strict=True)):
            count = len(list(members))
            part = kept[index : index + count]
            self._groups.append(_Group.build(torch.stack(part, dim=2), length, times, tokens))
            index += count

    @property
    def rooms(self) -> tuple[Tensor, ...]:
        """Keys and values of each group of rows, where those of new tokens are written, too."""
        return tuple(group.keys_values for group in self._groups)

    def step_of(self, step: int) -> tuple[Tensor, ...]:
        """Returns keys and values of a step's token, for each group of rows."""
        return tuple(group.steps[step] for group in self._groups)

    def enter(self, step: int) -> None:
        """Makes the token of a step the one that new tokens see."""
        for group, kept in zip(self._groups, self.step_of(step), strict=True):
            group.enter(kept)

    def run(self, x: Float[Tensor, "rows tokens dim"]) -> Float[Tensor, "rows tokens dim"]:
        """Runs the new tokens of the step entered last; each sees those before it, too."""
        return self._run(self._groups, x)

    def run_in(
        self,
        rooms: tuple[Tensor, ...],
        step: tuple[Tensor, ...],
        x: Float[Tensor, "rows tokens dim"],
    ) -> Float[Tensor, "rows tokens dim"]:
        """Runs new tokens with all that they see given: `rooms` and `step_of`, or copies."""
        groups = [
            replace(group, keys_values=room)
            for group, room in zip(self._groups, rooms, strict=True)
        ]
        for group, kept in zip(groups, step, strict=True):
            group.enter(kept)
        return self._run(groups, x)

    def _run(self, groups: "Sequence[_Group]", x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        for index, block in enumerate(self._blocks):
            flat = block(flat, lambda q, k, v, index=index: self._look(groups, index, q, k, v))
        return flat.view(x.shape)

    def _look(
        self, groups: "Sequence[_Group]", block: int, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        # (rows x tokens, heads, head_dim) -> (rows, heads, tokens, head_dim)
        q, k, v = (x.unflatten(0, (-1, self._tokens)).transpose(1, 2) for x in (q, k, v))
        parts, start = [], 0
        for group in groups:
            rows = slice(start, start + group.rows)
            parts.append(group.look(block, q[rows], k[rows], v[rows]))
            start = rows.stop
        return torch.cat(parts).transpose(1, 2).flatten(0, 1)

    def _run_prefixes(self, prefixes: Sequence[Tensor], steps: Tensor) -> list[Tensor]:
        """Returns, for each prefix, the keys and values of its tokens and of all steps after it:
        (blocks, 2, tokens, heads, head_dim)."""
        lengths = [len(prefix) + len(steps) for prefix in prefixes]
        masks = [_prefix_mask(len(prefix), len(steps), prefix.device) for prefix in prefixes]
        kept: list[list[Tensor]] = [[] for _ in prefixes]

        def look(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = []
            pieces = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
            for mask, known, piece in zip(masks, kept, pieces, strict=True):
                known.append(torch.stack(piece[1:]))
                one, keys, values = (x.transpose(0, 1)[None] for x in piece)
                parts.append(attend(one, keys, values, mask)[0].transpose(0, 1))
            return torch.cat(parts)

        x = torch.cat([part for prefix in prefixes for part in (prefix, steps)])
        for block in self._blocks[:-1]:
            x = block(x, look)
        # Nobody reads what the last block makes of them.
        self._blocks[-1].project(x, look)
        return [torch.stack(known) for known in kept]


def _prefix_mask(prefix: int, steps: int, device: torch.device) -> Tensor:
    mask = torch.ones(prefix + steps, prefix + steps, dtype=torch.bool, device=device).tril()
    mask[prefix:, prefix:] = torch.eye(steps, dtype=torch.bool, device=device)
    return mask[None, None]


@dataclass(frozen=True)
class _Group:
    """Neighbouring rows whose prefixes have one length."""

    keys_values: Float[Tensor, "blocks 2 prefixes copies heads keys head_dim"]
    """Of the prefix, the step's token, and the new tokens, in this order."""
    steps: Float[Tensor, "steps blocks 2 prefixes 1 heads head_dim"]
    length: int

    @staticmethod
    def build(
        kept: Float[Tensor, "blocks 2 prefixes keys heads head_dim"],
        length: int,
        copies: int,
        tokens: int,
    ) -> "_Group":
        """Lays out what was kept of prefixes of one length, with room for the new tokens."""
        blocks, both, prefixes, _, heads, head_dim = kept.shape
        room = kept.new_empty(blocks, both, prefixes, copies, heads, length + 1 + tokens, head_dim)
        room[..., :length, :] = kept[:, :, :, None, :length].transpose(4, 5)
        steps = kept[:, :, :, length:].permute(3, 0, 1, 2, 4, 5)[:, :, :, :, None]
        return _Group(room, steps.contiguous(), length)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.keys_values.shape[2] * self.keys_values.shape[3]

    def enter(self, step: Float[Tensor, "blocks 2 prefixes 1 heads head_dim"]) -> None:
        """Puts the keys and values of a step's token in their place."""
        self.keys_values[..., self.length, :] = step

    def look(self, block: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Lets the new tokens see what stands before them, and themselves."""
        keys, values = self.keys_values[block].flatten(1, 2)  # (B, H, keys, D) each
        first = self.length + 1
        keys[:, :, first:], values[:, :, first:] = k, v
        seen = [
            attend(q[:, :, i : i + 1], keys[:, :, : first + i + 1], values[:, :, : first + i + 1])
            for i in range(q.shape[2])
        ]
        return torch.cat(seen, dim=2)


class _Block:
    """`TransformerBlock` over tokens in one row, its three projections as one."""

    def __init__(self, block: TransformerBlock) -> None:
        attention, first = block.attn1, cast(Projection, block.ff.net[0])
        out, last = cast(nn.Linear, attention.to_out[0]), cast(nn.Linear, block.ff.net[2])
        assert first.activation is gelu
        self.norm1, self.norm3 = block.norm1, block.norm3
        self.num_heads = attention.num_heads
        self.to_qkv = pack_linear(attention.to_q, attention.to_k, attention.to_v)
        self.to_out = pack_linear(out)
        self.up, self.down = pack_linear(first.proj), pack_linear(last)

    def __call__(self, x: Tensor, look: Look) -> Tensor:
        x = self.to_out(self.project(x, look).flatten(1), add=x)
        return self.down(self.up(_norm(self.norm3, x), activate=True), add=x)

    def project(self, x: Tensor, look: Look) -> Tensor:
        """Returns what the tokens see, before the output projection."""
        qkv = self.to_qkv(_norm(self.norm1, x)).view(len(x), 3, self.num_heads, -1)
        return look(*qkv.unbind(1))


_kept: "WeakKeyDictionary[nn.Module, tuple[object, list[_Block]]]" = WeakKeyDictionary()


def _join(blocks: nn.ModuleList | Sequence[TransformerBlock]) -> list[_Block]:
    return [_Block(cast(TransformerBlock, block)) for block in blocks]


def _joined(blocks: nn.ModuleList | Sequence[TransformerBlock]) -> list[_Block]:
    """Joins the weights of blocks; on a GPU once for all runs: a recorded step reads them where
    they lay."""
    weight = cast(TransformerBlock, blocks[0]).norm1.weight
    if weight.device.type == "cpu" or not isinstance(blocks, nn.ModuleList):
        return _join(blocks)
    where = weight.data_ptr(), weight.dtype, weight.device
    kept = _kept.get(blocks)
    if kept is None or kept[0] != where:
        kept = where, _join(blocks)
        _kept[blocks] = kept
    return kept[1]


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
