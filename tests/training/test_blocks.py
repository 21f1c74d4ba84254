"""Blocks that forget their activations and compute them again have the same gradients."""

from collections.abc import Iterator

import torch
from tiny_model import randomise
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from unclip.nn.unet import UNet, UNetConfig
from unclip.training.blocks import blocks_of, recompute


def unet() -> UNet:
    shape = {"channels": (8, 16), "depth": 1, "attention": (False, True)}
    made = UNet(UNetConfig(**shape, head_dim=8, context_dim=8, groups=4, dropout=0.5))
    randomise(made, 3)
    return made.train()


def gradients(model: UNet, seed: int) -> tuple[dict[str, Tensor], int]:
    """Of a pass with dropout, and how many numbers were kept for the backward pass."""
    generator = torch.Generator().manual_seed(0)
    x, tokens = torch.randn(2, 3, 16, 16, generator=generator), torch.ones(2, 3, 8)
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(seed)
    model.zero_grad()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        modulations = model.modulations(torch.tensor([3, 5]), None)
        loss = model(x, modulations, model.context(tokens)).square().mean()
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert len(found) == len(list(model.parameters()))
    return found, kept


def test_recomputed_gradients_are_the_same_with_dropout() -> None:
    model = unet()
    names = list(model.state_dict())
    plain, kept = gradients(model, 1)
    other, _ = gradients(model, 2)
    recompute(model)
    again, kept_again = gradients(model, 1)
    assert list(model.state_dict()) == names
    for name, value in plain.items():
        assert torch.allclose(again[name], value, rtol=1e-5, atol=1e-7), name
    assert any(not torch.allclose(other[name], value, rtol=1e-2) for name, value in plain.items())
    assert kept_again < kept / 2


def parts(model: nn.Module) -> Iterator[str]:
    names = {id(module): name for name, module in model.named_modules()}
    yield from (names[id(block)] for block in blocks_of(model))


def test_the_blocks_of_a_network_do_not_overlap() -> None:
    found = list(parts(unet()))
    assert found[:2] == ["down_blocks.0.resnets.0", "down_blocks.0.downsamplers.0"]
    assert "mid_block.attentions.0" in found
    assert not any(a != b and b.startswith(f"{a}.") for a in found for b in found)
    held = sum(p.numel() for block in blocks_of(unet()) for p in block.parameters())
    assert held > 0.8 * sum(p.numel() for p in unet().parameters())
