"""Adapters beside a frozen network: nothing at first, then the same as in the weights."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from unclip.errors import ConfigError
from unclip.nn.lora import LoraConfig, LoraModel, product
from unclip.nn.spatial_attention import SpatialAttention
from unclip.nn.unet import UNet, UNetConfig


class Wrapped(nn.Module):
    """As a decoder holds its U-Net."""

    def __init__(self) -> None:
        super().__init__()
        config = UNetConfig(
            channels=(8, 16), depth=1, attention=(False, True), head_dim=8, context_dim=6, groups=4
        )
        self.unet = UNet(config)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x, self.unet.modulations(t, None), self.unet.context(tokens))


@pytest.fixture(autouse=True)
def _with_gradients() -> Iterator[None]:
    with torch.enable_grad():
        yield


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.randn(2, 4, 6)


def random_adapters(model: LoraModel) -> LoraModel:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def test_identity_then_the_same_as_merged(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    base = Wrapped()
    plain = base(*inputs)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    model = LoraModel(base, LoraConfig(rank=3, alpha=6.0))
    assert torch.equal(model(*inputs), plain)

    random_adapters(model)
    wrapped = model(*inputs)
    assert (wrapped - plain).abs().max() > 0.01
    wrapped.square().sum().backward()
    assert all(p.grad is None for p in base.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    with model.merged() as merged:
        # As sampling does, which joins an attention's projections to one product.
        for module in merged.modules():
            if isinstance(module, SpatialAttention):
                module.join()
        with torch.inference_mode():
            torch.testing.assert_close(merged(*inputs), wrapped, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())
    assert torch.equal(model(*inputs), wrapped)


def test_its_state_is_the_adapters_and_copies_share_the_rest(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    model = random_adapters(LoraModel(Wrapped(), LoraConfig(rank=2)))
    names = set(model.state_dict())
    assert "unet.up_blocks.0.attentions.1.to_out.0.lora_B.weight" in names
    assert {name.rpartition("lora_")[2] for name in names} == {"A.weight", "B.weight"}
    assert names == {name for name, _ in model.named_parameters()}

    twin = copy.deepcopy(model).eval()
    assert twin.base is model.base
    assert model.train().training
    first = model(*inputs)
    assert model.base.training
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    assert not torch.allclose(twin(*inputs), first)
    assert not model.base.training
    assert torch.equal(model(*inputs), first)
    assert next(model.double().base.parameters()).dtype == torch.float64


def test_targets() -> None:
    model = LoraModel(Wrapped(), LoraConfig(rank=2, targets=("attentions.0.to_q",)))
    assert set(model.adapters()) == {
        "unet.down_blocks.1.attentions.0.to_q",
        "unet.mid_block.attentions.0.to_q",
        "unet.up_blocks.0.attentions.0.to_q",
    }
    frozen = Wrapped()
    frozen.unet.mid_block.requires_grad_(False)
    assert not any("mid" in name for name in LoraModel(frozen, LoraConfig()).adapters())
    with pytest.raises(ConfigError, match=r"lora\.targets is to_x, but the network has no such"):
        LoraModel(Wrapped(), LoraConfig(targets=("to_x",)))
    with pytest.raises(ConfigError, match=r"lora\.rank is 0, expected 1 or more"):
        LoraConfig(rank=0)


def test_the_product_of_a_convolution() -> None:
    """B A, written out by sums."""
    down, up = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    expected = torch.einsum("or,rikl->oikl", up[..., 0, 0], down)
    torch.testing.assert_close(product(down, up), expected)
