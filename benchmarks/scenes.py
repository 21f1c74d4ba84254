"""How many scenes a second are described and painted, by kind and by size, on each device here.

    python benchmarks/scenes.py --set DIR [--runs 5] [--batch 256] [--json FILE]

A decoder must never wait for its pictures: `docs/pocket.md` says how many a second it trains on.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from unclip.data.composer.dataset import open_scenes
from unclip.data.composer.painter import Painter, to_batch, to_row
from unclip.data.composer.scene import KINDS
from unclip.data.composer.world import KindShares, World, WorldSettings

DESCRIBED = 512


def rates(work: Callable[[], int], runs: int, device: torch.device) -> list[float]:
    """Scenes a second of each run; the first, which warms up, is left out."""
    found = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        count = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(count / (time.perf_counter() - start))
    return found[1:]


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, required=True, help="the built set of drawings")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    options = parser.parse_args()
    world, sprites = open_scenes(options.set, WorldSettings(), seed=0, side_px=96)
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()

    results: dict[str, list[float]] = {}
    described = [world.describe(i) for i in range(options.batch)]

    def describe() -> int:
        for i in range(DESCRIBED):
            to_row(world.describe(i))
        return DESCRIBED

    results["described, one process"] = rates(describe, options.runs, torch.device("cpu"))
    worlds = {"mix": described}
    for kind in KINDS:
        shares = KindShares(**{name: float(name == kind) for name in KINDS})
        alone = World(world.catalogue, sprites, WorldSettings(kinds=shares))
        worlds[kind] = [alone.describe(i) for i in range(options.batch)]
    for name in devices:
        device = torch.device(name)
        for size in (64, 256):
            painter = Painter(sprites.to(device), size)
            for kind, scenes in worlds.items():
                batch = to_batch(scenes[: options.batch * 64 // size])

                def paint(painter: Painter = painter, batch: dict = batch) -> int:
                    return len(painter.paint_batch(batch))

                label = f"{name}, {size} px, {kind}"
                results[label] = rates(paint, options.runs, device)

    print(f"{'scenes/s':28}{'least':>9}{'median':>9}   of {options.runs} runs")
    for label, found in results.items():
        print(f"{label:28}{min(found):9.0f}{statistics.median(found):9.0f}")
    about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    about |= {"machine": platform.machine(), "batch": options.batch, "drawings": len(sprites.seat)}
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        content = json.dumps({"about": about, "runs": results}, indent=1)
        options.json.write_text(content + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
