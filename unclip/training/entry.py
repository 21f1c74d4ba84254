"""The command of every stage: `python -m prior.train --config FILE [--out DIR] [--set KEY=VALUE]`.

Run it again with the same folder and it goes on from the newest checkpoint.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from unclip.config import load_config, to_dict
from unclip.errors import UnCLIPError
from unclip.training.folder import check_config
from unclip.training.settings import TrainConfig


@runtime_checkable
class RunConfig(Protocol):
    """A stage's run configuration."""

    @property
    def train(self) -> TrainConfig:
        """The loop's settings."""
        ...


R = TypeVar("R")


def run(argv: Sequence[str], config_cls: type[R], make_stage: Callable[[R], Any]) -> int:
    """Parses the command line, trains, and turns errors into one line and an exit code."""
    parser = argparse.ArgumentParser(
        description=f"Trains a {config_cls.__name__.removesuffix('Run')}."
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the run")
    parser.add_argument(
        "--out",
        type=Path,
        help="run folder; by default configs/pocket/prior.yaml gets runs/pocket/prior",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="overrides, like train.lr=1e-4",
    )
    parser.add_argument(
        "--resume",
        type=_step,
        metavar="STEP",
        help="go on from this checkpoint (step_00001000, or 1000), not from the newest whole one",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    options = parser.parse_args(argv)
    try:
        config = load_config(config_cls, options.config, options.set)
        out = options.out or Path("runs", options.config.parent.name, options.config.stem)
        check_config(out, to_dict(config))
        train_run(cast(RunConfig, config), make_stage, out, options.resume)
    except UnCLIPError as error:
        if options.verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _step(text: str) -> int:
    digits = Path(text).name.removeprefix("step_")
    if not digits.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no step, expected step_00001000 or 1000")
    return int(digits)


def train_run(
    config: RunConfig, make_stage: Callable[[Any], Any], out: Path, resume: int | None = None
) -> None:
    """Trains a run from its configuration to its end; raises as `unclip.training.loop.train`."""
    # Imported late: a wrong setting should be told at once.
    import torch

    from unclip.training.loop import train

    torch.manual_seed(config.train.seed)  # the model's first weights; all else has keys of its own
    train(make_stage(config), config.train, out, to_dict(config), resume)
