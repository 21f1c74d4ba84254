"""The zip directory: what PyTorch and Python write is read, and whatever lies is refused."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from archives import StorageId, described, view, write_archive

from unclip.errors import CheckpointError
from unclip.karlo.archive import open_archive

CENTRAL_FIELDS = {
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "packed_size": (20, "<I"),
    "size": (24, "<I"),
    "name_size": (28, "<H"),
    "extra_size": (30, "<H"),
    "comment_size": (32, "<H"),
    "offset": (42, "<I"),
}
LOCAL_FIELDS = {
    "packed_size": (18, "<I"),
    "size": (22, "<I"),
    "name_size": (26, "<H"),
    "extra_size": (28, "<H"),
}
END_FIELDS = {"count": (-12, "<H"), "size": (-10, "<I"), "start": (-6, "<I"), "comment": (-2, "<H")}


def put(content: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


def central(content: bytes, name: str, field: str, value: int) -> bytes:
    """Changes what the directory says of an entry."""
    at = content.rindex(f"archive/{name}".encode()) - 46
    assert content[at : at + 4] == b"PK\1\2"
    offset, form = CENTRAL_FIELDS[field]
    return put(content, at + offset, form, value)


def local(content: bytes, name: str, field: str, value: int) -> bytes:
    """Changes what stands before an entry's contents."""
    at = content.index(f"archive/{name}".encode()) - 30
    assert content[at : at + 4] == b"PK\3\4"
    offset, form = LOCAL_FIELDS[field]
    return put(content, at + offset, form, value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_archive(tmp_path / "x.bin", {"w": view()})
    assert list(open_archive(tmp_path / "x.bin")) == ["w"]
    return tmp_path / "x.bin"


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        open_archive(path)
    message = str(caught.value)
    assert path.name in message
    assert message.isprintable()
    return message


class TestEntries:
    @pytest.mark.parametrize("name", ["data/0", "data.pkl"])
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("flags", 1),
            ("flags", 8),
            ("method", 8),
            ("packed_size", 23),
            ("packed_size", 0),
            ("packed_size", 2**32 - 2),
            ("packed_size", 2**32 - 1),
            ("size", 25),
            ("size", 2**31),
            ("size", 2**32 - 1),
            ("name_size", 1),
            ("name_size", 0),
            ("name_size", 5000),
            ("extra_size", 3),
            ("extra_size", 5000),
            ("comment_size", 2),
            ("offset", 1),
            ("offset", 2**31),
            ("offset", 2**32 - 1),
        ],
    )
    def test_a_lying_directory(self, path: Path, name: str, field: str, value: int) -> None:
        refusal(path, central(path.read_bytes(), name, field, value))

    @pytest.mark.parametrize("name", ["data/0", "data.pkl"])
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("packed_size", 25),
            ("size", 1),
            ("name_size", 5),
            ("name_size", 65535),
            ("extra_size", 65535),
        ],
    )
    def test_a_lying_header(self, path: Path, name: str, field: str, value: int) -> None:
        message = refusal(path, local(path.read_bytes(), name, field, value))
        assert f"archive/{name} is not where the directory says" in message

    def test_a_shifted_storage_is_noticed(self, tmp_path: Path) -> None:
        """PyTorch pads before a storage, so that one byte more would read nonsense."""
        torch.save({"w": torch.ones(2)}, tmp_path / "archive.bin")
        content = (tmp_path / "archive.bin").read_bytes()
        at = content.index(b"archive/data/0") - 30
        (padding,) = struct.unpack_from("<H", content, at + 28)
        message = refusal(
            tmp_path / "archive.bin", local(content, "data/0", "extra_size", padding + 1)
        )
        assert "is not where the directory says" in message

    def test_both_sizes_lie(self, path: Path) -> None:
        content = central(path.read_bytes(), "data/0", "size", 28)
        content = central(content, "data/0", "packed_size", 28)
        content = local(local(content, "data/0", "size", 28), "data/0", "packed_size", 28)
        assert "data/0 is not where the directory says" in refusal(path, content)

    def test_entries_that_share_bytes(self, tmp_path: Path) -> None:
        """A hundred storages of one megabyte in a file of one: each named at the same place."""
        write_archive(tmp_path / "x.bin", {"w": view()}, {"0": bytes(24), "1": bytes(24)})
        content = (tmp_path / "x.bin").read_bytes()
        place = content.index(b"archive/data/0") - 30
        message = refusal(tmp_path / "x.bin", central(content, "data/1", "offset", place))
        assert "reaches into what follows it" in message

    def test_compressed(self, tmp_path: Path) -> None:
        deflated = write_archive(
            tmp_path / "x.bin", {"w": view()}, compression=zipfile.ZIP_DEFLATED
        )
        assert "compressed or encrypted" in refusal(deflated, deflated.read_bytes())

    def test_what_nobody_reads_may_be_compressed(self, tmp_path: Path) -> None:
        """As the code in a TorchScript archive is."""
        path = write_archive(tmp_path / "x.bin", {"w": view()})
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/code/model.py", "pass\n" * 1000)
        assert list(open_archive(path)) == ["w"]

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_one_name_twice(self, path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data/0", bytes(24))
        assert "two entries of one name" in refusal(path, path.read_bytes())

    @pytest.mark.parametrize(
        "name",
        [
            "../outside",
            "/etc/passwd",
            "archive/../../x",
            "a\\b",
            "a//b",
            "./a",
            "..",
            "a/",
            "\x1b[m/.",
        ],
    )
    def test_names_that_lead_elsewhere(self, path: Path, name: str) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"")
        assert "which is no name within a folder" in refusal(path, path.read_bytes())

    def test_names_that_are_no_text(self, path: Path) -> None:
        content = path.read_bytes().replace(
            b"archive/version", b"archive/\xff\xff\xff\xff\xff\xff\xff"
        )
        assert "directory cannot be read" in refusal(path, content)


