"""Mapped weights are read in a thread: found in memory afterwards, stopped early, errors told."""

import resource
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unclip.checkpoint import read_tensors, write_tensors
from unclip.pipeline import prefetch
from unclip.pipeline.prefetch import prefetched

needs_thread_counts = pytest.mark.skipif(
    not hasattr(resource, "RUSAGE_THREAD"), reason="this system counts no faults of a thread"
)


def mapped(path: Path, count: int = 4) -> nn.Module:
    """A network of 8 MB tensors that lie in a file."""
    write_tensors(path, {f"w{i}": torch.randn(2**21) for i in range(count)})
    network = nn.Module()
    for name, tensor in read_tensors(path).items():
        network.register_buffer(name, tensor)
    return network


def faults(network: nn.Module) -> int:
    """Pages that this thread must fetch to look at every weight."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for tensor in network.buffers():
        tensor[::1024].max()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def wait_until_read(network: nn.Module) -> None:
    deadline = time.monotonic() + 30
    while network not in prefetch._touched and time.monotonic() < deadline:
        time.sleep(0.01)
    assert network in prefetch._touched


@needs_thread_counts
def test_pages_are_there_when_the_stage_begins(tmp_path: Path) -> None:
    first, second = mapped(tmp_path / "a.safetensors"), mapped(tmp_path / "b.safetensors")
    with prefetched([first]):
        wait_until_read(first)
    threads = threading.active_count()
    read, unread = faults(first), faults(second)
    # The kernel maps many neighbours of a page that is touched.
    assert unread >= 10
    assert read < unread / 5
    with prefetched([first]):  # once in a process
        assert threading.active_count() == threads


def test_it_stops_when_the_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = mapped(tmp_path / "a.safetensors")
    begun, chunks = threading.Event(), []

    def slowly(tensor: Tensor) -> Tensor:
        chunks.append(tensor)
        begun.set()
        time.sleep(0.2)
        return torch.zeros(8, dtype=torch.uint8)

    monkeypatch.setattr(prefetch, "_bytes", slowly)
    threads = threading.active_count()
    with prefetched([network]):
        assert begun.wait(30)
    assert threading.active_count() == threads
    assert len(chunks) < 4
    assert network not in prefetch._touched


def test_errors_are_raised_but_not_over_the_blocks_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, failed = mapped(tmp_path / "a.safetensors"), threading.Event()

    def fail(_tensor: Tensor) -> Tensor:
        failed.set()
        raise OSError("the disk is gone")

    monkeypatch.setattr(prefetch, "_bytes", fail)
    with pytest.raises(OSError, match="the disk is gone"), prefetched([network]):
        assert failed.wait(30)
    with pytest.raises(KeyError), prefetched([network]):
        raise KeyError


def test_bytes_are_the_tensors_own() -> None:
    base = torch.arange(24, dtype=torch.int16).view(4, 6)
    for tensor in (base, base[1:], base.t(), base.to(torch.bfloat16)):
        found = prefetch._bytes(tensor)
        assert found.data_ptr() == tensor.data_ptr()
        assert len(found) == tensor.numel() * 2
