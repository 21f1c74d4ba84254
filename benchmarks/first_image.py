"""How long a new user waits for the first picture: from process start to a 64 and a 1024 px file.

Runs the installed command several times in a fresh process, on at most two cores, and prints the
minimum and median of wall time, CPU time and peak memory, with the versions they belong to.

    python benchmarks/first_image.py [--runs 3] [--json FILE]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

PROMPT = "an astronaut riding a horse, pencil drawing"
CORES = 2
TARGET_SECONDS, TARGET_BYTES = 12.0, 2e9
"""What the 1024 px picture may take, wall time on two cores and peak memory."""
TARGET_HELP_SECONDS = 0.3
"""What the help may take, CPU time."""


class Run(NamedTuple):
    """One process."""

    wall_s: float
    cpu_s: float
    peak_bytes: float


def measure(arguments: list[str]) -> Run:
    """Runs a command to its end; the kernel's own accounts of the child are read."""
    started = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {errors.decode().strip()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def cases(folder: Path) -> dict[str, list[str]]:
    """The commands, by name."""
    command = shutil.which("unclip", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        raise SystemExit("the command unclip is not installed: pip install -e .")
    generate = [command, "generate", PROMPT, "--seed", "0", "--force"]
    return {
        "help": [command, "--help"],
        "64 px": [*generate, "--size", "64", "--out", str(folder / "64.png")],
        "1024 px": [*generate, "--size", "1024", "--out", str(folder / "1024.png")],
    }


def main() -> int:
    """Prints a table; returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as folder:
        commands = cases(Path(folder))
        # Interleaved, so that a machine that slows down slows all.
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                runs[name].append(measure(command))

    print(
        f"{'':8}  {'wall s':>14}  {'CPU s':>14}  {'peak MB':>8} (minimum, median of {options.runs})"
    )
    for name, measured in runs.items():
        wall, cpu, peak = (list(column) for column in zip(*measured, strict=True))
        print(
            f"{name:8}  {min(wall):6.2f} {statistics.median(wall):7.2f}  "
            f"{min(cpu):6.2f} {statistics.median(cpu):7.2f}  {max(peak) / 1e6:8.0f}"
        )
    about = {"python": platform.python_version(), "machine": platform.machine()}
    about |= {name: version(name) for name in ("unclip", "torch")}
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        content = {"about": about, "runs": {k: [r._asdict() for r in v] for k, v in runs.items()}}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    best = runs["1024 px"]
    met = min(r.wall_s for r in best) <= TARGET_SECONDS
    met &= max(r.peak_bytes for r in best) <= TARGET_BYTES
    met &= min(r.cpu_s for r in runs["help"]) <= TARGET_HELP_SECONDS
    print(
        f"1024 px within {TARGET_SECONDS:.0f} s and {TARGET_BYTES / 1e9:.0f} GB, the help within "
        f"{TARGET_HELP_SECONDS} s of CPU time: {'yes' if met else 'no'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
