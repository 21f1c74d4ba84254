"""Writes the pocket world as an ordinary folder of captioned pictures.

    python -m unclip.data.world --out runs/pocket/world/64 --num 20000 --size 64
    python -m unclip.data.world --out runs/pocket/world/1024 --num 1000 --size 1024 --tile 320

A scene is a pure function of (seed, index), so the folder does not depend on how many processes
write it. `metadata.jsonl` comes last: a folder without it is unfinished, and the same command goes
on with it. `world.json` says what the folder holds, so that no other command goes on with it.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from unclip.data.scenes import captions, describe, paint
from unclip.errors import ConfigError, run_command

TILES_PER_SCENE = 4
BLANK_STD = 4.0
"""A tile whose grey levels (of 255) vary less than this shows nothing and is left out."""
SCENES_PER_TASK = 32
SIZES_PX = (64, 1024)
"""Smallest and largest side of a scene."""


def write_world(
    out: Path, *, num: int, size_px: int, tile_px: int | None, seed: int, jobs: int
) -> int:
    """Writes scenes 0 to num - 1, whole or as random tiles; returns the number of pictures.

    Raises:
        ConfigError: a number is out of range, or the folder holds something else.
    """
    for name, value, low, high in (
        ("num", num, 1, None),
        ("jobs", jobs, 1, None),
        ("seed", seed, 0, None),
        ("size", size_px, *SIZES_PX),
    ):
        if value < low or (high is not None and value > high):
            limits = f"{low} to {high}" if high is not None else f"{low} or more"
            raise ConfigError(f"--{name} {value} cannot be used: choose {limits}")
    if tile_px is not None and not 0 < tile_px <= size_px:
        raise ConfigError(
            f"--tile {tile_px} does not fit into --size {size_px}: choose 1 to {size_px}"
        )
    _claim(out, {"size": size_px, "tile": tile_px, "seed": seed})
    (out / "metadata.jsonl").unlink(missing_ok=True)
    starts = range(0, num, SCENES_PER_TASK)
    task = partial(_write_scenes, out=out, num=num, size_px=size_px, tile_px=tile_px, seed=seed)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        records = [record for part in pool.map(task, starts) for record in part]
    partial_file = out / "metadata.jsonl.partial"
    partial_file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    os.replace(partial_file, out / "metadata.jsonl")
    return len(records)


def _claim(out: Path, settings: dict[str, int | None]) -> None:
    """Notes what the folder is to hold; kept pictures must not get another world's captions."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    file = out / "world.json"
    if file.is_file():
        held = json.loads(file.read_text("utf-8"))
        if held != settings:
            raise ConfigError(f"{out} holds {held}, not {settings}: choose another --out")
    elif any((out / "images").iterdir()):
        raise ConfigError(f"{out} holds pictures of unknown settings: choose another --out")
    else:
        file.write_text(json.dumps(settings) + "\n", "utf-8")


def _write_scenes(
    start: int, *, out: Path, num: int, size_px: int, tile_px: int | None, seed: int
) -> list[dict]:
    """Writes one task's scenes; a picture that is there already is kept."""
    records = []
    for scene_index in range(start, min(start + SCENES_PER_TASK, num)):
        scene = describe(scene_index, seed)
        names = {"captions": captions(scene), "thing": scene.thing, "style": scene.style}
        if tile_px is None:
            file = f"images/{scene_index:06d}.png"
            if not (out / file).exists():
                _save(paint(scene, size_px), out / file)
            records.append({"file_name": file, **names})
            continue
        rng = np.random.default_rng([seed, scene_index, size_px])
        for number, tile in enumerate(_tiles(paint(scene, size_px), tile_px, rng)):
            file = f"images/{scene_index:06d}-{number}.png"
            _save(tile, out / file)
            records.append({"file_name": file, **names})
    return records


def _tiles(image: Image.Image, tile_px: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Cuts random squares, leaving blank ones out."""
    for _ in range(TILES_PER_SCENE):
        left, top = (int(rng.integers(side - tile_px + 1)) for side in image.size)
        tile = image.crop((left, top, left + tile_px, top + tile_px))
        if np.asarray(tile.convert("L")).std() >= BLANK_STD:
            yield tile


def _save(image: Image.Image, path: Path) -> None:
    partial_file = path.with_suffix(".partial")
    image.save(partial_file, "PNG", compress_level=4)
    os.replace(partial_file, path)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.data.world")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--num", type=int, default=20_000, help="number of scenes")
    parser.add_argument("--size", type=int, default=64, help="side of a scene in pixels")
    parser.add_argument(
        "--tile", type=int, help="write random squares of this side instead of scenes"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args(argv)

    def work() -> str:
        count = write_world(
            options.out,
            num=options.num,
            size_px=options.size,
            tile_px=options.tile,
            seed=options.seed,
            jobs=options.jobs,
        )
        return f"{count} pictures in {options.out}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
