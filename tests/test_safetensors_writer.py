"""What is written is what safetensors' own library writes and reads, a tensor at a time."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.errors import CheckpointError
from unclip.safetensors_file import open_safetensors
from unclip.safetensors_writer import CHUNK_BYTES, split, write_safetensors, write_sharded


class Stored:
    """A tensor that counts who holds it."""

    held = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.dtype, self.shape = tensor.dtype, tuple(tensor.shape)

    def load(self) -> Tensor:
        Stored.held += 1
        assert Stored.held == 1, "two tensors are in memory"
        return self.tensor

    def release(self) -> None:
        Stored.held -= 1


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 5, generator=generator)
    return {
        "half": torch.randn(3, generator=generator).half(),
        "brain": base.to(torch.bfloat16),
        "whole": base,
        "transposed": base.T,
        "every other": base[::2, 1::2],
        "repeated": base[:1].expand(4, 5),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "nothing": torch.empty(0, 3),
        "numbers": torch.arange(7),
        "flags": torch.tensor([True, False, True]),
    }


def stored(tensors: dict[str, Tensor]) -> dict[str, Stored]:
    return {name: Stored(tensor) for name, tensor in tensors.items()}


def test_reads_as_it_was(tmp_path: Path, tensors: dict[str, Tensor]):
    digest = write_safetensors(tmp_path / "x.safetensors", stored(tensors))
    assert digest == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    for ref in open_safetensors(tmp_path / "x.safetensors").values():
        assert ref.start % ref.dtype.itemsize == 0
    assert Stored.held == 0


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_is_the_librarys_own_file(tmp_path: Path, metadata: dict[str, str] | None):
    tensors = {"b": torch.randn(5, 7), "a": torch.randn(3), "c": torch.ones(3).double()}
    save_file(tensors, tmp_path / "theirs.safetensors", metadata)
    write_safetensors(tmp_path / "ours.safetensors", stored(tensors), metadata=metadata)
    ours, theirs = (tmp_path / f"{name}.safetensors" for name in ("ours", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_floating_point_numbers_are_converted(
    tmp_path: Path, tensors: dict[str, Tensor], dtype: torch.dtype
):
    write_safetensors(tmp_path / "x.safetensors", stored(tensors), dtype=dtype)
    for name, found in load_file(tmp_path / "x.safetensors").items():
        wanted = tensors[name].to(dtype) if tensors[name].is_floating_point() else tensors[name]
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted), name


@pytest.mark.parametrize("shape", [(3, CHUNK_BYTES // 8), (CHUNK_BYTES // 3,), (1, 1, 5_000_001)])
def test_large_tensors_go_in_chunks(tmp_path: Path, shape: tuple[int, ...]):
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int32).view(shape)
    write_safetensors(tmp_path / "x.safetensors", stored({"x": tensor}))
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], tensor)


@pytest.mark.parametrize("value", [65520.0, -1e38, float("inf"), float("nan")])
def test_what_float16_cannot_hold(tmp_path: Path, value: float):
    tensors = {"a.weight": torch.tensor([1.0, value])}
    with pytest.raises(CheckpointError, match=r"a\.weight .*: choose bfloat16 or float32"):
        write_safetensors(tmp_path / "x.safetensors", stored(tensors), dtype=torch.float16)
    Stored.held = 0
    write_safetensors(tmp_path / "x.safetensors", stored(tensors), dtype=torch.bfloat16)


@pytest.fixture
def counted() -> tuple[list[str], Callable[[str], None]]:
    names: list[str] = []
    return names, names.append


def test_shards(tmp_path: Path, counted: tuple[list[str], Callable[[str], None]]):
    tensors = {f"t{i}": torch.full((size,), float(i)) for i, size in enumerate([2, 3, 9, 1, 1])}
    names, progress = counted
    write_sharded(tmp_path, "model", stored(tensors), shard_bytes=20, progress=progress)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 64}
    files = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert index["weight_map"] == dict(
        zip(tensors, [files[0], files[0], files[1], files[2], files[2]], strict=True)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *files,
        "model.safetensors.index.json",
    ]
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / file)[name], tensors[name])
    assert sorted(names) == sorted(tensors)


def test_what_fits_is_one_file(tmp_path: Path):
    tensors = {f"t{i}": torch.zeros(5) for i in range(3)}
    write_sharded(tmp_path, "model", stored(tensors), shard_bytes=60)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert len(split(stored(tensors), torch.float16, 30)) == 1
    assert len(split(stored(tensors), None, 59)) == 2
    assert len(split(stored(tensors), None, None)) == 1
    assert [len(part) for part in split(stored(tensors), None, 1)] == [1, 1, 1]
