"""A folder of Karlo, whatever its layout, opened.

Two layouts: diffusers' (`model_index.json` and a folder a component), and Kakao Brain's own five
files.
"""

from pathlib import Path

from unclip.errors import CheckpointError
from unclip.karlo.diffusers_index import INDEX, is_diffusers_index
from unclip.karlo.diffusers_layout import open_diffusers
from unclip.karlo.json_file import read_json
from unclip.karlo.names import is_original
from unclip.karlo.opened import OpenModel
from unclip.karlo.original import open_original


def is_karlo(folder: Path) -> bool:
    """Whether a folder is to be opened here, and is none of our own model folders."""
    return _is_diffusers(folder) or _is_original(folder)


def open_karlo(folder: Path, name: str | None = None) -> OpenModel:
    """Opens a folder for which `is_karlo` holds; nothing of a tensor is read.

    Args:
        name: the model's; None takes the folder's.

    Raises:
        CheckpointError: a file is missing, damaged, or asks for anything but Karlo's networks.
        ConfigError: a configuration asks for what our networks do not do.
    """
    if _is_diffusers(folder):
        return open_diffusers(folder, name)
    return open_original(folder, name)


def _is_diffusers(folder: Path) -> bool:
    if not (folder / INDEX).is_file():
        return False
    try:
        return is_diffusers_index(read_json(folder / INDEX))
    except CheckpointError:
        return False  # whoever reads it next says why


def _is_original(folder: Path) -> bool:
    """One of the files is enough: which others are missing is told when it is opened."""
    return not (folder / INDEX).exists() and any(
        is_original(path.name) for path in folder.iterdir()
    )
