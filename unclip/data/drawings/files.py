"""Files: what is missing or damaged is one line, what is written is whole or not there."""

import json
import os
from pathlib import Path
from typing import Any

from unclip.errors import DataError, InputError


def read_json(path: Path, *, remedy: Path) -> Any:
    """Reads a JSON file.

    Args:
        remedy: the folder to remove if the file is damaged.

    Raises:
        DataError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise damaged(path, "is missing", remedy) from error
    except (OSError, ValueError) as error:
        raise damaged(path, f"is damaged ({error})", remedy) from error


def folder_of(path: Path, *, remedy: Path) -> Path:
    """Checks that a folder is there.

    Raises:
        DataError: it is not.
    """
    if not path.is_dir():
        raise damaged(path, "is missing", remedy)
    return path


def damaged(path: Path, what: str, remedy: Path) -> DataError:
    """The error of a package that is not as it was fetched."""
    return DataError(f"{path} {what}: remove {remedy} and run again to fetch it anew")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> InputError:
    """The error of a file that cannot be written."""
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write {path}: {reason}; make room or name another folder, and run again: what is "
        "finished is kept"
    )
