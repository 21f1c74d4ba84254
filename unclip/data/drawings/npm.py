"""The npm client: one pinned package a folder; its hash is compared with the pinned one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from unclip.data.drawings.files import read_json, unwritable
from unclip.data.drawings.packages import NpmPackage
from unclip.data.drawings.parts import unfinished
from unclip.errors import BackendError, DataError

INSTALL = (
    *("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"),
    *("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
)
"""No script of a package is ever run."""


def fetch(package: NpmPackage, cache: Path) -> None:
    """Installs a package into the cache if it is not there.

    Raises:
        BackendError: npm is not installed.
        DataError: npm fails, or what it got has another hash.
        InputError: the cache cannot be written.
    """
    final = package.root(cache)
    if final.is_dir():
        return
    if shutil.which("npm") is None:
        raise BackendError(
            f"npm is not installed, which fetches {package.name}: install Node.js with npm, "
            "on Debian by apt-get install npm"
        )
    try:
        with unfinished(final) as part:
            _install(package, part)
            _verify(package, part)
    except OSError as error:
        raise unwritable(cache, error) from error


def _install(package: NpmPackage, part: Path) -> None:
    wanted = {"private": True, "dependencies": {package.name: package.version}}
    (part / "package.json").write_text(json.dumps(wanted))
    done = subprocess.run(
        INSTALL, cwd=part, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise DataError(
            f"npm could not fetch {package.name}@{package.version}: {reason(done.stderr)}; check "
            "the network and the disk, and run again"
        )


def _verify(package: NpmPackage, part: Path) -> None:
    """Compares the lock file that npm wrote with the pinned version and hash."""
    lock = read_json(part / "package-lock.json", remedy=part)
    try:
        got = lock["packages"][f"node_modules/{package.name}"]
        version, integrity = got["version"], got["integrity"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"npm's lock file does not name {package.name}: expected npm 7 or later"
        ) from error
    for what, has, pinned in (
        ("version", version, package.version),
        ("integrity", integrity, package.integrity),
    ):
        if has != pinned:
            raise DataError(
                f"npm fetched {package.name} with the {what} {has}, expected {pinned}: it is not "
                "the package that this version of unclip was made with; nothing of it is used"
            )


def reason(output: str) -> str:
    """The code and the first line of what npm says went wrong."""
    lines = re.findall(r"^npm (?:error|ERR!) (.+)$", output, re.MULTILINE)
    codes = [line.split()[1] for line in lines if re.match(r"code \S", line)]
    texts = [line for line in lines if not re.match(r"(code|errno|syscall|path|dest) ", line)]
    found = [*codes[:1], *texts[:1]] or output.strip().splitlines()[-1:] or ["it says nothing"]
    return ", ".join(found)[:200]
