"""One network at a time on the device: the others' weights wait on the host.

Weights that a file still holds stay mapped there and are given back to the system after use, so
that they take no memory at all; others wait in pinned memory. The network that comes next is sent
while the one before it runs, where both fit. Whoever runs a network calls `summon` first, which
does nothing for networks that live on their device.
"""

import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from unclip.mapped import is_mapped, release_pages

ACTIVATIONS_BYTES = 1_000_000_000
"""Kept free beside weights: a stage of Karlo needs less for one picture (tests/nn/test_peak.py)."""


@dataclass(frozen=True)
class Resident:
    """A network that comes and goes as a whole."""

    network: nn.Module
    dtype: torch.dtype
    """Of its weights while it runs. Buffers keep theirs, and stay on the device."""

    @property
    def nbytes(self) -> int:
        """Of its weights on the device."""
        return sum(weight.numel() for weight in self.network.parameters()) * self.dtype.itemsize


@dataclass
class Residency:
    """Networks in the order in which they run, and the device on which they take turns."""

    residents: Sequence[Resident]
    device: torch.device
    budget: int
    """Bytes on the device that weights and activations may take; decides what is sent ahead."""
    current: Resident | None = None
    _host: dict[nn.Module, list[Tensor]] = field(default_factory=dict)
    _versions: dict[nn.Module, list[int]] = field(default_factory=dict)
    _ahead: "tuple[Resident, Future[list[Tensor]]] | None" = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="unclip-prefetch")
    )

    def __post_init__(self) -> None:
        for resident in self.residents:
            for buffer in resident.network.buffers():
                buffer.data = buffer.data.to(self.device)
            parameters = list(resident.network.parameters())
            for parameter in parameters:
                parameter.data = _waiting(parameter, self.device)
            self._host[resident.network] = [parameter.data for parameter in parameters]
            self._versions[resident.network] = [parameter._version for parameter in parameters]
            _residencies[resident.network] = weakref.ref(self)

    @torch.inference_mode(False)
    def bring(self, network: nn.Module) -> None:
        """Puts a network on the device, and every other one away."""
        if self.current is not None and self.current.network is network:
            return
        self.put_away()
        resident = next(item for item in self.residents if item.network is network)
        for parameter, weight in zip(network.parameters(), self._sent(resident), strict=True):
            parameter.data = weight
        self.current = resident
        self._send_ahead(resident)

    @torch.inference_mode(False)
    def put_away(self) -> None:
        """Leaves no weights on the device but those that were sent ahead."""
        if self.current is None:
            return
        network, self.current = self.current.network, None
        waiting = zip(self._host[network], self._versions[network], strict=True)
        for parameter, (weight, version) in zip(network.parameters(), waiting, strict=True):
            parameter.data = weight
            if parameter._version == version:  # nothing was written into it
                release_pages(weight)

    def dtype_of(self, network: nn.Module) -> torch.dtype:
        """Of a network's weights while it runs."""
        return next(item.dtype for item in self.residents if item.network is network)

    def end(self) -> None:
        """Puts all away and gives the networks free; their weights lie on the host."""
        self.put_away()
        self._ahead = None
        self._thread.shutdown()
        for resident in self.residents:
            _residencies.pop(resident.network, None)

    def _sent(self, resident: Resident) -> list[Tensor]:
        """A network's weights on the device, sent ahead or now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is resident:
            weights = ahead[1].result()
            if self.device.type == "cuda":
                here = torch.cuda.current_stream(self.device)
                for weight in weights:
                    weight.record_stream(here)
            return weights
        return _send(self._host[resident.network], self.device, resident.dtype)

    def _send_ahead(self, resident: Resident) -> None:
        following = sent_ahead(self.residents, resident, self.budget)
        if following is not None and self.device.type != "cpu":  # where there is nothing to send
            weights = self._host[following.network]
            future = self._thread.submit(_aside, weights, self.device, following.dtype)
            self._ahead = following, future


def sent_ahead(residents: Sequence[Resident], resident: Resident, budget: int) -> Resident | None:
    """Returns the network that is sent while another one runs: the next, where both fit."""
    index = list(residents).index(resident) + 1
    if index == len(residents):
        return None
    following = residents[index]
    needed = resident.nbytes + following.nbytes + ACTIVATIONS_BYTES
    return following if needed <= budget else None


_residencies: "WeakKeyDictionary[nn.Module, weakref.ref[Residency]]" = WeakKeyDictionary()
"""Whoever holds the networks holds the residency, too: here it would keep them alive."""


def summon(network: nn.Module) -> None:
    """Brings a network that comes and goes to its device; any other one is there already."""
    residency = _residency_of(network)
    if residency is not None:
        residency.bring(network)


def comes_and_goes(network: nn.Module) -> bool:
    """Whether any part of a network has its weights elsewhere between runs."""
    return any(_residency_of(part) is not None for part in network.modules())


def _residency_of(network: nn.Module) -> Residency | None:
    reference = _residencies.get(network)
    return None if reference is None else reference()


def _waiting(parameter: nn.Parameter, device: torch.device) -> Tensor:
    """Where a weight waits: in its file if it is as it is there, or in memory that the device reads
    by itself."""
    weight = parameter.data
    if is_mapped(weight):
        return weight if parameter._version == 0 else weight.clone()
    weight = weight.cpu()
    return weight.pin_memory() if device.type == "cuda" else weight


def _send(weights: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    sent = [weight.to(device, dtype, non_blocking=weight.is_pinned()) for weight in weights]
    if device.type == "cuda":  # convolutions run fastest with channels last
        layout = torch.channels_last
        sent = [w.contiguous(memory_format=layout) if w.dim() == 4 else w for w in sent]
    return sent


@torch.inference_mode(False)
def _aside(weights: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Sends weights, on CUDA on a stream of its own, and waits until they are there."""
    if device.type != "cuda":
        return _send(weights, device, dtype)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        sent = _send(weights, device, dtype)
    stream.synchronize()
    return sent
