"""Logs of runs that travel with them: one small archive beside the parts."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from unclip.errors import CheckpointError

ARCHIVE = "logs.tar.xz"


def pack_logs(runs: Sequence[Path], names: Sequence[str], out: Path) -> Path:
    """Writes the files of these names of each run, as far as they are there, and its last sheet.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with tarfile.open(out / ARCHIVE, "w:xz") as tar:
            for run in runs:
                sheets = sorted((run / "samples").glob("step_*.png"))[-1:]
                for path in [*(run / name for name in names), *sheets]:
                    if path.is_file():
                        tar.add(path, f"{run.name}/{path.relative_to(run)}")
    except OSError as error:
        raise CheckpointError(f"cannot write {out / ARCHIVE}: {error.strerror}") from error
    return out / ARCHIVE


def unpack_logs(carried: Path, runs: Path) -> None:
    """Puts carried logs into run folders that have none of their own.

    Raises:
        CheckpointError: the archive is damaged.
    """
    if not (carried / ARCHIVE).is_file():
        return
    try:
        with tarfile.open(carried / ARCHIVE) as tar:
            wanted = [each for each in tar.getmembers() if not (runs / each.name).exists()]
            tar.extractall(runs, wanted, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CheckpointError(f"{carried / ARCHIVE} is damaged: {error}") from error
