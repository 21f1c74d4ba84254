"""Every bundled file is listed with its licence, source and sum."""

import subprocess
from pathlib import Path

import pytest

from unclip.errors import ConfigError
from unclip.provenance.bundled import LIST, bundled_files, main, problems, read_list, renew

GROUP = """[[group]]
files = "unclip/a/*"
spdx = ["MIT"]
source = "made by hand"
third_party = ["Nobody"]

[sha256]
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "unclip" / "a").mkdir(parents=True)
    (tmp_path / "unclip" / "a" / "one.txt").write_text("one")
    (tmp_path / "unclip" / "code.py").write_text("")
    (tmp_path / "THIRD_PARTY.md").write_text("one.txt is of Nobody")
    (tmp_path / LIST).write_text(GROUP)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert renew(tmp_path) == 1
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_the_repository_s_own_list() -> None:
    assert problems(read_list()) == []
    files = bundled_files()
    assert {"unclip/pocket/decoder/model.safetensors", "unclip/data/synonyms.json"} <= set(files)


def test_a_list_that_is_true(clone: Path) -> None:
    assert problems(read_list(clone), clone) == []
    assert list(read_list(clone).sha256) == ["unclip/a/one.txt"]


def test_what_is_wrong_is_said(clone: Path) -> None:
    def found() -> list[str]:
        return problems(read_list(clone), clone)

    (clone / "unclip" / "a" / "one.txt").write_text("another")
    assert found() == ["unclip/a/one.txt has another sum"]
    (clone / "unclip" / "two.bin").write_bytes(b"2")
    git(clone, "add", ".")
    assert found()[:2] == ["unclip/two.bin is in no group", "unclip/two.bin has no sum"]
    git(clone, "rm", "-q", "-f", "unclip/two.bin", "unclip/a/one.txt")
    assert found() == [
        "unclip/a/one.txt is listed, but not there",
        "unclip/a/*: no file is of this group",
    ]


def test_licences_and_third_parties_are_checked(clone: Path) -> None:
    text = (clone / LIST).read_text()
    (clone / LIST).write_text(text.replace('"MIT"', '"GPL-3.0-only"').replace("Nobody", "Somebody"))
    assert problems(read_list(clone), clone) == [
        "unclip/a/*: GPL-3.0-only is no licence to bundle",
        "unclip/a/*: THIRD_PARTY.md has no word of Somebody",
    ]


def test_a_list_that_cannot_be_read(clone: Path, tmp_path: Path) -> None:
    (clone / LIST).write_text("[[group]]\nfile = 'a'\n[sha256]\n")
    with pytest.raises(ConfigError, match="cannot be read as the list"):
        read_list(clone)
    (clone / LIST).write_text(GROUP)
    with pytest.raises(ConfigError, match="is no clone"):
        bundled_files(Path("/"))


def test_the_command_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all"]) == 2
    assert "expected no arguments" in capsys.readouterr().err
