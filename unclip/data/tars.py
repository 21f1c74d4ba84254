"""Captioned pictures in WebDataset tars (img2dataset's layout), read once from front to back.

A sample is the neighbouring files of one key: KEY.jpg (.jpeg, .png, .webp) and its captions in
KEY.json or KEY.txt. What cannot be used is skipped and counted by its reason. This is for passes
over all samples in their order; training reads shards in another way.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unclip.data.images import SUFFIXES, captions_of
from unclip.data.samples import MAX_SKIPPED, MIN_SEEN, Unusable
from unclip.errors import DataError


class RawSample(NamedTuple):
    """A picture that is not decoded yet, and what it shows."""

    key: str
    image: bytes | Path
    captions: tuple[str, ...]


class Skips:
    """Samples seen, and those that could not be used, by reason."""

    def __init__(self) -> None:
        self.seen = 0
        self.reasons: Counter[str] = Counter()

    def good(self) -> None:
        """Counts a sample that is used."""
        self.seen += 1

    def bad(self, reason: str, what: str) -> None:
        """Counts a sample that cannot be used.

        Raises:
            DataError: more than 5 % of them, once there were 1,000.
        """
        self.seen += 1
        self.reasons[reason] += 1
        total = self.reasons.total()
        if self.seen >= MIN_SEEN and total > MAX_SKIPPED * self.seen:
            raise DataError(
                f"{total} of {self.seen} samples cannot be used ({told(self.reasons)}; the last is "
                f"{what}), at most {MAX_SKIPPED:.0%} are skipped: mend the data"
            )


def told(reasons: Counter[str]) -> str:
    """What was skipped, the most frequent reason first."""
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())


def read_tar(path: Path, skips: Skips) -> Iterator[RawSample]:
    """Reads a shard's samples in their order; those that lack a part are skipped.

    Raises:
        DataError: the file is no tar, is cut off or damaged, or `skips` has enough.
    """
    key, parts = "", {}
    for name, content in _members(path):
        folder, slash, base = name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if parts and folder + slash + stem != key:
            yield from _sample(key, parts, skips)
            parts = {}
        key = folder + slash + stem
        parts[suffix.lower()] = content
    if parts:
        yield from _sample(key, parts, skips)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None:
                        yield member.name, content.read()
                end = tar.offset
            # tarfile takes a header that it cannot read for the end of the archive.
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"no header at byte {end}")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}): get it again or remove it") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _sample(key: str, parts: dict[str, bytes], skips: Skips) -> Iterator[RawSample]:
    image = next((parts[s] for s in parts if f".{s}" in SUFFIXES), None)
    if image is None:
        skips.bad("no picture", key)
        return
    try:
        captions = captions_in(parts)
    except Unusable as fault:
        skips.bad(fault.reason, key)
        return
    yield RawSample(key, image, captions)


def captions_in(parts: dict[str, bytes]) -> tuple[str, ...]:
    """The captions of a sample.

    Raises:
        Unusable: it has none, or they are not to be read.
    """
    about: Any = {}
    if "json" in parts:
        try:
            about = json.loads(parts["json"].decode("utf-8-sig"))
        except ValueError as error:
            if "txt" not in parts:
                raise Unusable("caption is not JSON") from error
    about = about if isinstance(about, dict) else {}
    if isinstance(about.get("captions"), list) and (several := captions_of(about)):
        return several
    if "txt" not in parts:
        if found := captions_of(about):
            return found
        raise Unusable("no caption")
    try:
        caption = " ".join(parts["txt"].decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise Unusable("caption is not UTF-8") from error
    if not caption:
        raise Unusable("empty caption")
    return (caption,)
