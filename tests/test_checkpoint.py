"""Stage folders: round trips, every kind of damage, and a kill at any point of a save."""

import json
import pickle
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unclip import checkpoint
from unclip.checkpoint import (
    StageFolder,
    load_stage,
    load_tensors,
    read_tensors,
    save_stage,
)
from unclip.errors import CheckpointError
from unclip.mapped import MAX_TENSORS


def tensors(value: float = 1.5) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 2), value), "ids": torch.arange(4), "b": torch.randn(3)}


def stage(value: float = 1.5) -> StageFolder:
    extra = {"merges.txt": b"a b\n"}
    return StageFolder("prior", {"dim": 2}, {"clip": "abc"}, tensors(value), extra)


def refused(folder: Path, *parts: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_stage(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


class TestRoundTrip:
    def test_everything_comes_back(self, tmp_path: Path) -> None:
        before = stage()
        save_stage(tmp_path / "prior", before)
        after = load_stage(tmp_path / "prior", "prior")
        assert (after.stage, after.config, after.metadata) == ("prior", {"dim": 2}, {"clip": "abc"})
        assert after.extra == before.extra
        for name, tensor in before.tensors.items():
            assert torch.equal(after.tensors[name], tensor)
        assert [path.name for path in tmp_path.iterdir()] == ["prior"]

    def test_float16_is_stored_and_float32_is_loaded(self, tmp_path: Path) -> None:
        save_stage(tmp_path / "prior", stage(), dtype=torch.float16)
        stored = load_stage(tmp_path / "prior").tensors
        assert (stored["weight"].dtype, stored["ids"].dtype) == (torch.float16, torch.int64)
        linear = nn.Linear(2, 3)
        load_tensors(linear, {"weight": stored["weight"], "bias": stored["b"]}, "here")
        assert linear.weight.dtype == torch.float32
        load_tensors(
            linear, {"weight": stored["weight"], "bias": stored["b"]}, "here", dtype=torch.bfloat16
        )
        assert linear.bias.dtype == torch.bfloat16

    def test_a_replaced_folder_is_wholly_the_new_one(self, tmp_path: Path) -> None:
        save_stage(tmp_path / "prior", stage(1.0))
        (tmp_path / "prior" / "old.txt").write_text("of the first")
        save_stage(tmp_path / "prior", stage(2.0))
        assert float(load_stage(tmp_path / "prior").tensors["weight"][0, 0]) == 2.0
        assert not (tmp_path / "prior" / "old.txt").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["prior"]

    def test_views_and_transposes_are_stored_whole(self, tmp_path: Path) -> None:
        matrix = torch.randn(3, 4)
        save_stage(tmp_path / "x", StageFolder("x", {}, {}, {"t": matrix.T, "row": matrix[1]}))
        loaded = load_stage(tmp_path / "x").tensors
        assert torch.equal(loaded["t"], matrix.T)
        assert torch.equal(loaded["row"], matrix[1])

    def test_the_manifest_says_what_wrote_it(self, tmp_path: Path) -> None:
        save_stage(tmp_path / "prior", stage())
        manifest = json.loads((tmp_path / "prior" / "manifest.json").read_text())
        assert set(manifest["files"]) == {"config.json", "model.safetensors", "merges.txt"}
        assert manifest["unclip"]
        entry = manifest["files"]["merges.txt"]
        assert entry["bytes"] == 4
        assert len(entry["sha256"]) == 64

    def test_all_files_have_the_mode_of_new_files(self, tmp_path: Path) -> None:
        save_stage(tmp_path / "prior", stage())
        ordinary = tmp_path / "ordinary"
        ordinary.touch()
        for path in (tmp_path / "prior").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_stage(tmp_path / "prior", stage())
        return tmp_path / "prior"

    def test_truncation_at_every_sixteenth(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        content = weights.read_bytes()
        for part in range(16):
            weights.write_bytes(content[: len(content) * part // 16])
            refused(folder, "model.safetensors", "SHA-256")
            # Without the manifest's help too.
            with pytest.raises(CheckpointError):
                read_tensors(weights)

    def test_a_flipped_bit(self, folder: Path) -> None:
        for name in ("model.safetensors", "config.json", "merges.txt"):
            content = bytearray((folder / name).read_bytes())
            content[-2] ^= 1
            (folder / name).write_bytes(content)
            refused(folder, name, "SHA-256")
            content[-2] ^= 1
            (folder / name).write_bytes(content)
        load_stage(folder)

    @pytest.mark.parametrize(
        "name", ["manifest.json", "config.json", "model.safetensors", "merges.txt"]
    )
    def test_a_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        refused(folder, name)

    @pytest.mark.parametrize(
        "manifest",
        [
            "",
            "[]",
            "{}",
            '{"files": {"../prior/config.json": {"sha256": ""}}}',
            '{"files": {"config.json": 3}}',
            '{"files": {}}',
        ],
    )
    def test_a_broken_manifest(self, folder: Path, manifest: str) -> None:
        (folder / "manifest.json").write_text(manifest)
        refused(folder, "manifest.json")

    def test_another_stage(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match="holds a prior, expected a decoder"):
            load_stage(folder, "decoder")

    def test_no_folder(self, tmp_path: Path) -> None:
        refused(tmp_path / "none", "is no stage folder")

    def test_files_that_the_manifest_does_not_list_are_not_read(self, folder: Path) -> None:
        (folder / "notes.txt").write_text("mine")
        assert set(load_stage(folder).extra) == {"merges.txt"}


class Marker:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class TestForeignFiles:
    @pytest.mark.parametrize("protocol", [0, 2, 5])
    def test_a_pickle_is_refused_and_never_run(self, tmp_path: Path, protocol: int) -> None:
        marker = tmp_path / "marker"
        path = tmp_path / "model.safetensors"
        path.write_bytes(pickle.dumps(Marker(marker), protocol) + b" " * 64)
        with pytest.raises(CheckpointError, match="only safetensors is read"):
            read_tensors(path)
        torch.save({"w": torch.zeros(1), "x": Marker(marker)}, path)
        with pytest.raises(CheckpointError, match="only safetensors is read"):
            read_tensors(path)
        assert not marker.exists()

    def test_a_folder_of_pickles_is_told_so(self, tmp_path: Path) -> None:
        folder = tmp_path / "old"
        folder.mkdir()
        (folder / "pytorch_model.bin").write_bytes(b"x")
        refused(folder, "pytorch_model.bin is not read, only safetensors is")
        save_stage(tmp_path / "prior", stage())
        weights = tmp_path / "prior" / "model.safetensors"
        weights.rename(weights.with_name("model.ckpt"))
        refused(tmp_path / "prior", "model.ckpt is not read, only safetensors is")

    def write(self, path: Path, header: bytes, body: bytes = b"", length: int = -1) -> Path:
        size = len(header) if length < 0 else length
        path.write_bytes(size.to_bytes(8, "little") + header + body)
        return path

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"[]",
            b"3",
            b"{",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}',
            b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
            b'{"a":{"dtype":"XX","shape":[1],"data_offsets":[0,4]}}',
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        ],
    )
    def test_malformed_headers(self, tmp_path: Path, header: bytes) -> None:
        path = self.write(tmp_path / "m.safetensors", header, b"\0" * 4)
        with pytest.raises(CheckpointError, match=r"m\.safetensors"):
            read_tensors(path)

    def test_a_header_longer_than_the_file_or_the_cap(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="at most 25000000"):
            read_tensors(self.write(tmp_path / "a", b"{}", length=2**62))
        with (tmp_path / "b").open("wb") as file:
            file.write((30_000_000).to_bytes(8, "little"))
            file.truncate(40_000_000)  # sparse: nothing is really written
        with pytest.raises(CheckpointError, match="30000000 bytes"):
            read_tensors(tmp_path / "b")

    def test_too_many_tensors(self, tmp_path: Path) -> None:
        entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header = json.dumps({str(i): entry for i in range(MAX_TENSORS + 1)}).encode()
        path = self.write(tmp_path / "m.safetensors", header)
        with pytest.raises(CheckpointError, match="names 100001 tensors, at most 100000"):
            read_tensors(path)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"cannot read .*No such file"):
            read_tensors(tmp_path / "none.safetensors")


class TestFit:
    def test_meta_modules_get_real_weights(self) -> None:
        with torch.device("meta"):
            linear = nn.Linear(2, 3)
        load_tensors(linear, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, "here")
        assert linear(torch.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]
        assert linear.weight.requires_grad

    def test_missing_unknown_and_misshapen_are_named(self) -> None:
        found = {"weight": torch.ones(2, 3), "bais": torch.zeros(3)}
        with pytest.raises(CheckpointError) as caught:
            load_tensors(nn.Linear(2, 3), found, "prior/model.safetensors")
        message = str(caught.value)
        assert message.startswith("prior/model.safetensors does not fit its config")
        assert "missing bias" in message
        assert "unknown bais" in message
        assert "weight is (2, 3), expected (3, 2)" in message

    def test_whole_numbers_are_no_weights(self) -> None:
        found = {"weight": torch.ones(3, 2, dtype=torch.int64), "bias": torch.zeros(3)}
        with pytest.raises(
            CheckpointError, match=r"weight is torch\.int64, expected torch\.float32"
        ):
            load_tensors(nn.Linear(2, 3), found, "here")

    def test_only_the_first_ten_problems_are_listed(self) -> None:
        module = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(14)])
        with pytest.raises(CheckpointError, match=r"missing 9\.weight and 4 more"):
            load_tensors(module, {}, "here")

    def test_nothing_is_changed_by_a_refusal(self) -> None:
        linear = nn.Linear(2, 3)
        before = linear.weight.clone()
        with pytest.raises(CheckpointError):
            load_tensors(linear, {"weight": torch.ones(3, 2)}, "here")
        assert torch.equal(linear.weight, before)