class TestDirectory:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("count", 0),
            ("count", 3),
            ("count", 5),
            ("count", 65535),
            ("size", 0),
            ("size", 2**32 - 1),
            ("start", 0),
            ("start", 2**32 - 1),
            ("comment", 5),
        ],
    )
    def test_a_lying_end(self, path: Path, field: str, value: int) -> None:
        content = path.read_bytes()
        at, form = END_FIELDS[field]
        refusal(path, put(content, len(content) + at, form, value))

    def test_entries_that_are_not_counted(self, path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/more", b"")
        content = path.read_bytes()
        (count,) = struct.unpack_from("<H", content, len(content) - 12)
        content = put(content, len(content) - 12, "<H", count - 1)
        assert "directory is longer than its entries" in refusal(path, content)

    def test_something_before_or_behind(self, path: Path) -> None:
        """A file that is a zip file and something else at once."""
        content = path.read_bytes()
        assert "none of PyTorch's zip files" in refusal(path, b"#!/bin/sh\n" + content)
        assert "no zip directory stands at its end" in refusal(path, content + b"\0")
        refusal(path, b"PK\3\4" + content)

    def test_too_many_entries(self, tmp_path: Path) -> None:
        directory = b"PK\1\2" + bytes(24) + b"\1\0" + bytes(16) + b"x"
        content = b"PK\3\4" + directory * 100_001
        end = b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 0, 0, 0, 0, 100_001, 100_001, 47 * 100_001, 4)
        end += b"PK\6\7" + struct.pack("<IQI", 0, len(content), 1)
        end += b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
        message = refusal(tmp_path / "x.bin", content + end)
        assert "100001 entries in 4700047 bytes from byte 4 on, at most 100000" in message

    def test_a_directory_that_is_too_large(self, tmp_path: Path) -> None:
        with (tmp_path / "x.bin").open("wb") as file:
            file.write(b"PK\3\4")
            file.seek(40_000_000)  # sparse: nothing is really written
            file.write(b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, 30_000_000, 4, 0))
        with pytest.raises(CheckpointError, match="in 30000000 bytes from byte 4 on"):
            open_archive(tmp_path / "x.bin")

    def test_no_entries(self, tmp_path: Path) -> None:
        refusal(tmp_path / "x.bin", b"PK\5\6" + bytes(18))


class TestZip64:
    """More than 4 GB, in files with a hole in them: nothing is really written."""

    def write(self, path: Path) -> None:
        """An archive of Python's own whose last storage begins behind 4 GB."""
        far = view((10,), (1,), storage=StorageId(count=10))
        with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", described({"far": far}))
            archive.start_dir = 2**32 + 12345
            archive.writestr("archive/data/0", torch.arange(10.0).numpy().tobytes())

    def test_offsets(self, tmp_path: Path) -> None:
        self.write(tmp_path / "x.ckpt")
        ref = open_archive(tmp_path / "x.ckpt")["far"]
        assert ref.start > 2**32
        assert ref.load().tolist() == list(range(10))

    @pytest.mark.parametrize(
        "change",
        [
            lambda end: end.replace(b"PK\6\6", b"PK\6\5"),
            lambda end: end.replace(b"PK\6\7", b"PK\6\5"),
            lambda end: put(end, end.index(b"PK\6\7") + 8, "<Q", 2**63),
            lambda end: put(end, end.index(b"PK\6\7") + 8, "<Q", 5),
            lambda end: put(end, end.index(b"PK\6\6") + 48, "<Q", 2**63),
            lambda end: put(end, end.index(b"PK\6\6") + 48, "<Q", 2**64 - 1),
            lambda end: put(end, end.index(b"PK\6\6") + 40, "<Q", 2**64 - 1),
            lambda end: put(end, end.index(b"PK\6\6") + 32, "<Q", 2**64 - 1),
            lambda end: put(end, end.rindex(b"PK\1\2") + 46 + 14 + 4, "<Q", 2**63),
            lambda end: put(end, end.rindex(b"PK\1\2") + 46 + 14, "<H", 2),
            lambda end: put(end, end.rindex(b"PK\1\2") + 46 + 14 + 2, "<H", 7),
        ],
    )
    def test_lies(self, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
        self.write(tmp_path / "x.ckpt")
        with (tmp_path / "x.ckpt").open("r+b") as file:
            file.seek(-500, io.SEEK_END)
            end = file.read()
            file.seek(-500, io.SEEK_END)
            file.write(change(end))
        with pytest.raises(CheckpointError):
            open_archive(tmp_path / "x.ckpt")
