"""`unclip doctor`: what this machine can run, and what would run by default."""

import platform
import sys
from typing import Any

from unclip import __version__
from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import UnCLIPError


def doctor(as_json: options.Json = False, verbose: options.Verbose = False) -> int:
    """Show devices, precisions, attention backends, memory, and what would run."""

    def work(report: Report) -> None:
        with interrupt_held():
            import torch

            from unclip.pipeline.devices import available_devices

        report.result |= {
            "unclip": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": f"{sys.platform} {platform.machine()}",
            "memory": _memory(),
            "devices": [_device(name) for name in available_devices()],
            "attention": _attention(),
            "cpu_kernels": _cpu_kernels(),
            "model": _model(),
            "would_run": _default(),
        }
        for key, value in report.result.items():
            if isinstance(value, list):
                for item in value:
                    report.line(f"{key}: {_text(item)}")
            else:
                report.line(f"{key}: {_text(value)}")

    return run("doctor", work, as_json=as_json, verbose=verbose)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "unknown" if value is None else str(value)


def _device(name: str) -> dict[str, Any]:
    """What a device is, how much memory it has, and the precisions that it computes in."""
    import torch

    from unclip.pipeline.devices import DTYPES

    device: dict[str, Any] = {"name": name}
    if name == "cpu":
        device["threads"] = torch.get_num_threads()
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(torch.device(name))
        device["card"] = torch.cuda.get_device_name(torch.device(name))
        device["memory"] = {"free_gb": _gigabytes(free), "total_gb": _gigabytes(total)}
    device["precisions"] = [dtype for dtype in DTYPES if _computes(name, DTYPES[dtype])]
    return device


def _computes(device: str, dtype: Any) -> bool:
    """Whether a small convolution runs."""
    import torch

    try:
        x = torch.ones(1, 4, 8, 8, device=device, dtype=dtype)
        y = torch.nn.functional.conv2d(x, x[:, :, :3, :3])
        return bool(y.isfinite().all())
    except (RuntimeError, NotImplementedError):
        return False


def _attention() -> list[dict[str, str]]:
    from unclip.nn.attention import BACKENDS, attention_backend

    found = []
    for name in BACKENDS:
        try:
            with attention_backend(name):
                found.append({"backend": name, "state": "usable"})
        except UnCLIPError as error:
            found.append({"backend": name, "state": str(error)})
    return found


def _cpu_kernels() -> dict[str, Any]:
    """What makes sampling on the CPU fast, and why it is missing where it is."""
    from unclip.nn.memory import memory_can_be_kept
    from unclip.nn.packed import unpacked_because
    from unclip.pipeline.devices import DTYPES

    packed = {name: unpacked_because(dtype) or "packed" for name, dtype in DTYPES.items()}
    kept = "kept" if memory_can_be_kept() else "not kept: this C library is not glibc"
    return packed | {"freed memory": kept}


def _model() -> dict[str, Any]:
    """Checks the bundled model whole, file by file."""
    from unclip.pipeline.folders import find_model, read_model

    try:
        model = read_model(find_model("pocket")[0])
    except UnCLIPError as error:
        return {"name": "pocket", "state": str(error)}
    return {"name": model.name, "hash": model.hash, "state": "whole"}


def _default() -> dict[str, str]:
    from unclip.pipeline.devices import choose_device, choose_dtype, dtype_name

    device = choose_device()
    return {
        "device": str(device),
        "dtype": dtype_name(choose_dtype(None, device)),
        "attention": "sdpa",
        "model": "pocket",
    }


def _memory() -> dict[str, float | None]:
    """The machine's memory in GB; what the operating system does not tell is None."""
    found: dict[str, float | None] = {"total_gb": None, "available_gb": None}
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        found["total_gb"] = _gigabytes(int(lines["MemTotal"].split()[0]) * 1024)
        found["available_gb"] = _gigabytes(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    return found


def _gigabytes(count: int) -> float:
    return round(count / 1e9, 1)
