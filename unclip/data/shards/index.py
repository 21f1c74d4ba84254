"""The index of a folder of shards: energon's `.nv-meta`, made by energon's own preparation.

Beside each `00000.tar` stands `00000.tar.idx` with the place of every sample; `.nv-meta` counts
them. energon alone gives up on a whole set where one tar is cut off. Here what can be read of it is
indexed, and the rest is told.
"""

import contextlib
import io
import json
import logging
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unclip.errors import BackendError, DataError, first_ten

META = ".nv-meta"
INFO = f"{META}/.info.json"
LEFT_OUT = f"{META}/left_out.json"
"""Tars that `unclip data index` could read nothing of."""
READABLE = (tarfile.TarError, OSError, ValueError, EOFError, struct.error)
"""What Python's and energon's tar readers raise on a damaged shard."""


@dataclass
class Indexed:
    """What an index holds."""

    shards: int = 0
    samples: int = 0
    cut_off: list[str] = field(default_factory=list)
    """Shards that end before their time, with the number of samples that are left."""
    unreadable: list[str] = field(default_factory=list)
    """Shards that were left out: nothing in them can be read."""

    def warnings(self) -> list[str]:
        """What the user should know, a line each."""
        lines = []
        if self.cut_off:
            lines.append(f"cut off, the rest is lost: {first_ten(self.cut_off)}")
        if self.unreadable:
            lines.append(f"left out, nothing can be read: {first_ten(self.unreadable)}")
        return lines


def is_shards(root: Path) -> bool:
    """Says whether a folder holds shards, and not loose pictures."""
    return (root / META).is_dir() or any(root.glob("*.tar"))


def shard_names(root: Path) -> list[str]:
    """Lists the tars of a folder, in order."""
    return sorted(path.name for path in root.glob("*.tar"))


def energon() -> Any:
    """Imports energon.

    Raises:
        BackendError: it is not installed.
    """
    try:
        import megatron.energon
    except ImportError as error:
        raise BackendError(
            f"image shards need megatron-energon ({error}): pip install 'unclip[train]'"
        ) from error
    return megatron.energon


def write_index(root: Path, jobs: int = 1) -> Indexed:
    """Writes or renews the index of all `*.tar` in a folder.

    Raises:
        DataError: there are no shards, none can be read, two samples have the same name, or the
            folder cannot be written.
        BackendError: energon is not installed.
    """
    energon()
    from unclip.data.shards.preparation import prepare

    if not root.is_dir():
        raise DataError(f"{root} is no folder of shards")
    names = shard_names(root)
    if not names:
        raise DataError(f"{root} has no shards: expected files like 00000.tar")
    indexed = Indexed()
    good = []
    for name in names:
        (good if _begins_well(root / name) else indexed.unreadable).append(name)
    if not good:
        raise DataError(f"{root}: none of {len(names)} shards can be read, expected plain tars")
    said = io.StringIO()
    log = logging.getLogger("megatron.energon")
    level = log.level
    log.setLevel(logging.CRITICAL)  # a damaged shard is told by us, in one line
    try:
        with contextlib.redirect_stdout(said):
            prepare(root, good, jobs)
        (root / LEFT_OUT).write_text(json.dumps(indexed.unreadable) + "\n", encoding="utf-8")
    except SystemExit as error:
        key = said.getvalue().partition('key: "')[2].partition('"')[0]
        raise DataError(
            f"{root}: two samples are named {key!r}, expected names that differ over all shards: "
            f"run energon prepare --fix-duplicates {root}, or rename them"
        ) from error
    except OSError as error:
        raise DataError(f"cannot write the index of {root}: {error.strerror or error}") from error
    finally:
        log.setLevel(level)
    counts = read_counts(root)
    indexed.shards, indexed.samples = len(counts), sum(counts.values())
    for name, count in counts.items():
        if _last_offset(root / name) >= (root / name).stat().st_size:
            indexed.cut_off.append(f"{name} after {count} samples")
    return indexed


def read_counts(root: Path) -> dict[str, int]:
    """Returns the number of samples by shard, as the index has them.

    Raises:
        DataError: there is no index, it is damaged, or it does not fit the shards that are there.
    """
    path = root / INFO
    remedy = f"run: unclip data index {root}"
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))["shard_counts"]
        counts = {str(name): int(count) for name, count in counts.items()}
    except FileNotFoundError as error:
        raise DataError(f"{root} has shards without an index: {remedy}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no index of shards: {remedy}") from error
    outside = [name for name in counts if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise DataError(f"{path} names {outside[0]!r}, which lies outside the folder: {remedy}")
    there = {entry.name for entry in os.scandir(root)}
    there |= {name for name in counts if "/" in name and (root / name).is_file()}
    absent = [name for name in counts if name not in there]
    absent += [f"{name}.idx" for name in counts if "/" not in name and f"{name}.idx" not in there]
    if absent:
        raise DataError(f"{root}: the index names what is not there, {first_ten(absent)}: {remedy}")
    more = {name for name in there if name.endswith(".tar")} - counts.keys() - _left_out(root)
    if more:
        raise DataError(f"{root}: not in the index, {first_ten(sorted(more))}: {remedy}")
    return counts


def _left_out(root: Path) -> set[str]:
    with contextlib.suppress(OSError, ValueError):
        return set(json.loads((root / LEFT_OUT).read_text(encoding="utf-8")))
    return set()


def _begins_well(path: Path) -> bool:
    """Says whether a tar has a first member."""
    try:
        with tarfile.open(path, "r:") as tar:
            return tar.next() is not None
    except READABLE:
        return False


def _last_offset(path: Path) -> int:
    with (path.parent / f"{path.name}.idx").open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return struct.unpack("<Q", file.read(8))[0]


def readable_offsets(path: Path, key_of: Callable[[tarfile.TarInfo], str | None]) -> Iterator[int]:
    """Yields where each sample of a cut-off tar begins, then where the last one ends."""
    before = None
    with contextlib.suppress(*READABLE), tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            key = key_of(member)
            if key is not None and key != before:
                before = key
                yield member.offset
    yield path.stat().st_size
