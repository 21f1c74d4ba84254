"""Neighbouring weights run as one product, and as before when something has parted them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unclip.nn.joined import join, one_product
from unclip.nn.packed import pack_linear
from unclip.nn.spatial_attention import SpatialAttention


@pytest.fixture
def layers() -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 3)]


@torch.no_grad()
def test_one_product_is_all_of_theirs(layers: list[nn.Linear]) -> None:
    x = torch.randn(2, 7, 5)
    before = {i: (layer.weight.clone(), layer.bias.clone()) for i, layer in enumerate(layers)}
    assert one_product(layers, x) is None
    join(layers)
    found = one_product(layers, x)
    assert found is not None
    assert torch.allclose(found, torch.cat([layer(x) for layer in layers], -1), atol=1e-6)
    for i, layer in enumerate(layers):
        assert torch.equal(layer.weight, before[i][0])
        assert torch.equal(layer.bias, before[i][1])


@torch.no_grad()
@pytest.mark.parametrize(
    "part",
    [
        lambda layers: layers[1].to(torch.float64).float(),
        lambda layers: layers[1].load_state_dict(layers[0].state_dict(), assign=True),
        lambda layers: setattr(layers[0].bias, "data", layers[0].bias.data.clone()),
        lambda layers: layers.reverse(),
    ],
    ids=["moved", "replaced", "a bias alone", "another order"],
)
def test_parted_layers_are_no_product(
    layers: list[nn.Linear], part: Callable[[list[nn.Linear]], object]
) -> None:
    layers = layers[:2]
    join(layers)
    assert one_product(layers, torch.randn(1, 5)) is not None
    part(layers)
    assert one_product(layers, torch.randn(1, 5)) is None


def test_training_takes_them_one_by_one(layers: list[nn.Linear]) -> None:
    join(layers)
    with torch.enable_grad():
        assert one_product(layers, torch.randn(1, 5)) is None


@torch.no_grad()
def test_joining_again_moves_nothing(layers: list[nn.Linear]) -> None:
    """What was recorded of them stays good."""
    join(layers)
    places = [layer.weight.data_ptr() for layer in layers]
    join(layers)
    assert [layer.weight.data_ptr() for layer in layers] == places


@torch.no_grad()
def test_weights_of_no_values_are_no_neighbours() -> None:
    with torch.device("meta"):
        layers = [nn.Linear(5, 4), nn.Linear(5, 4)]
    assert one_product(layers, torch.empty(1, 5, device="meta")) is None


@torch.no_grad()
def test_an_attention_answers_as_before(
    randomise: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SpatialAttention(32, 16, 24, 8)
    randomise(site)
    x, context = torch.randn(2, 32, 4, 4), site.context(torch.randn(2, 6, 24))
    apart = site(x, context, None)
    site.join()
    products: list[Tensor] = []
    monkeypatch.setattr(
        "unclip.nn.joined.linear",
        lambda *args: products.append(nn.functional.linear(*args)) or products[-1],
    )
    assert torch.allclose(site(x, context, None), apart, atol=1e-5)
    assert [product.shape[-1] for product in products] == [96]


@torch.no_grad()
def test_where_nothing_is_packed_too(
    layers: list[nn.Linear], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(7, 5)
    packed = pack_linear(*layers)(x)
    monkeypatch.setattr("unclip.nn.packed.unpacked_because", lambda dtype: "for the test")
    apart = pack_linear(*layers)(x)
    join(layers)
    for other in (apart, pack_linear(*layers)(x)):
        assert torch.allclose(packed, other, atol=1e-5)
