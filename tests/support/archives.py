"""PyTorch's archives made by hand: of any description, whether a tensor can be so or not."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_tensor_v2


class StorageId:
    """Pickled as the persistent id of a storage."""

    def __init__(
        self, key: object = "0", count: object = 6, kind: object = torch.FloatStorage
    ) -> None:
        self.identity: object = ("storage", kind, key, "cpu", count)


class Call:
    """Pickled as a call of a function, which is not called here."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return obj.identity if isinstance(obj, StorageId) else None


def described(tree: object) -> bytes:
    """A pickle as torch.save writes it."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(tree)
    return buffer.getvalue()


def view(
    shape: object = (2, 3),
    stride: object = (3, 1),
    offset: object = 0,
    storage: object = None,
) -> Call:
    """What torch.save says of a tensor; by default the whole of `STORAGES`' one."""
    identity = StorageId() if storage is None else storage
    return Call(_rebuild_tensor_v2, identity, offset, shape, stride, False, OrderedDict())


STORAGES = {"0": torch.arange(6.0).numpy().tobytes()}


def write_archive(
    path: Path,
    description: bytes | object,
    storages: Mapping[str, bytes] = STORAGES,
    *,
    compression: int = zipfile.ZIP_STORED,
    entries: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes an archive: `description` is a pickle, or what is to be pickled."""
    content = description if isinstance(description, bytes) else described(description)
    others = {"byteorder": b"little", "version": b"3\n"} if entries is None else entries
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for name, entry in others.items():
            archive.writestr(f"archive/{name}", entry)
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key}", numbers)
    return path
