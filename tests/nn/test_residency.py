"""Networks that take turns: who is where, in which precision, and what is given back."""

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unclip.checkpoint import load_tensors, read_tensors, write_tensors
from unclip.mapped import is_mapped
from unclip.nn.residency import (
    ACTIVATIONS_BYTES,
    Residency,
    Resident,
    _aside,
    comes_and_goes,
    sent_ahead,
    summon,
)

CPU = torch.device("cpu")
WIDTH = 64
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def layers() -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)).eval() for _ in "abc"]


def taking_turns(
    networks: Sequence[nn.Module], dtype: torch.dtype = torch.bfloat16, device: torch.device = CPU
) -> Residency:
    residents = [Resident(network, dtype) for network in networks]
    return Residency(residents, device, 4_000_000_000)


@pytest.fixture
def networks() -> list[nn.Module]:
    return layers()


def dtypes(network: nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in network.parameters()}


def test_one_network_at_a_time_has_the_device_s_precision(networks: list[nn.Module]) -> None:
    before = [[p.clone() for p in network.parameters()] for network in networks]
    residency = taking_turns(networks)
    for _ in range(2):
        for network in networks:
            summon(network)
            summon(network)  # it is there already
            here = [dtypes(other) == {torch.bfloat16} for other in networks]
            assert here == [other is network for other in networks]
            buffers = {b.dtype for b in network.buffers() if b.is_floating_point()}
            assert buffers == {torch.float32}
    for network, weights in zip(networks[:2], before, strict=False):
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            assert torch.equal(parameter, weight)
    assert residency.current is not None
    assert residency.current.network is networks[2]


def test_in_inference_mode_too(networks: list[nn.Module]) -> None:
    residency = taking_turns(networks)
    x = torch.randn(2, WIDTH)
    with torch.inference_mode():
        for network in networks:
            summon(network)
            (layer, *_) = network.children()
            assert layer(x.bfloat16()).dtype == torch.bfloat16
    for network in networks:
        summon(network)
        assert not next(network.parameters()).is_inference()
    residency.end()


def test_its_numbers_are_those_of_a_network_at_home(networks: list[nn.Module]) -> None:
    x = torch.randn(3, WIDTH)
    expected = [network(x) for network in networks]
    residency = taking_turns(networks, torch.float32)
    for network, answer in zip(networks, expected, strict=True):
        summon(network)
        assert torch.equal(network(x), answer)
    residency.put_away()
    assert residency.current is None


def test_the_end_leaves_the_weights_on_the_host(networks: list[nn.Module]) -> None:
    residency = taking_turns(networks)
    summon(networks[1])
    assert all(comes_and_goes(network) for network in networks)
    assert comes_and_goes(nn.Sequential(networks[0]))
    assert residency.dtype_of(networks[1]) == torch.bfloat16
    residency.end()
    assert not any(comes_and_goes(network) for network in networks)
    assert all(dtypes(network) == {torch.float32} for network in networks)
    summon(networks[0])  # does nothing now
    assert dtypes(networks[0]) == {torch.float32}


def resident_bytes(weight: Tensor) -> int:
    """Of the map that holds a weight, as the system counts them."""
    address, found = weight.data_ptr(), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            low, high = (int(part, 16) for part in head.split("-"))
            found = low <= address < high
        elif found and head == "Rss:":
            return 1024 * int(line.split()[1])
    raise AssertionError("no such map")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="not Linux")
def test_a_file_s_pages_are_given_back_and_read_again(tmp_path: Path) -> None:
    source = nn.Linear(700, 700)
    write_tensors(tmp_path / "w.safetensors", source.state_dict())
    network, other = nn.Linear(700, 700), nn.Linear(2, 2)
    load_tensors(network, read_tensors(tmp_path / "w.safetensors"), "w")
    assert is_mapped(network.weight)
    assert not is_mapped(other.weight)
    residency = taking_turns([network, other], torch.float32)
    x = torch.randn(2, 700)
    for _ in range(2):
        summon(network)
        assert torch.equal(network(x), source(x))
        assert resident_bytes(network.weight) > 1_900_000
        summon(other)
        assert resident_bytes(network.weight) < 20_000
    residency.end()


def test_what_was_written_into_weights_is_kept(tmp_path: Path) -> None:
    """Before they take turns, and on the CPU also while they do."""
    source = nn.Linear(300, 300)
    write_tensors(tmp_path / "w.safetensors", source.state_dict())
    networks = [nn.Linear(300, 300), nn.Linear(300, 300)]
    for network in networks:
        load_tensors(network, read_tensors(tmp_path / "w.safetensors"), "w")
    with torch.no_grad():
        networks[0].weight.mul_(2)
    residency = taking_turns(networks, torch.float32)
    summon(networks[1])
    with torch.no_grad():
        networks[1].weight.mul_(3)
    for factor, network in ((2, networks[0]), (3, networks[1])):
        summon(network)
        assert torch.equal(network.weight, source.weight * factor)
    residency.end()


def test_networks_that_nobody_holds_are_gone() -> None:
    networks = layers()
    residency = taking_turns(networks)
    summon(networks[0])
    gone = weakref.ref(networks[0]), weakref.ref(residency)
    del networks, residency
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_what_was_sent_ahead_is_taken_by_its_network_alone() -> None:
    networks = layers()
    residency = taking_turns(networks)
    second = residency.residents[1]

    def send() -> list[Tensor]:
        weights = [parameter.data for parameter in second.network.parameters()]
        future = residency._thread.submit(_aside, weights, CPU, second.dtype)
        residency._ahead = second, future
        return future.result()

    sent = send()
    summon(networks[1])
    taken = [p.data_ptr() for p in networks[1].parameters()]
    assert taken == [weight.data_ptr() for weight in sent]
    assert dtypes(networks[1]) == {torch.bfloat16}
    sent = send()
    summon(networks[2])  # another one: what was sent is dropped
    assert residency._ahead is None
    summon(networks[1])
    assert not {p.data_ptr() for p in networks[1].parameters()} & {w.data_ptr() for w in sent}


def test_the_next_one_is_sent_where_both_fit() -> None:
    residents = [Resident(network, torch.float16) for network in layers()]
    size = sum(2 * p.numel() for p in residents[0].network.parameters())
    assert residents[0].nbytes == size
    budget = 2 * size + ACTIVATIONS_BYTES
    assert sent_ahead(residents, residents[0], budget) is residents[1]
    assert sent_ahead(residents, residents[0], budget - 1) is None
    assert sent_ahead(residents, residents[2], budget) is None


@needs_cuda
def test_on_cuda_weights_come_and_go(networks: list[nn.Module]) -> None:
    x = torch.randn(2, WIDTH)
    expected = [network(x) for network in networks]
    device = torch.device("cuda")
    residency = taking_turns(networks, torch.float32, device)
    for _ in range(2):
        for network, answer in zip(networks, expected, strict=True):
            summon(network)
            assert torch.allclose(network(x.to(device)).cpu(), answer, atol=1e-4)
    residency.end()
    assert all(not p.is_cuda for network in networks for p in network.parameters())
