"""What is rendered already: a line a picture, so that a build that was stopped goes on."""

import json
import zlib
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unclip.data.drawings.files import unwritable, write_whole

JOURNAL = ".rendered.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A rendered drawing, or the reason why there is none."""

    id: str
    origin: str
    """Hash of what it was rendered from and with; another one is rendered anew."""
    unfit: str | None = None
    """Why it was left out."""
    copy_of: str | None = None
    """The earlier drawing that it looks like; a copy's files are not kept."""
    webp: int = 0
    """CRC-32 of the file."""
    svg: int | None = None
    """CRC-32 of the file; None if there is none."""
    colors: tuple[tuple[str, float], ...] = ()
    coverage: float = 0.0
    look: str = ""


class Journal:
    """The lines of a folder; the last one may be torn, where a process was killed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._entries: dict[str, Entry] = {}
        if self._path.is_file():
            for line in self._path.read_bytes().split(b"\n"):
                entry = _parse(line)
                if entry is not None:
                    self._entries[entry.id] = entry

    def finished(
        self, drawing: str, origin: str, files: Iterable[Path], before: Container[str]
    ) -> Entry | None:
        """The entry of a drawing whose files are whole; None if it must be rendered.

        Args:
            files: the WebP and the SVG that it should have.
            before: earlier drawings that are finished; a copy needs no files if it is of them.
        """
        entry = self._entries.get(drawing)
        if entry is None or entry.origin != origin:
            return None
        if entry.copy_of is not None:
            return entry if entry.copy_of in before else None
        if entry.unfit is None:
            sums = (entry.webp, entry.svg)
            for path, expected in zip(files, sums, strict=True):
                if expected is not None and checksum_of(path) != expected:
                    return None
        return entry

    def add(self, entries: Iterable[Entry]) -> None:
        """Appends entries.

        Raises:
            InputError: they cannot be written.
        """
        try:
            with self._path.open("ab+") as file:
                # After a torn line, which would swallow the next one.
                if file.tell() and not _ends_with_newline(file):
                    file.write(b"\n")
                file.write(_lines(entries))
        except OSError as error:
            raise unwritable(self._path, error) from error

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replaces all lines.

        Raises:
            InputError: they cannot be written.
        """
        write_whole(self._path, _lines(entries))


def _lines(entries: Iterable[Entry]) -> bytes:
    return "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode()


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"


def checksum(content: bytes) -> int:
    """CRC-32: finds damage, not malice."""
    return zlib.crc32(content)


def checksum_of(path: Path) -> int | None:
    """The checksum of a file; None if it cannot be read."""
    try:
        return checksum(path.read_bytes())
    except OSError:
        return None


def _parse(line: bytes) -> Entry | None:
    try:
        row = json.loads(line)
        row["colors"] = tuple((str(name), float(share)) for name, share in row["colors"])
        return Entry(**row)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
