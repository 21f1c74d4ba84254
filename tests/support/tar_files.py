"""Small WebDataset tars."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def picture(number: int, kind: str = "PNG") -> bytes:
    """A picture of its own."""
    image = Image.new("RGB", (24, 20), (number * 37 % 256, number * 91 % 256, number * 53 % 256))
    image.paste((255, 255, 255), (number % 16, number % 12, number % 16 + 5, number % 12 + 5))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a tar with these files in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def write_shards(folder: Path, counts: list[int]) -> list[Path]:
    """Writes 00000.tar and so on with so many good samples each; keys count through all."""
    shards, number = [], 0
    for place, count in enumerate(counts):
        files = {}
        for _ in range(count):
            key = f"{number:08d}"
            files |= {f"{key}.png": picture(number), f"{key}.txt": f"picture {number}".encode()}
            number += 1
        shards.append(write_tar(folder / f"{place:05d}.tar", files))
    return shards
