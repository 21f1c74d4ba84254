"""How long a picture of a model takes, stage by stage, for the qualities.

    python benchmarks/picture_time.py MODEL [--quality draft standard]

MODEL is a folder, a hub id or `pocket`. Times are the process's CPU seconds and those of the clock;
the first quality also pays for what is read and packed only once.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from unclip.pipeline.pipeline import UnCLIPPipeline

PROMPT = "a horse in the snow, oil painting"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--quality", nargs="+", default=["draft", "standard"])
    options = parser.parse_args(arguments)

    warnings.simplefilter("ignore", UserWarning)  # that a CPU computes float16 in bfloat16
    pipe = UnCLIPPipeline.from_pretrained(options.model)
    threads = torch.get_num_threads()
    print(f"{pipe.record.name}, {pipe.dtype} on {pipe.device}, {threads} thread(s)")
    for quality in options.quality:
        ends: dict[str, float] = {}

        def look(
            _pipe: object, _step: int, _t: int, seen: dict[str, Any], ends: dict[str, float] = ends
        ) -> None:
            ends[seen["stage"]] = time.process_time()

        start, clock = time.process_time(), time.monotonic()
        pipe(PROMPT, seed=0, quality=quality, output_type="pt", callback_on_step_end=look)
        total, clock = time.process_time() - start, time.monotonic() - clock
        parts = []
        for stage, end in ends.items():
            parts.append(f"{stage} {end - start:.1f}")
            start = end
        print(f"{quality}: {total:.1f} CPU seconds ({clock:.1f} s): {', '.join(parts)}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
