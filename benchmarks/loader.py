"""How many pictures a processor core makes ready for training, and where the time goes.

    python benchmarks/loader.py --out loader.json

JPEGs of 512 and 1024 pixels stand in a folder or in shards; each is read, decoded, resized to what
a stage trains on, turned into a tensor, and collated into a batch. `draft` decodes a JPEG near the
size that is needed (`unclip/data/samples.py`), `full` at its own size. One thread, and its
processor time: what else the machine does, or a slow disk, does not count. A record is in
`benchmarks/records/loader.json`.
"""

import argparse
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from unclip.data.samples import Whole, fit_square, open_picture, to_tensor
from unclip.data.shards.index import write_index
from unclip.data.shards.pictures import PICTURES, ShardPictures
from unclip.data.shards.sources import open_originals
from unclip.data.shards.write import write_shards

SOURCES_PX = (512, 1024)
SIZES_PX = (64, 256, 1024)
BATCH = 32
STEPS = ("read", "decode", "resize", "tensor", "collate")


@dataclass
class Row:
    """One way of making pictures ready."""

    source: str
    source_px: int
    size_px: int
    decode: str
    images_per_second: float
    seconds: dict[str, float]
    """By step, for a picture."""


def paint_photos(folder: Path, side: int, count: int) -> None:
    """Writes JPEGs that are about as hard to decode as photographs: noise on many scales, the
    finer the fainter."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = np.zeros((side, side, 3), np.float32)
        for cells, share in ((4, 0.5), (16, 0.25), (64, 0.15), (256, 0.1)):
            rough = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            smooth = rough.resize((side, side), Image.Resampling.BICUBIC)
            picture += share * np.asarray(smooth, np.float32)
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:04d}.jpg", quality=95)
        (folder / f"{number:04d}.txt").write_text(f"picture {number}")


def measure(
    read: Callable[[int], bytes], count: int, size_px: int, draft: bool
) -> dict[str, float]:
    """Makes `count` pictures ready; returns the seconds of each step for a picture."""
    spent: dict[str, float] = dict.fromkeys(STEPS, 0.0)
    batch = []
    clock = time.process_time
    for index in range(count):
        begun = clock()
        content = read(index)
        at_read = clock()
        image = open_picture(io.BytesIO(content), size_px if draft else None)
        at_decode = clock()
        image = fit_square(image, size_px)
        at_resize = clock()
        batch.append({"image": to_tensor(image), "caption": "", "index": index, "skipped": 0})
        at_tensor = clock()
        if len(batch) == BATCH:
            default_collate(batch)
            batch = []
        ended = clock()
        times = (begun, at_read, at_decode, at_resize, at_tensor, ended)
        for step, since, until in zip(STEPS, times, times[1:], strict=False):
            spent[step] += (until - since) / count
    return spent


def rows_of(place: Path, source_px: int, count: int, repeats: int) -> list[Row]:
    """Measures a folder and shards of pictures of one size."""
    folder, shards = place / f"{source_px}", place / f"{source_px}_shards"
    paint_photos(folder, source_px, count)
    originals = open_originals(str(folder), None)
    write_shards(originals, shards, size_px=None, per_shard=count, jobs=1, tell=lambda _: None)
    write_index(shards)
    files = sorted(folder.glob("*.jpg"))
    in_shards = ShardPictures(shards, Whole(64))

    def from_shards(index: int) -> bytes:
        parts = in_shards.parts(index)
        return next(parts[name] for name in PICTURES if name in parts)

    readers = {"folder": lambda index: files[index].read_bytes(), "shards": from_shards}
    rows = []
    for source, read in readers.items():
        for size_px in (size for size in SIZES_PX if size <= source_px):
            for draft in (False, True):
                # The fastest of several rounds: whatever else the machine does only slows.
                rounds = [measure(read, count, size_px, draft) for _ in range(repeats)]
                best = min(rounds, key=lambda spent: sum(spent.values()))
                rate = 1 / sum(best.values())
                decode = "draft" if draft else "full"
                rows.append(Row(source, source_px, size_px, decode, rate, best))
                print(line_of(rows[-1]), flush=True)
    return rows


def line_of(row: Row) -> str:
    """A row of the table."""
    shares = "  ".join(f"{1000 * row.seconds[step]:8.2f}" for step in STEPS)
    return (
        f"{row.source:7} {row.source_px:5} -> {row.size_px:4}  {row.decode:5} "
        f"{row.images_per_second:9.1f}  {shares}"
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Measures how fast pictures are made ready.")
    parser.add_argument("--num", type=int, default=128, help="pictures of each size")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the best counts")
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    names = "  ".join(f"{step:>8}" for step in STEPS)
    print(f"{'':7} {'pixels':>13}  {'':5} {'images/s':>9}  {names}   (ms a picture)")
    with tempfile.TemporaryDirectory() as place:
        rows = [
            row
            for source_px in SOURCES_PX
            for row in rows_of(Path(place), source_px, options.num, options.repeats)
        ]
    if options.out is not None:
        about = {
            # A busy machine takes more processor time for the same: caches are shared.
            "machine": {
                "processor": processor(),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[2], 1),
            },
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "images": options.num,
            "rows": [asdict(row) for row in rows],
        }
        options.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return 0


def processor() -> str:
    """What the system calls the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
