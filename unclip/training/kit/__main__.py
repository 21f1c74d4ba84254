"""The command behind `configs/pocket/kit.sh`, which says how it is used."""

import argparse
import fcntl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from unclip.errors import ConfigError, run_command
from unclip.training.kit.contents import ROOT, Order, pack
from unclip.training.kit.home import bring_back
from unclip.training.kit.plan import MODULES
from unclip.training.kit.session import Session
from unclip.training.signals import StopSignal


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    works = {"pack": _pack, "train": _train, "back": _back}
    chooser = argparse.ArgumentParser(prog="kit.sh", usage="kit.sh {pack,train,back} ... [-h]")
    chooser.add_argument("verb", choices=works)
    verb = chooser.parse_args(argv[:1]).verb
    # Options may stand among the runs, which a parser within a parser cannot read.
    options = _parser(verb).parse_intermixed_args(argv[1:])
    return run_command(lambda: works[verb](options))


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"kit.sh {verb}")
    if verb == "pack":
        parser.description = "Writes a kit of at most 60 MiB."
        parser.add_argument("set", type=Path, help="the built set, or its archive")
        parser.add_argument("kit", type=Path, help="folder to write")
        parser.add_argument("run", type=Path, nargs="*", help="runs to go on with")
        parser.add_argument("--python", default="3.12", help="the machine's; wheels are for it")
        parser.add_argument("--no-wheels", action="store_true", help="the machine lacks none")
        parser.add_argument("--judge", type=Path, help="folder of the judge's weights")
    elif verb == "train":
        parser.description = "Trains stages, in a kit."
        parser.add_argument("minutes", type=float, help="in all, setup included")
        parser.add_argument("stage", nargs="+", help=f"of {', '.join(MODULES)}")
        parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    else:
        parser.description = "Writes what is to be brought back from a kit."
        parser.add_argument("out", type=Path, help="folder to write")
        parser.add_argument("stage", nargs="*", help="by default all that were trained")
    return parser


def _pack(options: argparse.Namespace) -> str:
    order = Order(
        drawings=options.set,
        runs=options.run,
        judge=options.judge,
        python=None if options.no_wheels else options.python,
    )
    return "\n".join(pack(order, options.kit))


def _train(options: argparse.Namespace) -> str:
    with Path("kit.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("this kit is training already: wait, or stop it") from None
        with StopSignal() as stop:
            return Session(options.minutes, options.stage, options.started).train(stop)


def _back(options: argparse.Namespace) -> str:
    files = bring_back(ROOT, options.out, options.stage)
    total = sum(path.stat().st_size for path in files)
    return f"{len(files)} files, {total / 2**20:.1f} MiB in {options.out}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
