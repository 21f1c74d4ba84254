"""The list of all files of the repository's packages that are no code: what each is, whose, and
under which licence (`BUNDLED.toml`).

    python -m unclip.provenance.bundled

renews the SHA-256 sums after files have changed; the groups are written by hand.
"""

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from unclip.errors import ConfigError, run_command

ROOT = Path(__file__).resolve().parents[2]
LIST = "BUNDLED.toml"
HOLDERS = ("unclip", "prior", "decoder", "upsamplers", "benchmarks/judge")
"""Folders whose files are listed: the wheel's packages, and the judge."""
CODE = (".py", ".yaml", "py.typed")
LICENCES = frozenset(("Apache-2.0", "MIT", "LicenseRef-WordNet-3.1"))
"""SPDX ids of what may be bundled; the last one's text is in THIRD_PARTY.md."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Files of one origin."""

    files: str
    """Pattern of paths; of several that match, the first group has the file."""
    spdx: tuple[str, ...]
    source: str
    """Who made it, of what, or where it is from."""
    third_party: tuple[str, ...] = ()
    """Names that THIRD_PARTY.md has a word of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """The list."""

    groups: tuple[Group, ...]
    sha256: Mapping[str, str]


def read_list(root: Path = ROOT) -> Bundle:
    """Reads the list of a clone.

    Raises:
        ConfigError: it is missing or has an entry of another form.
    """
    try:
        data = tomllib.loads((root / LIST).read_text(encoding="utf-8"))
        groups = tuple(
            Group(
                files=group["files"],
                spdx=tuple(group["spdx"]),
                source=group["source"],
                third_party=tuple(group.get("third_party", ())),
            )
            for group in data["group"]
        )
        return Bundle(groups=groups, sha256=data["sha256"])
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{root / LIST} cannot be read as the list: {error}") from error


def bundled_files(root: Path = ROOT) -> list[str]:
    """Returns what git tracks of the packages and the judge, and is no code.

    Raises:
        ConfigError: it is no clone.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", *HOLDERS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        raise ConfigError(f"{root} is no clone of the repository: the list is of a clone's files")
    names = filter(None, done.stdout.split("\0"))
    return sorted(name for name in names if not name.endswith(CODE))


def problems(bundle: Bundle, root: Path = ROOT) -> list[str]:
    """Says in a line each what is not listed, or not as the list has it."""
    files = bundled_files(root)
    found = [f"{name} is in no group" for name in files if _group(bundle, name) is None]
    found += [f"{name} has no sum" for name in files if name not in bundle.sha256]
    found += [f"{name} is listed, but not there" for name in bundle.sha256 if name not in files]
    both = [name for name in files if name in bundle.sha256]
    found += [f"{n} has another sum" for n in both if _sum(root / n) != bundle.sha256[n]]
    told = (root / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for group in bundle.groups:
        found += [f"{group.files}: {i} is no licence to bundle" for i in set(group.spdx) - LICENCES]
        missing = [name for name in group.third_party if name not in told]
        found += [f"{group.files}: THIRD_PARTY.md has no word of {name}" for name in missing]
        used = any(_group(bundle, name) is group for name in files)
        found += [] if used else [f"{group.files}: no file is of this group"]
    return found


def renew(root: Path = ROOT) -> int:
    """Writes the sums anew; returns their number.

    Raises:
        ConfigError: the list is missing or damaged, or it is no clone.
    """
    read_list(root)
    files = bundled_files(root)
    head = (root / LIST).read_text(encoding="utf-8").partition("[sha256]")[0]
    lines = [f'"{name}" = "{_sum(root / name)}"' for name in files]
    (root / LIST).write_text(head + "\n".join(["[sha256]", *lines, ""]), encoding="utf-8")
    return len(files)


def _group(bundle: Bundle, name: str) -> Group | None:
    return next((group for group in bundle.groups if fnmatchcase(name, group.files)), None)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""

    def work() -> str:
        if argv:
            raise ConfigError(f"got {' '.join(argv)}, expected no arguments")
        count = renew()
        left = problems(read_list())
        if left:
            raise ConfigError("; ".join(left))
        return f"{count} files in {LIST}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
