"""Where to run and in which precision: as asked, or an error; by default the best there is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unclip.errors import BackendError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def available_devices() -> tuple[str, ...]:
    """Names the devices of this machine, the fastest first."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found += [f"xpu:{index}" for index in range(torch.xpu.device_count())]
    return (*found, "cpu")


def choose_device(name: str | torch.device | None = None, *, local_rank: int = 0) -> torch.device:
    """Returns the device called `name`, or the fastest; processes on one machine share them out.

    Raises:
        BackendError: there is no such device here.
    """
    found = available_devices()
    if name is None:
        name = found[0].partition(":")[0]
    kind, _, number = str(name).partition(":")
    alike = [device for device in found if device.partition(":")[0] == kind]
    if not number and alike:
        return torch.device(alike[local_rank % len(alike)])
    if str(name) not in alike:
        raise BackendError(f"there is no device {name} here: choose one of {', '.join(found)}")
    return torch.device(str(name))


def choose_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Returns the precision called `name`; by default float32 on a CPU, bfloat16 on a GPU.

    Raises:
        BackendError: there is no such precision.
    """
    if name is None:
        return torch.bfloat16 if device.type in ("cuda", "xpu") else torch.float32
    dtype = name if isinstance(name, torch.dtype) else DTYPES.get(name)
    if dtype is None or dtype not in DTYPES.values():
        raise BackendError(f"there is no precision {name} here: choose one of {', '.join(DTYPES)}")
    return dtype


@contextmanager
def exact_kernels(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Keeps float32 what it says on CUDA, where cuDNN would round it to TF32 (10 bits).

    In half precision cuDNN may try its kernels and take the fastest, unless PyTorch is asked to be
    deterministic. Elsewhere it does nothing.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    half = dtype in (torch.bfloat16, torch.float16)
    with cudnn.flags(
        enabled=True,
        benchmark=cudnn.benchmark or (half and not torch.are_deterministic_algorithms_enabled()),
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield


def computed_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Returns the precision that is computed in where weights of `dtype` lie on a device.

    A CPU computes float16 slowly or not at all: bfloat16 takes its place where the CPU has
    instructions for it, else float32.
    """
    if device.type != "cpu" or dtype != torch.float16:
        return dtype
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """`float32`, not `torch.float32`."""
    return str(dtype).removeprefix("torch.")
