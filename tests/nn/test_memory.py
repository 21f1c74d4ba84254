"""Freed memory is kept within a block and given back after the last one."""

import resource
import threading

import pytest
import torch

from unclip.nn.memory import kept_memory, memory_can_be_kept

needs_glibc = pytest.mark.skipif(not memory_can_be_kept(), reason="this C library is not glibc")


def faults(times: int = 20) -> int:
    """Pages that were cleared to make and free a block of 32 MB so many times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(8 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@needs_glibc
def test_pages_are_cleared_once_and_given_back() -> None:
    pages = 32 * 2**20 // resource.getpagesize()
    assert faults() > 10 * pages
    with kept_memory():
        faults(2)
        with kept_memory():
            assert faults() < 4 * pages
        assert faults() < 4 * pages  # the outer block lasts
    assert faults() > 10 * pages


@needs_glibc
def test_a_block_that_fails_ends_and_threads_may_overlap() -> None:
    pages = 32 * 2**20 // resource.getpagesize()
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
    faults(2)
    assert faults() < 4 * pages
    leave.set()
    thread.join()
    assert faults() > 10 * pages
