"""The command of every stage: `python -m prior.train --config FILE --out DIR [--set KEY=VALUE ...]`.

Run it again with the same folder and it goes on from the newest checkpoint.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from unclip.config import load_config, to_dict
from unclip.errors import ConfigError, UnCLIPError
from unclip.training.settings import TrainConfig


class RunConfig(Protocol):
    """A stage's run configuration; all have the loop's settings under `train`."""

    @property
    def train(self) -> TrainConfig: ...


R = TypeVar("R", bound=RunConfig)

MAY_CHANGE = {
    f"train.{name}" for name in ("steps", "log_every", "save_every", "sheet_every", "keep", "num_workers")
}
"""Settings that a resumed run may have otherwise than the run it continues."""


def run(argv: Sequence[str], config_cls: type[R], make_stage: Callable[[R], Any]) -> int:
    """Parses the command line, trains, and turns errors into one line and an exit code."""
    parser = argparse.ArgumentParser(description=f"Trains a {config_cls.__name__.removesuffix('Run')}.")
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the run")
    parser.add_argument("--out", type=Path, help="run folder; default runs/NAME of the file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides, like train.lr=1e-4"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show tracebacks")
    options = parser.parse_args(argv)
    try:
        config = load_config(config_cls, options.config, options.set)
        out = options.out or Path("runs") / options.config.stem
        remember_config(out, to_dict(config))
        # Imported late: a wrong setting should be told at once.
        from unclip.training.loop import train

        train(make_stage(config), config.train, out)
    except UnCLIPError as error:
        if options.verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def remember_config(out: Path, config: dict[str, Any]) -> None:
    """Keeps the resolved configuration in the run's folder, or checks it against the one there.

    Raises:
        ConfigError: the folder belongs to a run with other settings; names the first that differs.
    """
    path = out / "config.yaml"
    if path.is_file():
        before = _flat(yaml.safe_load(path.read_text(encoding="utf-8")))
        now = _flat(config)
        for key in sorted(before.keys() | now.keys()):
            if key not in MAY_CHANGE and before.get(key) != now.get(key):
                raise ConfigError(
                    f"{out} holds a run with {key} = {before.get(key)!r}, now it is {now.get(key)!r}: "
                    "choose another --out, or the same setting"
                )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix.removesuffix("."): data}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
