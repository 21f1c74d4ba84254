"""PyTorch's own files of tensors (`.bin`, `.ckpt`, `.pt`, `.th`), read without unpickling them.

torch.save and torch.jit.save write a zip file: `data.pkl` describes the tensors, `data/0`, `data/1`
... are their storages (torch/serialization.py, torch/csrc/jit/serialization/pickler.cpp). Here the
description is run on a machine that knows nothing but tensors (`opcodes.py`), and the storages are
mapped. A TorchScript archive's code is never looked at: its modules are their attributes.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import torch

from unclip.errors import CheckpointError, shown
from unclip.karlo.opcodes import Attributes, Callee, Constant, Global, ObjectClass, interpret
from unclip.karlo.zipped import ZipFile
from unclip.mapped import MappedFile, TensorRef, are_counts, is_shape

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""What a storage of torch's holds, by the name of its class."""
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How torch.save's files of before PyTorch 1.6 begin."""
MAX_PICKLE_BYTES = 8_000_000
"""Karlo's largest file describes fewer than 900 tensors, in some 100 bytes each."""
MAX_NESTING = 64
MAX_VALUES = 100_000
MAX_NAME = 1000


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers of one type in a row, which tensors are views of."""

    dtype: torch.dtype
    start: int
    """Byte of the file where the first one lies."""
    count: int


def open_archive(path: Path) -> dict[str, TensorRef]:
    """Reads the names, types, shapes and places of the tensors in one of PyTorch's files.

    A tensor's name is the way to it, joined by dots: keys of dicts, places in lists and tuples,
    attributes of modules. What else the file holds (an epoch, a learning rate) is left out.

    Raises:
        CheckpointError: it is missing, damaged or of PyTorch's oldest format, asks for anything but
            tensors and plain values, or describes a tensor that does not lie within its storage.
    """
    file = MappedFile(path)
    _check_kind(file)
    archive = ZipFile(file)
    root = next(iter(archive.entries)).split("/")[0] if archive.entries else ""
    order = _contents(archive, f"{root}/byteorder", b"little")
    if order != b"little":
        raise CheckpointError(
            f"{path} has the byte order {shown(repr(order))}, expected little: load it on the "
            "machine that wrote it and save it as safetensors"
        )
    pickle = _contents(archive, f"{root}/data.pkl")
    described = Tensors(archive, root)
    tree = interpret(pickle, described.find, described.storage, str(path))
    return flatten(tree, str(path))


def _check_kind(file: MappedFile) -> None:
    begin = file.read(0, len(LEGACY_MAGIC))
    if begin.startswith(b"PK\x03\x04"):
        return
    if begin == LEGACY_MAGIC:
        raise CheckpointError(
            f"{file.path} is in the format that PyTorch wrote before 1.6, which is not read: load "
            "it in a PyTorch you trust with it and save it again"
        )
    raise CheckpointError(
        f"{file.path} is none of PyTorch's zip files, and no other file of this name is read"
    )


def _contents(archive: ZipFile, name: str, default: bytes | None = None) -> bytes:
    """A small entry's bytes, compared with their checksum. (Zero: torch.save computed none, as its
    set_crc32_options(False) asks.)"""
    place = archive.place(name)
    if place is None:
        if default is None:
            raise CheckpointError(f"{archive.file.path} has no {shown(name)}: it is not PyTorch's")
        return default
    start, stop = place
    if stop - start > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{archive.file.path} has {stop - start} bytes in {shown(name)}, at most "
            f"{MAX_PICKLE_BYTES}"
        )
    contents = archive.file.read(start, stop)
    if archive.entries[name].checksum not in (0, zlib.crc32(contents)):
        raise CheckpointError(f"{archive.file.path} is damaged: {shown(name)} has changed")
    return contents


class Tensors:
    """What the description of tensors may ask for."""

    def __init__(self, archive: ZipFile, root: str) -> None:
        self._archive = archive
        self._root = root
        self._where = archive.file.path
        calls = [
            Callee("collections.OrderedDict", 0, lambda: {}),
            Callee("torch._utils._rebuild_tensor_v2", 6, self.tensor),
            Callee(
                "torch._utils._rebuild_parameter", 3, lambda tensor, requires_grad, hooks: tensor
            ),
            Callee("torch.jit._pickle.restore_type_tag", 2, lambda value, type_name: value),
            Callee("torch.jit._pickle.build_intlist", 1, lambda values: values),
            Callee("torch.jit._pickle.build_doublelist", 1, lambda values: values),
            Callee("torch.jit._pickle.build_boollist", 1, lambda values: values),
            Callee("torch.jit._pickle.build_tensorlist", 1, lambda values: values),
        ]
        self._globals: dict[str, Global] = {callee.name: callee for callee in calls}
        self._globals |= {f"torch.{name}": Constant(name) for name in STORAGES}

    def find(self, module: str, name: str) -> Global | None:
        """What a name in the closed list stands for, or any TorchScript class."""
        if module == "__torch__" or module.startswith("__torch__."):
            return ObjectClass(f"{module}.{name}")
        return self._globals.get(f"{module}.{name}")

    def storage(self, identity: object) -> Storage:
        """The storage that a persistent id names: (word, class, entry, device, length).

        Raises:
            CheckpointError: it is no such id, or no entry has the bytes for it.
        """
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise CheckpointError(f"{self._where} names something by an id that is no storage's")
        _, kind, key, _, count = identity
        if type(kind) is not Constant or type(key) is not str or type(count) is not int:
            raise CheckpointError(
                f"{self._where} names a storage in a way that torch.save does not"
            )
        dtype = STORAGES[kind.name]
        place = self._archive.place(f"{self._root}/data/{key}")
        if place is None:
            raise CheckpointError(f"{self._where} is incomplete: it lacks data/{shown(key)}")
        start, stop = place
        if count * dtype.itemsize != stop - start:
            raise CheckpointError(
                f"{self._where} is damaged: data/{shown(key)} has {stop - start} bytes, which are "
                f"not as many numbers of {dtype} as it says"
            )
        return Storage(dtype, start, count)

    def tensor(
        self,
        storage: object,
        offset: object,
        shape: object,
        stride: object,
        requires_grad: object,
        hooks: object,
    ) -> TensorRef:
        """A view of a storage, as torch's _rebuild_tensor_v2 makes it.

        Raises:
            CheckpointError: it is none, or it does not lie within the storage.
        """
        if (
            not isinstance(storage, Storage)
            or not is_shape(shape)
            or not are_counts(stride)
            or len(shape) != len(stride)
            or type(offset) is not int
            or not 0 <= offset <= storage.count
        ):
            raise CheckpointError(f"{self._where} describes a tensor that cannot be")
        start = storage.start + offset * storage.dtype.itemsize
        ref = TensorRef(self._archive.file, start, storage.dtype, tuple(shape), tuple(stride))
        if offset + ref.span > storage.count:
            raise CheckpointError(
                f"{self._where} describes a tensor that takes {ref.span} numbers from number "
                f"{offset} of a storage on, and the storage has {storage.count}"
            )
        return ref


def flatten(tree: object, where: str) -> dict[str, TensorRef]:
    """The tensors in nested containers, each named by the way to it.

    Raises:
        CheckpointError: two have one name, or the containers are nested or repeated beyond reason
            (a container may hold itself).
    """
    tensors: dict[str, TensorRef] = {}
    waiting: list[tuple[str, object, int]] = [("", tree, 0)]
    seen = 1
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, TensorRef):
            if name in tensors:
                raise CheckpointError(f"{where} has two tensors of the name {shown(name)}")
            tensors[name] = value
            continue
        if isinstance(value, Attributes):
            value = value.values
        if not isinstance(value, dict | list | tuple):
            continue
        # Counted before it is unfolded: one list can hold itself a hundred thousand times.
        seen += len(value)
        if seen > MAX_VALUES or depth == MAX_NESTING:
            raise CheckpointError(
                f"{where} nests its tensors beyond reason: at most {MAX_NESTING} containers deep "
                f"and {MAX_VALUES} values are read"
            )
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        inner = [(f"{name}.{key}" if name else str(key), part, depth + 1) for key, part in parts]
        if any(len(name) > MAX_NAME for name, _, _ in inner):
            raise CheckpointError(f"{where} names a tensor by more than {MAX_NAME} characters")
        waiting += reversed(inner)
    return tensors
