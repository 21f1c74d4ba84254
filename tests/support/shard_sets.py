"""Small sets of shards, and what a run would read of them."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (12, 10), kind: str = "JPEG") -> bytes:
    """A picture that differs from all others."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> None:
    """Writes samples, files by suffix, as img2dataset would."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, parts in samples.items():
            for suffix, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def good(number: int) -> dict[str, bytes]:
    """A sample as img2dataset writes it."""
    caption = f"picture {number}"
    about = {"caption": caption, "url": f"{number}.jpg", "status": "success"}
    return {
        "jpg": picture(number),
        "txt": caption.encode(),
        "json": json.dumps(about).encode(),
    }


def make_shards(root: Path, shards: int = 4, per_shard: int = 8) -> Path:
    """Writes shards of good samples, without an index."""
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        numbers = range(shard * per_shard, (shard + 1) * per_shard)
        samples = {f"{shard:05d}{n - numbers[0]:04d}": good(n) for n in numbers}
        write_tar(root / f"{shard:05d}.tar", samples)
    return root


def make_bad(root: Path) -> dict[tuple[str, str], int]:
    """Spoils some samples of four shards of eight; returns the faults by shard and reason.

    The last shard is cut off in the picture of its sixth sample.
    """
    html = b"<html><body>404 Not Found</body></html>"
    spoilt = {
        "000000001": {**good(1), "jpg": html},
        "000000004": {**good(4), "jpg": good(4)["jpg"][:200]},
        "000000006": {**good(6), "txt": b"caf\xe9"},
        "000000007": {**good(7), "txt": b" \n"},
    }
    samples = {f"00000{n:04d}": good(n) for n in range(8)} | spoilt
    write_tar(root / "00000.tar", samples)
    samples = {f"00001{n:04d}": good(8 + n) for n in range(8)}
    samples["000010002"] = {"txt": b"no picture"}
    samples["000010003"] = {"jpg": picture(11)}
    write_tar(root / "00001.tar", samples)
    last = root / "00003.tar"
    with tarfile.open(last) as tar:
        cut = tar.getmember("000030005.jpg").offset_data + 100
    last.write_bytes(last.read_bytes()[:cut])
    return {
        ("00000.tar", "no PNG, JPEG or WebP"): 1,
        ("00000.tar", "damaged picture"): 1,
        ("00000.tar", "caption is not UTF-8"): 1,
        ("00000.tar", "empty caption"): 1,
        ("00001.tar", "no picture"): 1,
        ("00001.tar", "no caption"): 1,
        ("00003.tar", "cut off or unreadable"): 1,
    }