class Killed(BaseException):
    """Stands for SIGKILL: with `rmtree` disarmed nothing cleans up after it."""


def test_a_kill_at_any_point_leaves_a_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivors, calls = set(), 0
    for kill_at in range(1, 100):
        root = tmp_path / str(kill_at)
        save_stage(root / "prior", stage(1.0))
        calls = 0

        def count(kill_at: int = kill_at) -> None:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                raise Killed

        def killable(function: Any, count: Any = count) -> Any:
            def wrapped(*args: Any) -> Any:
                count()
                return function(*args)

            return wrapped

        with monkeypatch.context() as patch:
            for name in ("flush", "write_manifest", "save_file"):
                patch.setattr(checkpoint, name, killable(getattr(checkpoint, name)))
            patch.setattr(checkpoint.os, "rename", killable(checkpoint.os.rename))
            patch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
            try:
                save_stage(root / "prior", stage(2.0))
            except Killed:
                pass
            else:
                break
        # Between the two renames the folder is away for a moment, but both versions are whole.
        whole = [path for path in root.iterdir() if path.name.startswith("prior")]
        values = [_value(path) for path in whole]
        assert 1.0 in values or 2.0 in values
        survivors.add(_value(root / "prior") if (root / "prior").exists() else None)
        save_stage(root / "prior", stage(3.0))
        assert _value(root / "prior") == 3.0
    assert calls > 8
    assert {1.0, 2.0} <= survivors


def _value(folder: Path) -> float | None:
    try:
        return float(load_stage(folder).tensors["weight"][0, 0])
    except CheckpointError:
        return None


@pytest.mark.parametrize("error", ["save_file", "flush"])
def test_a_full_disk_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    save_stage(tmp_path / "prior", stage(1.0))

    def full(*_: Any) -> None:
        if error == "save_file":
            # As safetensors reports it: not as an OSError.
            raise checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, error, full)
    with pytest.raises(CheckpointError, match=r"cannot write .*prior: .*No space left on device"):
        save_stage(tmp_path / "prior", stage(2.0))
    monkeypatch.undo()
    assert _value(tmp_path / "prior") == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["prior"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_stage(tmp_path / "file" / "prior", stage())


def test_copied_folders_load(tmp_path: Path) -> None:
    save_stage(tmp_path / "a" / "prior", stage())
    shutil.copytree(tmp_path / "a" / "prior", tmp_path / "b")
    save_file({"unlisted": torch.zeros(1)}, tmp_path / "b" / "other.safetensors")
    assert set(load_stage(tmp_path / "b").tensors) == {"weight", "ids", "b"}
