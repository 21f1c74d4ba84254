"""A model folder that is there whole or not at all.

It is written beside its place, flushed, and renamed. A process that is killed leaves a folder
`NAME.tmp-...` that nothing reads; an error or an interrupt leaves nothing.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unclip.checkpoint import flush, flush_folder
from unclip.errors import CheckpointError
from unclip.karlo.json_file import read_json
from unclip.pipeline.index import FOLDER, INDEX


def check_free(folder: Path, *, replace: bool) -> None:
    """Refuses a place where something stands that is not to be replaced.

    Raises:
        CheckpointError: it is a file, holds something that is no model, or a model and `replace` is
            off.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file, expected a folder to write")
    if not any(folder.iterdir()):
        return
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder} is not empty and holds no model: choose another folder")
    _parts_of(folder)
    if not replace:
        raise CheckpointError(f"{folder} holds a model: choose another folder, or pass --force")


@contextmanager
def whole_folder(folder: Path, *, replace: bool) -> Iterator[Path]:
    """Gives an empty folder that takes its place when the block ends well. An older model there is
    replaced then; files that are no part of it are kept.

    Raises:
        CheckpointError: it cannot be written, or `check_free` refuses the place.
    """
    folder = folder.resolve()
    missing = [parent for parent in folder.parents if not parent.exists()]
    place = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
    done = False
    try:
        check_free(folder, replace=replace)
        place.mkdir(parents=True)
        yield place
        for path in sorted(place.iterdir()):
            if path.is_dir():
                flush_folder(path)
        flush_folder(place)
        _take_place(place, folder)
        done = True
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if not done:
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _take_place(place: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(place, folder)
        flush(folder.parent)
        return
    parts = _parts_of(folder) if (folder / INDEX).exists() else set()
    kept = [path.name for path in folder.iterdir() if path.name not in parts]
    for name in kept:
        if (place / name).is_dir():
            raise CheckpointError(
                f"{folder / name} is no part of the model there, but of the new one: move it away"
            )
    replaced = folder.with_name(f"{folder.name}.old-{uuid.uuid4().hex[:8]}")
    os.rename(folder, replaced)
    try:
        os.rename(place, folder)
    except OSError:
        os.rename(replaced, folder)
        raise
    for name in kept:
        os.replace(replaced / name, folder / name)
    flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _parts_of(folder: Path) -> set[str]:
    """What in a folder is the model that its index names, in our layout or in diffusers'.

    Raises:
        CheckpointError: the index is damaged.
    """
    data = read_json(folder / INDEX)
    components = data.get("components")
    # diffusers' components lie in folders of their own names.
    named: list[Any] = [name for name in data if not name.startswith("_")]
    if isinstance(components, dict):
        named = [
            name
            for value in components.values()
            for name in (value if isinstance(value, list) else [value])
        ]
    return {INDEX, *(name for name in named if isinstance(name, str) and FOLDER.fullmatch(name))}
