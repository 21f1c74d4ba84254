"""Whether a device's pictures are right: what a CPU's tests cannot see of CUDA."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.speed.compare import MAX_ERROR, MIN_PSNR, compare
from benchmarks.speed.engine import DTYPES, Dtype, Task, choose_device, prompts
from benchmarks.speed.machine import ROOT, machine, versions
from benchmarks.speed.ours import load_exact, load_low_memory
from benchmarks.speed.peers import load_plain
from benchmarks.speed.shapes import find_shape
from benchmarks.speed.weights import write_weights
from unclip.errors import NumericalError
from unclip.nn.attention import attention_backend

BATCH = 2
SEED = 7
LARGE = "karlo"
"""The shape of which the memory is counted."""
MOST_BYTES = 4e9
TEST_PACKAGES = ("pytest", "pytest_timeout", "beartype", "jaxtyping", "hypothesis")


class LeftOut(Exception):
    """A check that cannot be made here; says why."""


class Outcome(NamedTuple):
    """A check's row."""

    name: str
    verdict: str
    """`ok`, `FAILED` or `left out`."""
    detail: str
    seconds: float


class Bench:
    """The model, the pictures that all are held against, and the device."""

    def __init__(self, folder: Path, shape_name: str, device: torch.device) -> None:
        self.folder, self.device = folder, device
        steps = find_shape(shape_name).steps
        self.task = Task(prompts=prompts(0, BATCH), seed=SEED, steps=steps)
        self.other = Task(prompts=prompts(3, BATCH), seed=SEED + 1, steps=steps)
        self.reference = self.paint(torch.device("cpu"), "float32")

    def paint(self, device: torch.device, dtype: Dtype) -> np.ndarray:
        """Makes the pictures."""
        return load_exact(self.folder, device, DTYPES[dtype]).paint(self.task, lambda: None)

    def hold(self, images: np.ndarray, dtype: Dtype) -> str:
        """Compares with the reference; returns the numbers.

        Raises:
            NumericalError: they are too far apart.
        """
        return agree(images, self.reference, dtype)


def agree(images: np.ndarray, reference: np.ndarray, dtype: Dtype) -> str:
    """Compares pictures; returns the numbers.

    Raises:
        NumericalError: they are too far apart.
    """
    found = compare(images, reference, dtype)
    numbers = f"relative distance {found.error:.1e}, {found.psnr:.1f} dB"
    if not found.equal:
        wanted = f"below {MAX_ERROR:g}" if dtype == "float32" else f"above {MIN_PSNR:g} dB"
        raise NumericalError(f"{numbers}, expected {wanted}")
    return numbers


def precision(dtype: Dtype) -> Callable[[Bench], str]:
    """Returns the check of a precision against the CPU in float32."""

    def check(bench: Bench) -> str:
        if bench.device.type == "cpu" and dtype == "float16":
            raise LeftOut("a CPU computes bfloat16 or float32 in its place")
        return bench.hold(bench.paint(bench.device, dtype), dtype)

    return check


def peer(bench: Bench) -> str:
    """diffusers on the device, in float32."""
    if find_spec("diffusers") is None:
        raise LeftOut("diffusers is not installed")
    engine = load_plain(bench.folder, bench.device, torch.float32)
    return bench.hold(engine.paint(bench.task, lambda: None), "float32")


def recorded(bench: Bench) -> str:
    """Graphs, replayed with other prompts than they were recorded with, against none."""
    if bench.device.type != "cuda":
        raise LeftOut(f"nothing is recorded on {bench.device.type}")
    engine = load_exact(bench.folder, bench.device, torch.float32)
    engine.paint(bench.task, lambda: None)
    replayed = engine.paint(bench.other, lambda: None)
    with _nothing_recorded(bench.device):
        plain = engine.paint(bench.other, lambda: None)
    return agree(replayed, plain, "float32")


