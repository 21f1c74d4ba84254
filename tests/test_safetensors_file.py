"""Headers of safetensors: the library's own files are read as it reads them, no others.

What `read_tensors` refuses besides is in test_checkpoint.py.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from unclip.errors import CheckpointError
from unclip.safetensors_file import DTYPES, open_safetensors


def write(path: Path, header: object, body: bytes, padding: bytes = b"") -> Path:
    content = json.dumps(header).encode() + padding
    path.write_bytes(len(content).to_bytes(8, "little") + content + body)
    return path


def entry(dtype: object, shape: object, begin: object, end: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_safetensors(path)
    message = str(caught.value)
    assert path.name in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return message


class TestTheLibrarysFiles:
    @pytest.mark.parametrize("dtype", DTYPES.values())
    def test_every_type(self, tmp_path: Path, dtype: torch.dtype) -> None:
        tensors = {"a": torch.arange(6).reshape(2, 3).to(dtype), "b.c": torch.ones(1).to(dtype)}
        tensors |= {"scalar": torch.tensor(1).to(dtype), "none": torch.empty(0, 3).to(dtype)}
        save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
        refs = open_safetensors(tmp_path / "x.safetensors")
        expected = load_file(tmp_path / "x.safetensors")
        assert refs.keys() == expected.keys()
        for name, ref in refs.items():
            assert (ref.dtype, ref.shape) == (dtype, tuple(tensors[name].shape))
            assert torch.equal(ref.load(), expected[name])

    def test_numbers_that_are_not_aligned(self, tmp_path: Path) -> None:
        """As the library wrote before it padded its headers."""
        body = torch.arange(3.0).numpy().tobytes()
        for spaces in range(8):
            header = {"a": entry("F32", [3], 0, 12)}
            path = write(tmp_path / "x.safetensors", header, body, b" " * spaces)
            assert open_safetensors(path)["a"].load().tolist() == [0, 1, 2]


F32 = entry("F32", [1], 0, 4)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)},
        {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)},
        {"a": entry("F32", [1], 4, 8)},
        {"a": entry("U8", [2], 0, 2), "b": entry("U8", [5], 3, 8)},
        {"a": entry("U8", [4], 0, 4)},
        {"a": entry("U8", [9], 0, 9)},
        {"a": entry("F32", [2], 8, 0)},
        {"a": entry("F32", [-2], 8, 0)},
        {"a": entry("F32", [-1, -2], 0, 8)},
        {"a": entry("F32", [2], -8, 0)},
        {"a": entry("F32", [3], 0, 8)},
        {"a": entry("F32", [2, 2**62, 4], 0, 8)},
        {"a": entry("F32", [2.0], 0, 8)},
        {"a": entry("F32", ["2"], 0, 8)},
        {"a": entry("F32", 2, 0, 8)},
        {"a": entry("F32", [True, 2], 0, 8)},
        {"a": entry("F32", [2], 0, 8.0)},
        {"a": entry("F32", [2], None, 8)},
        {"a": entry("F31", [2], 0, 8)},
        {"a": entry("f32", [2], 0, 8)},
        {"a": entry(["F32"], [2], 0, 8)},
        {"a": entry("\x1b[31m" * 100, [2], 0, 8)},
        {"\n" * 1000: entry("F33", [2], 0, 8)},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": [1]},
        {"a": None},
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, header: object) -> None:
    path = write(tmp_path / "x.safetensors", header, bytes(8))
    assert "is damaged" in refusal(path)
    with pytest.raises(SafetensorError):
        load_file(path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry("F32", [0, 2**62], 0, 0), "b": entry("U8", [8], 0, 8)},
        {"a": entry("F32", [2], 0, 8) | {"more": 1}},
    ],
)
def test_headers_that_only_the_library_takes(tmp_path: Path, header: object) -> None:
    assert "is damaged" in refusal(write(tmp_path / "x.safetensors", header, bytes(8)))


def test_nothing_stands_behind_the_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a": F32}, bytes(4) + b"#!")
    assert "is damaged or incomplete" in refusal(path)
