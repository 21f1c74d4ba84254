"""The apt client: packages of the Debian release at hand, unpacked and not installed.

Its lists are kept in the cache, so that nothing of the system is changed and no rights are needed.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from unclip.data.drawings.files import read_json, unwritable
from unclip.data.drawings.packages import DebianPackage
from unclip.data.drawings.parts import unfinished
from unclip.errors import BackendError, DataError

GOT = "unclip-got.json"
"""Beside what is unpacked: the version that the release has."""


def fetch(package: DebianPackage, cache: Path) -> str:
    """Downloads and unpacks a package into the cache if it is not there; returns its version.

    Raises:
        BackendError: apt-get or dpkg-deb is not installed.
        DataError: they fail, or the pinned version has another hash.
        InputError: the cache cannot be written.
    """
    final = package.folder(cache)
    if final.is_dir():
        return str(read_json(final / GOT, remedy=final)["version"])
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise BackendError(
                f"{command} is not installed, which fetches {package.name} (a Debian or Ubuntu "
                "system has it)"
            )
    try:
        with unfinished(final) as part:
            return _fetch(package, part)
    except OSError as error:
        raise unwritable(cache, error) from error


def _fetch(package: DebianPackage, part: Path) -> str:
    work = part / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (work / folder).mkdir(parents=True)
    settings = (f"Dir::State::Lists={work / 'lists'}", f"Dir::Cache={work}")
    options = [word for setting in settings for word in ("-o", setting)]
    options += ["-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1", "-o", "Acquire::Retries=2"]
    _run(("apt-get", "-qq", *options, "update"), work, package)
    _run(("apt-get", "-qq", *options, "download", package.name), work, package)
    files = list(work.glob("*.deb"))
    if len(files) != 1:
        raise DataError(f"apt-get downloaded {len(files)} files for {package.name}, expected one")
    version = _run(("dpkg-deb", "--field", str(files[0]), "Version"), work, package).strip()
    _verify(package, version, files[0])
    _run(("dpkg-deb", "--extract", str(files[0]), str(part)), work, package)
    shutil.rmtree(work)
    (part / GOT).write_text(f'{{"version": "{version}"}}\n')
    return version


def _verify(package: DebianPackage, version: str, file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if version == package.version and digest != package.sha256:
        raise DataError(
            f"{package.name} {version} has the SHA-256 {digest}, expected {package.sha256}: "
            "nothing of it is used"
        )


def _run(command: Sequence[str], folder: Path, package: DebianPackage) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        errors = re.findall(r"^E: (.+)$", done.stderr, re.MULTILINE)
        errors = errors or done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise DataError(
            f"{command[0]} could not fetch {package.name}: {errors[0][:200]}; check the network, "
            "and that the release has it"
        )
    return done.stdout
