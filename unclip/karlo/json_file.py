"""A small JSON file of a model, read with a limit."""

import json
from pathlib import Path
from typing import Any

from unclip.errors import CheckpointError
from unclip.safetensors_file import no_doubles

MAX_BYTES = 1_000_000
"""Karlo's largest configuration has 1098."""


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Reads an object.

    Raises:
        CheckpointError: it is missing, larger than `max_bytes`, no JSON, no object, or names
            something twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ValueError(f"it has more than {max_bytes} bytes")
        data = json.loads(content.decode("utf-8"), object_pairs_hook=no_doubles)
        if not isinstance(data, dict):
            raise ValueError("it holds no keys and values")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not to be read: {error}") from error
    return data
