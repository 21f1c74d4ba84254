"""A run's folder: it belongs to one configuration, and to one running job at a time."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from unclip.errors import ConfigError, first_ten

CONFIG = "config.yaml"
LOCK = "lock"
REQUEUE = "requeue"
"""A file that is there when a run was stopped by a signal and wants to go on: launchers do not pass
the exit code of their processes on."""
MAY_CHANGE = {
    f"train.{name}"
    for name in (
        "steps",
        "accumulation",
        "attention",
        "num_workers",
        "log_every",
        "save_every",
        "save_minutes",
        "sheet_every",
        "parallel",
        "recompute",
        "compile",
        "ema_final",
        "ema_every",
        "keep",
        "timeout_seconds",
        "max_nonfinite",
    )
}
"""Settings that a resumed run may have otherwise than the run it continues."""


def check_config(out: Path, config: dict[str, Any]) -> None:
    """Compares a configuration with that of the run in the folder, if there is one.

    Raises:
        ConfigError: the folder belongs to a run with other settings; names those that differ.
    """
    path = out / CONFIG
    if not path.is_file():
        return
    try:
        before = _flat(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    now = _flat(config)
    problems = [
        f"{key} = {before.get(key)!r}, now it is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in MAY_CHANGE and before.get(key) != now.get(key)
    ]
    if problems:
        raise ConfigError(
            f"{out} holds a run with {first_ten(problems)}: choose another --out, or the same "
            "settings"
        )


@contextmanager
def claim(out: Path, config: dict[str, Any]) -> Iterator[None]:
    """Holds a run's folder while the block runs, and keeps the resolved configuration in it.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
        ConfigError: another process trains there, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = _take(out)
        _remove_leftovers(out)
        (out / REQUEUE).unlink(missing_ok=True)
        beside = out / f"{CONFIG}.tmp"
        beside.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        os.replace(beside, out / CONFIG)
    except OSError as error:
        raise ConfigError(
            f"cannot write the run folder {out}: {error.strerror or error}"
        ) from error
    with lock:
        yield


def _take(out: Path) -> TextIO:
    import fcntl  # POSIX only, like the launchers

    lock = (out / LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise ConfigError(f"{out} is in use by {holder}: choose another --out") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def _remove_leftovers(out: Path) -> None:
    """Removes what a kill left half written."""
    for name in ("checkpoints/step_*", "ema/*/step_*", "final"):
        for rubbish in [*out.glob(f"{name}.tmp-*"), *out.glob(f"{name}.old-*")]:
            shutil.rmtree(rubbish, ignore_errors=True)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix.removesuffix("."): data}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat
