"""Freed memory is kept within a block and given back after the last one."""

import resource
import threading
from pathlib import Path

import pytest
import torch

from unclip.nn.memory import kept_memory, memory_can_be_kept

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(
    not memory_can_be_kept() or not STATM.exists(), reason="not Linux with glibc"
)
BLOCK_BYTES = 32 * 2**20


def faults() -> int:
    """Pages that are cleared to make and free a block twenty times.

    glibc takes some of a size anew before it takes them again: small rests stand between them.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(BLOCK_BYTES // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


PAGES = BLOCK_BYTES // resource.getpagesize()


def test_pages_are_cleared_once_and_given_back() -> None:
    assert faults() > 19 * PAGES
    before = resident()
    with kept_memory():
        faults()
        with kept_memory():
            assert faults() < 4 * PAGES
        assert resident() > before + 0.9 * BLOCK_BYTES  # the outer block lasts
    assert resident() < before + 0.1 * BLOCK_BYTES


def test_a_block_that_fails_ends_and_threads_may_overlap() -> None:
    before = resident()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with kept_memory():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    with pytest.raises(KeyError), kept_memory():
        raise KeyError
    faults()
    assert resident() > before + 0.9 * BLOCK_BYTES
    leave.set()
    thread.join()
    assert resident() < before + 0.1 * BLOCK_BYTES
