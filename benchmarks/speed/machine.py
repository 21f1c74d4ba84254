"""What a record says of the machine, and what the machine can do at best."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from benchmarks.speed.engine import DTYPES, Dtype
from benchmarks.speed.record import Limit, Machine

ROOT = Path(__file__).parents[2]
PACKAGES = ("unclip", "torch", "triton", "diffusers", "transformers", "numpy")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "bf16")
H200 = (790e12, 4.3e12, "measured on an H200: 8192 x 8192 product in bfloat16, copy in its memory")
"""Operations and bytes a second, and where they are from."""


def versions() -> tuple[tuple[str, str], ...]:
    """Returns what is installed."""
    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def commit() -> str:
    """Returns the repository's commit, with a + where tracked files differ; `unknown` without
    git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine(device: torch.device) -> Machine:
    """Describes the device."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    else:
        name = _cpu("model name") or platform.processor() or platform.machine()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = (_cpu("flags") or _cpu("Features") or "").split()
    return Machine(
        name=name,
        features=tuple(flag for flag in FEATURES if flag in flags),
        threads=torch.get_num_threads(),
        memory_bytes=memory,
    )


def _cpu(key: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def limits(device: torch.device, runs: int = 5) -> tuple[Limit, ...]:
    """Returns what the device can do: known of an H200, measured on a CPU."""
    if device.type == "cuda":
        if "H200" not in torch.cuda.get_device_name(device):
            return ()
        flop, read, source = H200
        halves: tuple[Dtype, ...] = ("float16", "bfloat16")
        return tuple(
            Limit(dtype=dtype, flop_per_second=flop, bytes_per_second=read, source=source)
            for dtype in halves
        )
    both: tuple[Dtype, ...] = ("float32", "bfloat16")
    source = "measured in the same run: the faster of a convolution and a product, and a copy"
    read = _copy_rate(runs)
    return tuple(
        Limit(
            dtype=dtype,
            flop_per_second=_flop_rate(DTYPES[dtype], runs),
            bytes_per_second=read,
            source=source,
        )
        for dtype in both
    )


def _rate(amount: float, call: Callable[[], Tensor], runs: int) -> float:
    """The best of some runs, in CPU time of one thread."""
    call()
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return amount * torch.get_num_threads() / max(min(times), 1e-9)


@torch.inference_mode()
def _flop_rate(dtype: torch.dtype, runs: int) -> float:
    x = torch.randn(2, 320, 64, 64).to(dtype, memory_format=torch.channels_last)
    w = torch.randn(320, 320, 3, 3).to(dtype, memory_format=torch.channels_last)
    a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    return max(
        _rate(2 * 2 * 64 * 64 * 320 * 320 * 9, lambda: conv2d(x, w, padding=1), runs),
        _rate(2 * 1024**3, lambda: a @ b, runs),
    )


@torch.inference_mode()
def _copy_rate(runs: int) -> float:
    """Bytes read and written a second, far beyond any cache."""
    x = torch.ones(2**28 // 4)
    y = torch.empty_like(x)
    return _rate(2 * 4 * x.numel(), lambda: y.copy_(x), runs)
