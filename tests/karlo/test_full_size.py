"""Karlo at its full size, with random float16 weights: what it takes to load, and one step a stage.

The folder is written a tensor at a time and deleted afterwards: 6.9 GB.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from full_karlo import BYTES, PARAMETERS, write_folder

pytestmark = pytest.mark.slow
NEEDED_DISK = 9e9
NEEDED_MEMORY = 12e9

CHILD = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore", UserWarning)
from unclip.pipeline.pipeline import UnCLIPPipeline

start = time.monotonic()
pipe = UnCLIPPipeline.from_pretrained(sys.argv[1])
loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
seconds = {"load": time.monotonic() - start}
count = sum(p.numel() for n in (pipe.clip, pipe.prior, pipe.decoder, *pipe.upsamplers)
            for p in (*n.parameters(), *n.buffers()))
start = time.monotonic()
made = pipe("a horse", seed=0, prior_num_inference_steps=1, num_inference_steps=1,
            super_res_num_inference_steps=1, output_type="pt")
seconds["one step a stage"] = time.monotonic() - start
print(json.dumps({"loaded": loaded, "dtype": str(pipe.dtype), "count": count, "sizes": pipe.sizes,
                  "shape": list(made.images.shape), "finite": bool(made.images.isfinite().all()),
                  "seconds": seconds,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def free_memory() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("MemAvailable:")]
    return int(line.split()[1]) * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    if not Path("/proc/meminfo").exists():
        pytest.skip("needs Linux's account of memory")
    if shutil.disk_usage(tmp_path).free < NEEDED_DISK:
        pytest.skip(f"needs {NEEDED_DISK / 1e9:.0f} GB of free disk")
    if free_memory() < NEEDED_MEMORY:
        pytest.skip(f"needs {NEEDED_MEMORY / 1e9:.0f} GB of free memory")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("needs a CPU with bfloat16 instructions: in float32 it takes twice the memory")
    place = tmp_path / "karlo"
    write_folder(place)
    yield place
    shutil.rmtree(place)


def test_it_loads_in_little_more_memory_than_its_size(folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert abs(size - BYTES) < 0.01 * BYTES
    child = [sys.executable, "-c", CHILD, str(folder)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(json.dumps(found | {"size": size, "loaded over size": found["loaded"] / size}))
    assert found["loaded"] <= 1.2 * size
    assert found["dtype"] == "torch.bfloat16"
    assert found["count"] == PARAMETERS + 1  # and CLIP's scale, which stands in no file
    assert found["sizes"] == [64, 256]
    assert (found["shape"], found["finite"]) == ([1, 3, 256, 256], True)
