"""The directory of a zip file as PyTorch writes it, read so that the contents can be mapped.

Only what such files have is read: entries stored without compression, one directory, no comment,
the zip64 form for what exceeds 4 GB. (A TorchScript archive's source code is compressed; nobody
reads it.) The format: APPNOTE.TXT 6.3.10, sections 4.3 to 4.5. Nothing is extracted.
"""

import struct
from dataclasses import dataclass

from unclip.errors import CheckpointError, shown
from unclip.mapped import MAX_TENSORS, MappedFile

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR_64 = struct.Struct("<4sIQI")
DESCRIPTOR = b"PK\x07\x08"
IN_EXTRA = 0xFFFFFFFF
"""Instead of a size or offset: it stands in the zip64 extra field."""
ENCRYPTED, HAS_DESCRIPTOR = 1, 8
MAX_DIRECTORY_BYTES = 25_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in the zip, as the directory has it."""

    name: str
    flags: int
    method: int
    checksum: int
    packed_size: int
    size: int
    offset: int
    """Of its local header, which stands before its bytes."""


class ZipFile:
    """The entries of a zip file by name.

    Raises:
        CheckpointError: it is no whole zip file of the kind that PyTorch writes, or it names an
            entry twice, two entries at one place, or something outside of itself.
    """

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        try:
            count, start, stop = self._find_directory()
            entries = self._read_directory(file.read(start, stop), count)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise self._damaged("its directory cannot be read") from error
        self._check_places(entries, start)
        self.entries = {entry.name: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise self._damaged("it has two entries of one name")
        self._directory_start = start

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self.file.path} is damaged or incomplete: {why}")

    def _find_directory(self) -> tuple[int, int, int]:
        """The number of entries, and the bytes from which to which the directory stands."""
        end = len(self.file) - END.size
        signature, *_, count, size, start, comment = END.unpack(self._bytes(end, END.size))
        if signature != b"PK\x05\x06" or comment:
            raise self._damaged("no zip directory stands at its end")
        locator = self._bytes(end - LOCATOR_64.size, LOCATOR_64.size)
        if locator[:4] == b"PK\x06\x07":
            _, _, end, _ = LOCATOR_64.unpack(locator)
            signature, *_, count, size, start = END_64.unpack(self._bytes(end, END_64.size))
            if signature != b"PK\x06\x06":
                raise self._damaged("its zip64 directory is not where it should be")
        if start + size > end or size > MAX_DIRECTORY_BYTES or count > MAX_TENSORS:
            raise self._damaged(
                f"its directory would have {count} entries in {size} bytes from byte {start} on, "
                f"at most {MAX_TENSORS} in {MAX_DIRECTORY_BYTES} before byte {end}"
            )
        return count, start, start + size

    def _bytes(self, start: int, size: int) -> bytes:
        """Exactly `size` bytes."""
        found = self.file.read(start, start + size) if start >= 0 else b""
        if len(found) != size:
            raise ValueError("outside of the file")
        return found

    def _read_directory(self, directory: bytes, count: int) -> list[Entry]:
        entries, at = [], 0
        for _ in range(count):
            fields = CENTRAL.unpack_from(directory, at)
            signature, _, _, flags, method, _, _, checksum, packed, size = fields[:10]
            name_size, extra_size, comment_size, *_, offset = fields[10:]
            at += CENTRAL.size
            name = directory[at : at + name_size].decode("utf-8")
            extra = directory[at + name_size : at + name_size + extra_size]
            at += name_size + extra_size + comment_size
            if signature != b"PK\x01\x02" or at > len(directory):
                raise self._damaged("its directory breaks off")
            if _leads_elsewhere(name):
                raise CheckpointError(
                    f"{self.file.path} has an entry {shown(name)}, which is no name within a folder"
                )
            size, packed, offset = _widened([size, packed, offset], extra)
            entries.append(Entry(name, flags, method, checksum, packed, size, offset))
        if at != len(directory):
            raise self._damaged("its directory is longer than its entries")
        return entries

    def _check_places(self, entries: list[Entry], directory_start: int) -> None:
        """Refuses entries that share bytes, by which a small file would seem a large one."""
        ordered = sorted(entries, key=lambda entry: entry.offset)
        following = [entry.offset for entry in ordered[1:]] + [directory_start]
        for entry, limit in zip(ordered, following, strict=False):
            if entry.offset + LOCAL.size + entry.packed_size > limit:
                raise self._damaged(f"{shown(entry.name)} reaches into what follows it")

    def place(self, name: str) -> tuple[int, int] | None:
        """From which to which byte of the file an entry's contents stand; None if there is none.

        Raises:
            CheckpointError: it is compressed or encrypted, or what stands before or behind its
                contents is not what the directory says.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry.method or entry.flags & ENCRYPTED or entry.packed_size != entry.size:
            raise CheckpointError(
                f"{self.file.path} has {shown(name)} compressed or encrypted; PyTorch stores it as "
                "it is"
            )
        header = self.file.read(entry.offset, entry.offset + LOCAL.size)
        signature, *_, packed, size, name_size, extra_size = LOCAL.unpack(header)
        name_start = entry.offset + LOCAL.size
        start = name_start + name_size + extra_size
        stop = start + entry.size
        if (
            signature != b"PK\x03\x04"
            or self.file.read(name_start, name_start + name_size) != name.encode()
            # Zero: the sizes stand behind the contents, for a writer that streams.
            or not {packed, size} <= {0, IN_EXTRA, entry.size}
            or stop > self._directory_start
            or (entry.flags & HAS_DESCRIPTOR and self.file.read(stop, stop + 4) != DESCRIPTOR)
        ):
            raise self._damaged(f"{shown(name)} is not where the directory says")
        return start, stop


def _leads_elsewhere(name: str) -> bool:
    parts = name.split("/")
    return not name or "\\" in name or "\0" in name or not {"", ".", ".."}.isdisjoint(parts)


def _widened(numbers: list[int], extra: bytes) -> list[int]:
    """Fills in the sizes and offset that the 32-bit fields could not hold."""
    if IN_EXTRA not in numbers:
        return numbers
    while extra:
        kind, size = struct.unpack_from("<2H", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8]))
            return [next(wide, number) if number == IN_EXTRA else number for number in numbers]
    return numbers
