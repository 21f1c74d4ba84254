"""Names of files: readable, known beforehand, never over another file."""

import os
from pathlib import Path

import pytest

from unclip.cli import outputs
from unclip.cli.outputs import Plan, plan, slug, write
from unclip.errors import InputError


def names(out: str | None, count: int, *, grid: bool = False) -> list[str]:
    made = plan(out, ["A red apple!"] * count, range(7, 7 + count), grid=grid, force=False)
    return [str(path) for path in (*made.pictures, made.grid) if path is not None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_by_prompt_and_seed() -> None:
    assert names(None, 2) == ["a-red-apple-7.png", "a-red-apple-8.png"]
    assert names("", 1) == ["a-red-apple-7.png"]


def test_a_folder(here: Path) -> None:
    (here / "there").mkdir()
    for out in ("there", "there/", "new/", "new/deep/"):
        folder = out.rstrip("/")
        assert names(out, 1) == [f"{folder}/a-red-apple-7.png"]
        assert names(out, 2, grid=True)[-1] == f"{folder}/a-red-apple-7-grid.png"


def test_a_file() -> None:
    assert names("a.png", 1) == ["a.png"]
    assert names("sub/a.PNG", 1) == ["sub/a.PNG"]
    assert names("a", 1) == ["a.png"]
    assert names("a.png", 3) == ["a_001.png", "a_002.png", "a_003.png"]
    assert names("a.png", 1000)[-1] == "a_1000.png"
    assert names("a.png", 2, grid=True)[-1] == "a_grid.png"
    for wrong in ("a.jpg", "a.b", "a.png.webp"):
        with pytest.raises(InputError, match="written as PNG"):
            names(wrong, 1)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("An astronaut, riding a horse", "an-astronaut-riding-a-horse"),
        ("Äpfel & Öl", "apfel-ol"),
        ("日本語の林檎", "日本語の林檎"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c:d\0e", "a-b-c-d-e"),
        ("🍎", "picture"),
        ("", "picture"),
        ("\ud800", "picture"),
        ("x" * 500, "x" * 48),
        ("-rf *", "rf"),
        ("\u202etxt", "txt"),
    ],
)
def test_slugs(label: str, expected: str) -> None:
    assert slug(label) == expected
    assert len(os.fsencode(slug(label))) < 200


def test_nothing_is_overwritten(here: Path) -> None:
    (here / "a.png").write_text("mine")
    with pytest.raises(InputError, match=r"a\.png exists: pass --force"):
        plan("a.png", ["x"], [1], grid=False, force=False).check([0])
    plan("a.png", ["x"], [1], grid=False, force=True).check([0])
    # Only what this process writes.
    plan("b.png", ["x"] * 3, [1, 2, 3], grid=False, force=False).check([1])
    (here / "b_001.png").touch()
    plan("b.png", ["x"] * 3, [1, 2, 3], grid=False, force=False).check([1])
    (here / "b_grid.png").touch()
    with pytest.raises(InputError, match=r"b_grid\.png exists"):
        plan("b.png", ["x"] * 3, [1, 2, 3], grid=True, force=False).check([1])
    assert (here / "a.png").read_text() == "mine"


@pytest.mark.parametrize("out", ["file/", "file/a.png", "x" * 300, "/proc/a.png"])
def test_what_cannot_be_written(here: Path, out: str) -> None:
    (here / "file").touch()
    with pytest.raises(InputError, match=r"cannot write|exists") as caught:
        plan(out, ["x"], [1], grid=False, force=False).check([0])
    assert "\n" not in str(caught.value)


def test_no_folder_before_there_is_a_picture(here: Path) -> None:
    made = plan("new/deep/", ["x"], [1], grid=False, force=False)
    made.check([0])
    assert os.listdir() == []
    write(made.pictures[0], b"one", force=False)
    assert os.listdir("new/deep") == ["x-1.png"]


def test_a_folder_in_a_files_place(here: Path) -> None:
    (here / "a.png").mkdir()
    made = Plan((Path("a.png"),), None, force=True)
    with pytest.raises(InputError, match="is a folder"):
        made.check([0])


def test_whole_or_not_at_all(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("a.png"), b"one", force=False)
    with pytest.raises(InputError, match="appeared meanwhile"):
        write(Path("a.png"), b"two", force=False)
    assert Path("a.png").read_bytes() == b"one"
    write(Path("a.png"), b"two", force=True)
    assert Path("a.png").read_bytes() == b"two"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(Path("a.png"), b"three", force=True)
    assert Path("a.png").read_bytes() == b"two"
    assert os.listdir() == ["a.png"]


def test_without_hard_links(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(outputs.os, "link", no_links)
    write(Path("a.png"), b"one", force=False)
    with pytest.raises(InputError, match="appeared meanwhile"):
        write(Path("a.png"), b"two", force=False)
    assert Path("a.png").read_bytes() == b"one"


def test_a_full_disk(here: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    Path(f".a.png.{os.getpid()}.tmp").symlink_to(full)
    with pytest.raises(InputError, match="No space left"):
        write(Path("a.png"), b"one", force=False)
    assert os.listdir() == []
