"""The npm and apt clients: what they bring is checked, and their failures are one line.

The clients are shell scripts on the path, which do what a test says; the real ones are run by
`test_real_fetch.py`.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from unclip.data.drawings import debian, npm
from unclip.data.drawings.catalogue import SOURCES
from unclip.data.drawings.fetch import Fetched, fetch
from unclip.data.drawings.packages import EMOJIBASE, EMOJILIB, ICONIFY, OPENCLIPART
from unclip.errors import BackendError, DataError, InputError

PINS = {package.name: package for package in (EMOJIBASE, EMOJILIB, ICONIFY)}


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, with a few ordinary commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in ("sh", "cat", "cp", "mkdir", "sed", "echo", "touch"):
        (folder / command).symlink_to(next(Path(place) / command for place in ("/bin", "/usr/bin")))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def script(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def install_npm(folder: Path, **changes: str) -> None:
    """An npm that installs an empty package and locks it as pinned, but for `changes`."""
    entries = {
        f"node_modules/{name}": {
            "version": changes.get("version", package.version),
            "integrity": changes.get("integrity", package.integrity),
        }
        for name, package in PINS.items()
    }
    lock = folder / "lock.json"
    lock.write_text(json.dumps({"packages": entries}))
    log = folder / "npm.log"
    install = "mkdir -p node_modules && echo x > node_modules/x"
    script(folder, "npm", f'echo "$@" >> {log}; {install}; cp {lock} package-lock.json')


def test_a_package_is_installed_once(bin_folder: Path, tmp_path: Path) -> None:
    install_npm(bin_folder)
    for _ in range(2):
        npm.fetch(EMOJILIB, tmp_path / "cache")
    root = EMOJILIB.root(tmp_path / "cache")
    assert json.loads((root / "package.json").read_text())["dependencies"] == {"emojilib": "4.0.3"}
    (line,) = (bin_folder / "npm.log").read_text().splitlines()
    assert line.startswith("install --ignore-scripts ")
    assert [path.name for path in root.parent.iterdir()] == ["emojilib-4.0.3"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"integrity": "sha512-other"}, "the integrity sha512-other, expected sha512-KbW"),
        ({"version": "9.9.9"}, r"the version 9\.9\.9, expected 4\.0\.3"),
    ],
)
def test_another_package_than_pinned(
    bin_folder: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    install_npm(bin_folder, **changes)
    with pytest.raises(DataError, match=says):
        npm.fetch(EMOJILIB, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "npm").iterdir())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "echo 'npm error code ENOTFOUND\nnpm error syscall getaddrinfo\n"
            "npm error network no way out' >&2; exit 1",
            "emojilib@4.0.3: ENOTFOUND, network no way out; check the network",
        ),
        ("echo 'npm ERR! code ENOSPC\nnpm ERR! disk full' >&2; exit 228", "ENOSPC, disk full"),
        ("exit 1", "it says nothing"),
        ("exit 0", "package-lock.json is missing"),
        ("echo '{}' > package-lock.json", "does not name emojilib"),
        ("echo '{' > package-lock.json", "package-lock.json is damaged"),
    ],
)
def test_npm_fails(bin_folder: Path, tmp_path: Path, body: str, says: str) -> None:
    script(bin_folder, "npm", body)
    with pytest.raises(DataError, match=says) as caught:
        npm.fetch(EMOJILIB, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "npm").iterdir())


def test_no_npm(bin_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"npm is not installed, which fetches emojilib"):
        npm.fetch(EMOJILIB, tmp_path / "cache")


def test_a_cache_that_cannot_be_written(bin_folder: Path, tmp_path: Path) -> None:
    install_npm(bin_folder)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file: "):
        npm.fetch(EMOJILIB, tmp_path / "file")


def test_leftovers_of_killed_runs_are_removed(bin_folder: Path, tmp_path: Path) -> None:
    install_npm(bin_folder)
    old, fresh = (tmp_path / "cache" / "npm" / f".part-{name}" for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    npm.fetch(EMOJILIB, tmp_path / "cache")
    assert (old.exists(), fresh.exists()) == (False, True)


def install_apt(folder: Path, version: str = OPENCLIPART.version) -> str:
    """An apt that brings a .deb of five bytes; returns its SHA-256."""
    script(folder, "apt-get", 'case "$*" in *download*) echo -n debby > clip.deb;; esac')
    unpack = "mkdir -p $3/usr/share"
    script(folder, "dpkg-deb", f"case $1 in --field) echo {version};; *) {unpack};; esac")
    return hashlib.sha256(b"debby").hexdigest()


def test_a_debian_package(bin_folder: Path, tmp_path: Path) -> None:
    package = dataclasses.replace(OPENCLIPART, sha256=install_apt(bin_folder))
    assert debian.fetch(package, tmp_path / "cache") == OPENCLIPART.version
    assert (package.folder(tmp_path / "cache") / "usr" / "share").is_dir()
    assert not list(package.folder(tmp_path / "cache").rglob("*.deb"))
    (bin_folder / "apt-get").unlink()
    assert debian.fetch(package, tmp_path / "cache") == OPENCLIPART.version


def test_a_debian_package_of_another_hash(bin_folder: Path, tmp_path: Path) -> None:
    install_apt(bin_folder)
    with pytest.raises(DataError, match=r"has the SHA-256 .*expected 9897.*nothing of it is used"):
        debian.fetch(OPENCLIPART, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "debian").iterdir())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("echo 'E: Unable to locate package x' >&2; exit 100", "Unable to locate package x"),
        ("exit 100", "it says nothing"),
        ("exit 0", "downloaded 0 files for openclipart-svg, expected one"),
    ],
)
def test_apt_fails(bin_folder: Path, tmp_path: Path, body: str, says: str) -> None:
    install_apt(bin_folder)
    script(bin_folder, "apt-get", body)
    with pytest.raises(DataError, match=says):
        debian.fetch(OPENCLIPART, tmp_path / "cache")


def fetched(names: list[str], tmp_path: Path, notes) -> Fetched:
    return fetch([SOURCES[name] for name in names], tmp_path / "cache", notes)


def test_sources_of_debian_are_optional(bin_folder: Path, tmp_path: Path, notes) -> None:
    install_npm(bin_folder)
    got = fetched(["noto", "openclipart"], tmp_path, notes)
    assert [source.name for source in got.sources] == ["noto"]
    assert got.versions["@iconify/json"] == ICONIFY.version
    (line,) = notes.lines
    assert line.startswith("without openclipart: apt-get is not installed")
    assert got.missing["openclipart"] in line
    assert notes.done == {"packages": 4}
    with pytest.raises(BackendError, match="apt-get is not installed"):
        fetched(["openclipart"], tmp_path, notes)


def test_another_release_of_debian(bin_folder: Path, tmp_path: Path, notes) -> None:
    install_npm(bin_folder)
    install_apt(bin_folder, version="2:0.99")
    got = fetched(["openclipart"], tmp_path, notes)
    assert got.unpinned == ("openclipart",)
    assert notes.lines == [
        "openclipart-svg is of version 2:0.99, not 1:0.18+dfsg-19: the number of drawings of "
        "openclipart may differ"
    ]
