"""`model_index.json`: which stage lies in which folder of a model.

The kinds are a closed list. Nothing in the file is ever imported, and a name in it can only be that
of a folder beside it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclip import __version__
from unclip.errors import CheckpointError

INDEX = "model_index.json"
CLASS_NAME = "UnCLIPPipeline"
KINDS = ("clip", "prior", "decoder", "upsamplers")
KEYS = ("_class_name", "unclip_version", "name", "components")
MAX_INDEX_BYTES = 1_000_000
FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIndex:
    """A model's name and its stages' folders."""

    name: str
    clip: str = "clip"
    prior: str | None = "prior"
    """None, and null in the file, where a model makes variations of pictures alone."""
    decoder: str = "decoder"
    upsamplers: tuple[str, ...] = ()
    """From the smallest size to the largest."""

    def folders(self) -> tuple[str, ...]:
        """All stage folders, in the order that the stages run."""
        stages = (self.clip, self.prior, self.decoder, *self.upsamplers)
        return tuple(folder for folder in stages if folder is not None)


def read_index(folder: Path) -> ModelIndex:
    """Reads and checks `model_index.json`.

    Raises:
        CheckpointError: it is missing or no JSON, or asks for anything but our own stages.
    """
    path = folder / INDEX
    try:
        with path.open("rb") as file:
            content = file.read(MAX_INDEX_BYTES + 1)
        if len(content) > MAX_INDEX_BYTES:
            raise ValueError(f"it has more than {MAX_INDEX_BYTES} bytes")
        data = json.loads(content.decode("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is no model folder: it has no {INDEX}; make one with unclip assemble"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no model index: {error}") from error
    return _check(data, path)


def write_index(folder: Path, index: ModelIndex) -> None:
    """Writes `model_index.json`."""
    components = {"clip": index.clip, "prior": index.prior, "decoder": index.decoder}
    data = {
        "_class_name": CLASS_NAME,
        "unclip_version": __version__,
        "name": index.name,
        "components": {**components, "upsamplers": list(index.upsamplers)},
    }
    (folder / INDEX).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def check_name(name: str) -> None:
    """Raises CheckpointError where a model's name could not stand in one line of text."""
    if not NAME.fullmatch(name):
        raise CheckpointError(
            f"{name[:100]!r} is no name of a model: 1 to 100 characters without control characters"
        )


def _check(data: Any, path: Path) -> ModelIndex:
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is no model index: expected keys and values")
    if (found := data.get("_class_name")) != CLASS_NAME:
        raise CheckpointError(
            f"{path} asks for the class {_short(found)}; only {CLASS_NAME} is loaded, "
            "nothing that a file names is imported"
        )
    for key in data:
        if key not in KEYS:
            raise CheckpointError(
                f"{path} asks for {_short(key)}: {_short(data[key])}; only {', '.join(KEYS)} are "
                "known, nothing that a file names is imported"
            )
    name, components = data.get("name"), data.get("components")
    if not isinstance(name, str) or not isinstance(components, dict):
        raise CheckpointError(f"{path} has no name or no components: unclip assemble writes both")
    check_name(name)
    return _components(name, components, path)


def _components(name: str, components: dict[str, Any], path: Path) -> ModelIndex:
    for kind, value in components.items():
        if kind not in KINDS:
            raise CheckpointError(
                f"{path} asks for the component {_short(kind)}; only {', '.join(KINDS)} are "
                "loaded, nothing that a file names is imported"
            )
        if kind == "prior" and value is None:
            continue
        for folder in value if kind == "upsamplers" and isinstance(value, list) else [value]:
            if not isinstance(folder, str) or not FOLDER.fullmatch(folder):
                raise CheckpointError(
                    f"{path}: component {kind} is {_short(folder)}, expected the name of a folder "
                    "beside it; nothing else is loaded"
                )
    if missing := [kind for kind in KINDS if kind not in components]:
        raise CheckpointError(f"{path} has no component {', '.join(missing)}")
    if not isinstance(components["upsamplers"], list):
        raise CheckpointError(f"{path}: upsamplers is no list of folders")
    index = ModelIndex(
        name=name,
        clip=components["clip"],
        prior=components["prior"],
        decoder=components["decoder"],
        upsamplers=tuple(components["upsamplers"]),
    )
    if len(set(index.folders())) < len(index.folders()):
        raise CheckpointError(f"{path} names one folder for two components")
    return index


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
