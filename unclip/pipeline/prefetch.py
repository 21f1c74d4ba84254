"""The next stage's weights are read while a stage runs.

Weights are mapped from their file: a page is read when it is first touched, which would be within
the next stage's first step. A thread touches them before. Networks on other devices have been read
already.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakSet

import torch
from torch import Tensor, nn

_CHUNK_BYTES = 2**24
"""Touched at a time: the thread can end after each, and none is worth several threads."""
_PAGE_BYTES = 4096

_touched: WeakSet[nn.Module] = WeakSet()


@contextmanager
def prefetched(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Reads the weights of networks, in turn, in a thread while the `with` block runs.

    What is not read when the block ends is left to be read when it is needed. A network is read
    once in a process. An error of the thread is raised when the block ends without one.
    """
    waiting = [network for network in networks if network not in _touched]
    if not waiting:
        yield
        return
    stop, errors = threading.Event(), []

    def work() -> None:
        try:
            for network in waiting:
                _touch(network, stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="unclip-prefetch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def _touch(network: nn.Module, stop: threading.Event) -> None:
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.device.type != "cpu":
            continue
        for chunk in _bytes(tensor).split(_CHUNK_BYTES):
            if stop.is_set():
                return
            chunk[::_PAGE_BYTES].max()
    _touched.add(network)


@torch.inference_mode()
def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, in their order in memory; nothing is copied."""
    storage = tensor.detach().untyped_storage()
    first = tensor.storage_offset() * tensor.element_size()
    whole = torch.empty(0, dtype=torch.uint8).set_(storage)
    return whole[first : first + tensor.numel() * tensor.element_size()]