@contextmanager
def _nothing_recorded(device: torch.device) -> Iterator[None]:
    from unclip.nn import graphs

    recorder = graphs.RECORDERS.pop(device.type)
    try:
        yield
    finally:
        graphs.RECORDERS[device.type] = recorder


def xformers(bench: Bench) -> str:
    """The other attention kernels, in float16."""
    if find_spec("xformers") is None:
        raise LeftOut("xformers is not installed")
    if bench.device.type != "cuda":
        raise LeftOut("xformers needs CUDA")
    with attention_backend("xformers"):
        return bench.hold(bench.paint(bench.device, "float16"), "float16")


def low_memory(bench: Bench) -> str:
    """Networks that take turns on the device, against the same that stay there: alike, and within
    the memory that is promised."""
    if bench.device.type != "cuda":
        raise LeftOut("only a GPU's memory is counted")
    folder = write_weights(bench.folder.parent / LARGE, find_shape(LARGE))
    plain = load_exact(folder, bench.device, torch.float16).paint(bench.task, lambda: None)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    engine = load_low_memory(folder, bench.device, torch.float16)
    images = engine.call(bench.task)
    peak = torch.cuda.max_memory_allocated()
    numbers = f"{agree(images, plain, 'float16')}; peak {peak / 1e9:.2f} GB"
    if peak > MOST_BYTES:
        raise NumericalError(f"{numbers}, expected {MOST_BYTES / 1e9:g} GB or less")
    return numbers


def own_tests(bench: Bench) -> str:
    """The test files in which a test needs CUDA."""
    if bench.device.type != "cuda":
        raise LeftOut("they need CUDA")
    if lacking := [name for name in TEST_PACKAGES if find_spec(name) is None]:
        raise LeftOut(f"not installed: {', '.join(lacking)}")
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "@needs_cuda" in path.read_text(encoding="utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    last = (done.stdout.strip() or done.stderr.strip() or "no answer").splitlines()[-1]
    if done.returncode:
        raise NumericalError(f"{', '.join(files)}: {last}")
    return last


CHECKS: dict[str, Callable[[Bench], str]] = {
    "float32": precision("float32"),
    "float16": precision("float16"),
    "bfloat16": precision("bfloat16"),
    "diffusers, float32": peer,
    "graphs against none, float32": recorded,
    "xformers, float16": xformers,
    f"low memory, {LARGE}, float16": low_memory,
    "tests that need CUDA": own_tests,
}


def run_checks(options: argparse.Namespace) -> str:
    """Makes all checks, and prints each as soon as it is made; returns how many there were.

    Raises:
        NumericalError: one failed.
    """
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    folder = write_weights(options.weights, find_shape(options.shape))
    print(f"{machine(device).name}; {', '.join(f'{k} {v}' for k, v in versions())}", flush=True)
    verdicts = {}
    with _no_tf32():
        bench = Bench(folder, options.shape, device)
        for name, check in CHECKS.items():
            found = _make(name, check, bench)
            verdicts[name] = found.verdict
            print(f"{found.verdict:9} {name} ({found.seconds:.1f} s): {found.detail}", flush=True)
    failed = [name for name, verdict in verdicts.items() if verdict == "FAILED"]
    if failed:
        raise NumericalError(f"{len(failed)} of {len(verdicts)} checks failed: {', '.join(failed)}")
    count = list(verdicts.values()).count("ok")
    return f"{count} checks are ok, {len(verdicts) - count} were left out"


@contextmanager
def _no_tf32() -> Iterator[None]:
    """On a GPU convolutions in float32 would else be rounded to ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _make(name: str, check: Callable[[Bench], str], bench: Bench) -> Outcome:
    """Makes a check; whatever goes wrong in it is its own failure, the others go on."""
    started = time.monotonic()
    try:
        verdict, detail = "ok", check(bench)
    except LeftOut as reason:
        verdict, detail = "left out", str(reason)
    except Exception as error:
        verdict, detail = "FAILED", f"{type(error).__name__}: {error}".splitlines()[0]
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
    return Outcome(name, verdict, detail, time.monotonic() - started)
