"""Folders that appear whole or not at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".part-"
LEFT_AFTER_SECONDS = 3600
"""Age from which an unfinished folder is one that a killed process left."""


@contextmanager
def unfinished(final: Path) -> Iterator[Path]:
    """Gives a folder beside `final`, which becomes it when the block ends without an error.

    Raises:
        OSError: it cannot be made or renamed.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER_SECONDS:
                shutil.rmtree(left)
    part = Path(tempfile.mkdtemp(prefix=PREFIX, dir=final.parent))
    try:
        yield part
        try:
            os.replace(part, final)
        except OSError:
            if not final.is_dir():
                raise  # else another process was quicker, with the same content
    finally:
        shutil.rmtree(part, ignore_errors=True)
