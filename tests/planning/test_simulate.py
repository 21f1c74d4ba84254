"""Counting a step on the meta device, against what can be counted by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unclip.nn.transformer import TransformerBlock, run_blocks
from unclip.planning.memory import measure, sharded, whole
from unclip.planning.simulate import block_sizes, simulate

ROWS, DIM, TOKENS, HEADS, LAYERS = 3, 16, 10, 2, 3


def on_meta(rows: int, *shape: int) -> Tensor:
    return torch.empty(rows, *shape, device="meta")


def test_two_layers_are_counted_as_by_hand() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to("meta")

    def loss() -> Tensor:
        return network(on_meta(ROWS, 4)).sum()

    step = simulate(network, loss, autocast=False)
    assert step.forward_flops == 2 * ROWS * (4 * 8 + 8 * 2)
    # Twice as many backward, but for the first layer's input, which needs no gradient.
    assert step.flops == 3 * step.forward_flops - 2 * ROWS * 4 * 8
    # The first layer's input, and what ReLU answers, which it and the second layer keep.
    assert step.saved_bytes == 4 * ROWS * (4 + 8)
    assert step.cast_bytes == 0
    assert all(p.grad is None for p in network.parameters())

    lower = simulate(network, loss, autocast=True)
    parameters = sum(p.numel() for p in network.parameters())
    assert lower.cast_bytes == 2 * parameters
    assert lower.flops == step.flops


@pytest.fixture(scope="module")
def blocks() -> tuple[nn.Module, Callable[[], Tensor]]:
    with torch.device("meta"):
        network = nn.ModuleList(TransformerBlock(DIM, HEADS) for _ in range(LAYERS))
        network.append(nn.Linear(DIM, 5))

    def loss() -> Tensor:
        x = run_blocks(list(network)[:-1], on_meta(ROWS, TOKENS, DIM), causal=True)  # type: ignore[arg-type]  # all but the last are blocks
        return network[-1](x).sum()

    return network, loss


def test_a_transformer_is_counted_as_by_hand(blocks: tuple) -> None:
    step = simulate(*blocks, autocast=False)
    layer = 2 * TOKENS * 12 * DIM**2 + 4 * TOKENS**2 * DIM
    assert step.forward_flops == ROWS * (LAYERS * layer + 2 * TOKENS * DIM * 5)


def test_blocks_computed_again_keep_their_inputs_alone(blocks: tuple) -> None:
    network, loss = blocks
    plain = simulate(network, loss, autocast=True)
    again = simulate(network, loss, autocast=True, recompute=True)
    layer = 2 * TOKENS * 12 * DIM**2 + 4 * TOKENS**2 * DIM
    # All of the blocks again, but for the last product of each, whose output nobody reads.
    last = 2 * TOKENS * 4 * DIM**2
    assert again.flops - plain.flops == ROWS * LAYERS * (layer - last)
    assert again.saved_bytes < plain.saved_bytes / 3
    assert not any("forward" in vars(module) for module in network.modules())


def test_casts_and_gradients_are_counted_where_they_are_held(blocks: tuple) -> None:
    network, loss = blocks
    parameters = sum(p.numel() for p in network.parameters())
    own = simulate(network, loss, autocast=False).live_bytes
    held = simulate(network, loss, autocast=False, gradients_held=True).live_bytes
    assert held < own
    assert own >= 4 * parameters
    with_casts = simulate(network, loss, autocast=True, gradients_held=True)
    without = simulate(network, loss, autocast=True, gradients_held=True, casts_held=False)
    norms = LAYERS * 4 * DIM
    assert with_casts.cast_bytes == 2 * (parameters - norms)
    # At the peak, the end of the forward pass, the blocks' matrices are kept, and no biases.
    assert with_casts.live_bytes - without.live_bytes == 2 * LAYERS * 12 * DIM**2


def test_sharding_divides_what_is_held(blocks: tuple) -> None:
    network, loss = blocks
    parameters = sum(p.numel() for p in network.parameters())
    steps = measure(network, loss, autocast=True, alone=False)
    held = whole(parameters, steps, averages=2, recompute=False, alone=False)
    assert held.weights + held.gradients + held.optimizer == 16 * parameters
    share = sharded(network, steps, averages=2, gpus=4, recompute=False, autocast=True)
    assert share.weights + share.gradients + share.optimizer == 4 * parameters
    assert share.activations == held.activations - steps.plain.cast_bytes
    largest, rest = block_sizes(network)
    assert (largest * LAYERS + rest, rest) == (parameters, DIM * 5 + 5)
    assert share.gathered == 2 * (2 * largest + rest) + 4 * (largest + rest)
