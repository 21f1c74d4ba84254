"""How fast this project is beside diffusers, which runs the same weights; `docs/speed.md` says how
it is measured.

    python -m benchmarks.against_diffusers run --shape small --cold --out FILE  # 40 min, one core
    python -m benchmarks.against_diffusers table FILE
    python -m benchmarks.against_diffusers page                                 # makes the page
    python -m benchmarks.against_diffusers check                                # is a GPU right?
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.check import run_checks
from benchmarks.speed.cold import be_cold
from benchmarks.speed.engine import select
from benchmarks.speed.kinds import kinds_of
from benchmarks.speed.machine import ROOT
from benchmarks.speed.measure import run
from benchmarks.speed.page import RECORDS, write_page
from benchmarks.speed.record import read_record
from benchmarks.speed.shapes import SHAPES, find_shape
from benchmarks.speed.table import table_of
from benchmarks.speed.verdict import MIN_ROUNDS
from benchmarks.speed.weights import write_weights
from unclip.errors import run_command


def parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.against_diffusers",
        description=(__doc__ or "").partition("\n\n")[0],
    )
    verbs = found.add_subparsers(dest="verb", required=True)

    measure = verbs.add_parser("run", help="measure, or go on with a run that was stopped")
    _add_model(measure)
    measure.add_argument("--engines", nargs="+", help="some of the device's; the default is all")
    measure.add_argument("--rounds", type=int, default=MIN_ROUNDS)
    measure.add_argument("--warmups", type=int, default=10, help="of a GPU, before the rounds")
    measure.add_argument("--out", type=Path, required=True, help="the record, a JSON file")
    measure.add_argument("--again", action="store_true", help="replace a record that is there")
    measure.add_argument("--cold", action="store_true", help="also fresh processes: their memory")
    measure.add_argument("--quiet", action="store_true")

    cold = verbs.add_parser("cold", help="one picture in this process, as JSON")
    _add_model(cold)
    cold.add_argument("--engine", required=True)

    check = verbs.add_parser("check", help="compare precisions and backends of a device")
    _add_model(check, device="cuda")
    check.set_defaults(threads=os.cpu_count() or 1)  # nothing is timed

    verbs.add_parser("table", help="print a record").add_argument("record", type=Path)
    page = verbs.add_parser("page", help="make docs/speed.md from the records")
    page.add_argument("--records", type=Path, default=RECORDS)
    page.add_argument("--docs", type=Path, default=ROOT / "docs")
    return found


def _add_model(verb: argparse.ArgumentParser, device: str = "cpu") -> None:
    verb.add_argument("--shape", default="small", help=f"one of {', '.join(SHAPES)}")
    verb.add_argument("--device", default=device, choices=("cpu", "cuda"))
    verb.add_argument("--batch", type=int, default=1)
    verb.add_argument("--threads", type=int, default=1, help="of a CPU")
    verb.add_argument("--weights", type=Path, help="where they are, or are put; else a cache")


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(argv)
    if getattr(options, "weights", "") is None:
        # Not in the repository: Karlo's size is 7 GB.
        user = os.getuid() if hasattr(os, "getuid") else 0
        options.weights = Path(tempfile.gettempdir()) / f"unclip-speed-{user}" / options.shape
    return run_command(lambda: _dispatch(options))


def _dispatch(options: argparse.Namespace) -> str:
    match options.verb:
        case "run":
            return run(options)
        case "cold":
            return _cold(options)
        case "check":
            return run_checks(options)
        case "table":
            return table_of(read_record(options.record))
        case _:
            return write_page(options.docs, options.records)


def _cold(options: argparse.Namespace) -> str:
    import torch

    torch.set_num_threads(options.threads)
    shape = find_shape(options.shape)
    (kind,) = select(kinds_of(options.device), [options.engine])
    folder = write_weights(options.weights, shape)
    return be_cold(kind, shape, folder, options.device, options.batch)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
