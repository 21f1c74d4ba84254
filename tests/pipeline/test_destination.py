"""A model folder is there whole or not at all, and never in place of something else."""

import errno
import json
import os
from pathlib import Path

import pytest

from unclip.errors import CheckpointError
from unclip.pipeline import destination
from unclip.pipeline.destination import whole_folder

OURS = {"name": "m", "components": {"clip": "c", "prior": "p", "upsamplers": ["u"]}}
DIFFUSERS = {"_class_name": "x", "decoder": ["diffusers", "UNet"]}


def older(folder: Path, index: dict[str, object], parts: tuple[str, ...]) -> Path:
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "w").write_text("old")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write(folder: Path, *, replace: bool = False) -> None:
    with whole_folder(folder, replace=replace) as place:
        assert place.parent == folder.parent
        (place / "clip").mkdir()
        (place / "clip" / "w").write_text("new")
        (place / "README.md").write_text("new")
        (place / "model_index.json").write_text("{}")


def content(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


NEW = {"clip/w": "new", "README.md": "new", "model_index.json": "{}"}


@pytest.mark.parametrize("there", ["nothing", "no parent", "an empty folder"])
def test_a_free_place(tmp_path: Path, there: str):
    folder = tmp_path / "a" / "b" / "m" if there == "no parent" else tmp_path / "m"
    if there == "an empty folder":
        folder.mkdir()
    write(folder)
    assert content(folder) == NEW
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("index", "parts"), [(OURS, ("c", "p", "u")), (DIFFUSERS, ("decoder", "clip"))]
)
def test_an_older_model(tmp_path: Path, index: dict[str, object], parts: tuple[str, ...]):
    folder = older(tmp_path / "m", index, parts[:1] if index is DIFFUSERS else parts)
    (folder / "README.md").write_text("mine")
    (folder / "notes").mkdir()
    (folder / "notes" / "n.txt").write_text("mine")
    before = content(folder)
    with pytest.raises(CheckpointError, match="holds a model: choose another folder, or pass --fo"):
        write(folder)
    assert content(folder) == before
    write(folder, replace=True)
    assert content(folder) == NEW | {"README.md": "mine", "notes/n.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_would_be_lost(tmp_path: Path):
    """A folder of the user's has the name of one of the new model's."""
    folder = older(tmp_path / "m", DIFFUSERS, ("decoder", "clip"))
    before = content(folder)
    with pytest.raises(CheckpointError, match=r"clip is no part of the model there.*move it away"):
        write(folder, replace=True)
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("there", ["a file", "other things", "a damaged index"])
def test_what_is_no_model(tmp_path: Path, there: str):
    folder = tmp_path / "m"
    if there == "a file":
        folder.write_text("x")
    else:
        folder.mkdir()
        name = "photo.jpg" if there == "other things" else "model_index.json"
        (folder / name).write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError) as caught:
        write(folder, replace=True)
    expected = {"a file": "is a file", "other things": "holds no model"}
    assert expected.get(there, "is not to be read") in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
@pytest.mark.parametrize("there", [False, True])
def test_an_error_leaves_nothing(tmp_path: Path, error: BaseException, there: bool):
    folder = tmp_path / "a" / "m"
    if there:
        older(folder, OURS, ("c",))
    before = sorted(tmp_path.rglob("*"))
    expected = CheckpointError if isinstance(error, OSError) else KeyboardInterrupt

    def write_half() -> None:
        with whole_folder(folder, replace=True) as place:
            (place / "half").write_text("x")
            raise error

    with pytest.raises(expected) as caught:
        write_half()
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {folder}: No space left"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int):
    folder = older(tmp_path / "m", OURS, ("c",))
    before, calls, rename = content(folder), [], os.rename

    def fail(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == failing:
            raise OSError(errno.EACCES, "Permission denied")
        rename(*paths)

    monkeypatch.setattr(destination.os, "rename", fail)
    with pytest.raises(CheckpointError, match="Permission denied"):
        write(folder, replace=True)
    assert content(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_read_only_place():
    """No folder can be made there, whoever asks."""
    with pytest.raises(CheckpointError, match="cannot write /proc/unclip/m: "):
        write(Path("/proc/unclip/m"))
