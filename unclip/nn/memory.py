"""Memory that is freed and taken again at once: kept by the process while a network samples.

A network's features are megabytes, and glibc gives blocks of that size back to the system as soon
as they are freed: every operation then waits for fresh pages to be cleared. On a CPU that costs a
fifth of an upsampler's time (benchmarks/cpu_paths.py). Other C libraries are left as they are.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# From glibc's malloc.h, and its first values of the two settings.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_FIRST_TRIM_THRESHOLD, _FIRST_MMAP_MAX = 128 * 1024, 65536
_NEVER = 2**31 - 1

_lock = threading.Lock()
_holders = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keeps what is freed within a `with` block; the last block to end gives it back.

    The setting is the process's: several blocks may run at a time.
    """
    _hold()
    try:
        yield
    finally:
        _release()


@cache
def memory_can_be_kept() -> bool:
    """Whether this process' C library has the settings: glibc has."""
    return _library() is not None


def _hold() -> None:
    global _holders
    with _lock:
        _holders += 1
        if _holders == 1:
            _set(_NEVER, 0)


def _release() -> None:
    global _holders
    with _lock:
        _holders -= 1
        if _holders == 0 and (library := _library()) is not None:
            _set(_FIRST_TRIM_THRESHOLD, _FIRST_MMAP_MAX)
            library.malloc_trim(0)


def _set(trim_threshold: int, mmap_max: int) -> None:
    if (library := _library()) is not None:
        library.mallopt(_M_TRIM_THRESHOLD, trim_threshold)
        library.mallopt(_M_MMAP_MAX, mmap_max)


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"):
            getattr(library, name)
    except (OSError, TypeError, AttributeError):
        return None
    return library
