"""Mapped files and the references to tensors in them."""

import os
from pathlib import Path

import pytest
import torch

from unclip.errors import CheckpointError
from unclip.mapped import MAX_ELEMENTS, MappedFile, TensorRef, contiguous, is_shape, load_as


def numbers(tmp_path: Path, before: bytes = b"") -> MappedFile:
    (tmp_path / "x").write_bytes(before + torch.arange(12.0).numpy().tobytes())
    return MappedFile(tmp_path / "x")


class TestFiles:
    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"cannot read .*none: No such file"):
            MappedFile(tmp_path / "none")
        with pytest.raises(CheckpointError, match="it is no ordinary file"):
            MappedFile(tmp_path)
        (tmp_path / "empty").touch()
        with pytest.raises(CheckpointError, match="it is empty"):
            MappedFile(tmp_path / "empty")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among this system's files")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="it is no ordinary file"):
            MappedFile(tmp_path / "pipe")

    def test_reading_stops_at_the_end(self, tmp_path: Path) -> None:
        file = numbers(tmp_path, b"head")
        assert len(file) == 52
        assert file.read(0, 4) == b"head"
        assert len(file.read(50, 2**70)) == 2

    def test_a_file_that_is_replaced_stays_as_it_was(self, tmp_path: Path) -> None:
        file = numbers(tmp_path)
        (tmp_path / "y").write_bytes(bytes(48))
        (tmp_path / "y").replace(tmp_path / "x")
        assert file.elements(torch.float32, 4, 2).tolist() == [1, 2]


class TestReferences:
    @pytest.mark.parametrize("before", [b"", b"odd"])
    def test_views(self, tmp_path: Path, before: bytes) -> None:
        """Aligned numbers are mapped, others are copied; both are right."""
        file = numbers(tmp_path, before)
        ref = TensorRef(file, len(before) + 4, torch.float32, (2, 3), (1, 4))
        assert ref.load().tolist() == [[1, 5, 9], [2, 6, 10]]
        assert ref.load().stride() == (1, 4)
        assert (ref.span, ref.nbytes) == (10, 24)
        ref.load().zero_()
        again = ref.load().tolist()
        assert again == ([[1, 5, 9], [2, 6, 10]] if before else [[0, 0, 0], [0, 0, 0]])
        assert (tmp_path / "x").read_bytes()[len(before) + 4 :][:4] == b"\0\0\x80\x3f"

    def test_nothing(self, tmp_path: Path) -> None:
        ref = TensorRef(numbers(tmp_path), 48, torch.float16, (3, 0), (1, 1))
        assert (ref.span, ref.nbytes) == (0, 0)
        assert (ref.load().shape, ref.load().dtype) == ((3, 0), torch.float16)

    def test_strides_are_torchs(self) -> None:
        for shape in [(), (5,), (2, 3, 4), (1, 1), (3, 0, 4), (0,)]:
            assert contiguous(shape) == torch.empty(shape).stride()

    def test_shapes(self) -> None:
        good: list[object] = [(), [], (0,), [2, 3], (MAX_ELEMENTS,), (2**24, 2**24), (1,) * 64]
        bad: list[object] = [None, 3, "ab", {1: 2}, (-1,), (1.0,), (True,), ("1",), (1,) * 65]
        bad += [(MAX_ELEMENTS + 1,), (2**25, 2**24), (0, 2**40, 2**40), (2**600,), [[1]]]
        assert all(map(is_shape, good))
        assert not any(map(is_shape, bad))


def test_a_tensor_in_another_precision(tmp_path: Path) -> None:
    """The same type stays mapped; another is a copy, and the pages read are given back."""
    values = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "numbers"
    path.write_bytes(values.numpy().tobytes())
    ref = TensorRef(MappedFile(path), 0, torch.float32, (300, 40), (40, 1))
    same = load_as(ref, torch.float32)
    assert torch.equal(same, values)
    assert same.data_ptr() == ref.load().data_ptr()
    half = load_as(ref, torch.bfloat16)
    assert torch.equal(half, values.bfloat16())
    assert half.data_ptr() != same.data_ptr()
    # Pages that were given back are read again.
    assert torch.equal(same, values)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 4095), (100, 5000), (4096, 8192)])
def test_only_whole_pages_are_given_back(tmp_path: Path, start: int, stop: int) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 64)
    file = MappedFile(path)
    numbers = file.elements(torch.uint8, 0, len(file))
    numbers[:start], numbers[stop:] = 7, 9
    first, last = -(-start // 4096) * 4096, stop // 4096 * 4096
    file.release(start, stop)
    untouched = torch.cat([numbers[: min(start, first)], numbers[max(stop, last) :]])
    kept = 7 * numbers[: min(start, first)].numel() + 9 * numbers[max(stop, last) :].numel()
    assert untouched.long().sum() == kept
