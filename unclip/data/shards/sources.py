"""What shards are written from: a folder of captioned pictures, or scenes of the pocket world."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unclip.data.images import Record, read_folder
from unclip.errors import ConfigError

SCENES = "scenes:"
SCENE_PX = 256
SCENES_PX = (64, 1024)
"""Smallest and largest side of a scene."""


@dataclass(frozen=True)
class Original:
    """A captioned picture, not read yet or already painted."""

    name: str
    captions: tuple[str, ...]
    path: Path | None = None
    content: bytes | None = None

    def read(self) -> bytes:
        """The picture's file.

        Raises:
            OSError: it cannot be read.
        """
        if self.content is not None:
            return self.content
        assert self.path is not None, "a picture has a path or a content"
        return self.path.read_bytes()


@runtime_checkable
class Pictures(Protocol):
    """Captioned pictures in a fixed order."""

    def __len__(self) -> int: ...

    def original(self, index: int) -> Original:
        """A picture by its number."""
        ...

    def part(self, start: int, stop: int) -> "Pictures":
        """Those from `start` to before `stop`, or to the end: what one process needs to know."""
        ...

    def about(self) -> dict[str, Any]:
        """What tells these pictures from others."""
        ...


class FolderOriginals:
    """The pictures of a folder, as their files are."""

    def __init__(self, root: Path, records: list[Record]) -> None:
        self.root, self.records = root, records

    def __len__(self) -> int:
        return len(self.records)

    def original(self, index: int) -> Original:
        """A picture's file, named by its place in the folder."""
        record = self.records[index]
        return Original(self._name(record), record.captions, path=record.path)

    def part(self, start: int, stop: int) -> "FolderOriginals":
        """Some of the pictures."""
        return FolderOriginals(self.root, self.records[start:stop])

    def about(self) -> dict[str, Any]:
        """The number of pictures, and a hash of all names and captions."""
        said = [[self._name(record), record.captions] for record in self.records]
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
        return {"source": "a folder", "pictures": len(self), "names_and_captions": digest}

    def _name(self, record: Record) -> str:
        return record.path.relative_to(self.root).as_posix()


class SceneOriginals:
    """Scenes of the pocket world (`unclip.data.scenes`), painted as PNG."""

    def __init__(self, scenes: range, size_px: int) -> None:
        self.scenes, self.size_px = scenes, size_px

    def __len__(self) -> int:
        return len(self.scenes)

    def original(self, index: int) -> Original:
        """Paints a scene."""
        from unclip.data.scenes import captions, describe, paint  # reads the drawings

        number, file = self.scenes[index], io.BytesIO()
        scene = describe(number)
        paint(scene, self.size_px).save(file, "PNG")
        return Original(f"scene_{number:06d}.png", tuple(captions(scene)), content=file.getvalue())

    def part(self, start: int, stop: int) -> "SceneOriginals":
        """Some of the scenes."""
        return SceneOriginals(self.scenes[start:stop], self.size_px)

    def about(self) -> dict[str, Any]:
        """The number of scenes and their size."""
        return {"source": "scenes", "pictures": len(self), "side": self.size_px}


def open_originals(source: str, size_px: int | None) -> Pictures:
    """Opens a folder, or `scenes:NUM` for so many scenes.

    Raises:
        ConfigError: the number or the size of scenes cannot be used.
        DataError: the folder cannot be read.
    """
    if not source.startswith(SCENES):
        return FolderOriginals(Path(source), read_folder(source))
    number, side = source.removeprefix(SCENES), size_px or SCENE_PX
    if not number.isdigit() or not int(number):
        raise ConfigError(f"{source!r} names no number of scenes: write scenes:1000, say")
    if not SCENES_PX[0] <= side <= SCENES_PX[1]:
        raise ConfigError(
            f"--size {side} is no size of a scene: choose {SCENES_PX[0]} to {SCENES_PX[1]}"
        )
    return SceneOriginals(range(int(number)), side)
