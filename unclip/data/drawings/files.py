"""Reading the files of a package: what is missing or damaged is one line that names the package."""

import json
from pathlib import Path
from typing import Any

from unclip.errors import DataError


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
