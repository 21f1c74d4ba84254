"""One stage on disk: `config.json`, `model.safetensors`, small extra files, and a manifest of their hashes.

Only safetensors is read; nothing is unpickled and no class is imported because a file names it. A folder is
written beside its place, flushed, and renamed, so it is there whole or not at all.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unclip.errors import CheckpointError

MANIFEST = "manifest.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
MAX_HEADER_BYTES = 25_000_000
MAX_TENSORS = 100_000
FORMAT = 1


@dataclass(frozen=True)
class StageFolder:
    """What a stage folder holds."""

    stage: str
    """`clip`, `prior`, `decoder` or `upsampler`."""
    config: dict[str, Any]
    metadata: dict[str, Any]
    """What the stage was trained on, for example CLIP's fingerprint."""
    tensors: dict[str, Tensor]
    extra: dict[str, bytes] = field(default_factory=dict)
    """Small files beside the weights, by name."""


def save_stage(folder: str | Path, stage: StageFolder, *, dtype: torch.dtype | None = None) -> None:
    """Writes a stage folder, replacing what is there only when the new one is complete.

    Args:
        dtype: floating-point weights are stored in it; None keeps each tensor's own.
    """
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in stage.tensors.items()
    }
    about = {
        "format": FORMAT,
        "stage": stage.stage,
        "config": stage.config,
        "metadata": stage.metadata,
    }
    with atomic_folder(Path(folder)) as place:
        (place / CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, place / WEIGHTS)
        for name, content in stage.extra.items():
            (place / name).write_bytes(content)


def load_stage(folder: str | Path, expected: str | None = None) -> StageFolder:
    """Reads a stage folder and checks it against its manifest.

    Raises:
        CheckpointError: it is missing, damaged, of another stage than `expected`, or no safetensors.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is no stage folder: it has no {CONFIG}")
    extra_names = sorted(verify_folder(folder) - {CONFIG, WEIGHTS})
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        stage, config, metadata = about["stage"], about["config"], about["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is no stage configuration: {error!r}") from error
    if expected is not None and stage != expected:
        raise CheckpointError(f"{folder} holds a {stage}, expected a {expected}")
    extra = {name: (folder / name).read_bytes() for name in extra_names}
    return StageFolder(stage, config, metadata, read_tensors(folder / WEIGHTS), extra)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Reads a safetensors file, with caps on its header before anything is allocated.

    Raises:
        CheckpointError: it is missing, truncated, not safetensors (a pickle, say), or its header is
            larger than 25 MB or names more than 100,000 tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if size < 8 or length > size - 8 or length > MAX_HEADER_BYTES:
                raise CheckpointError(
                    f"{path} is not a whole safetensors file (only safetensors is read): its header "
                    f"would be {length} bytes of {size}, at most {MAX_HEADER_BYTES}"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not a safetensors file; only safetensors is read") from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise CheckpointError(f"{path} names {len(header)} tensors, at most {MAX_TENSORS}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def load_tensors(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Puts tensors into a module (built on the meta device, say), floating-point ones as `dtype`.

    Raises:
        CheckpointError: names or shapes differ; the first ten are listed.
    """
    wanted = module.state_dict()
    problems = [f"missing {name}" for name in wanted if name not in tensors]
    problems += [f"unknown {name}" for name in tensors if name not in wanted]
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
            problems.append(f"{name} is {shapes}")
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise CheckpointError(f"{where} does not fit its config: {'; '.join(problems[:10])}{rest}")
    converted = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    module.load_state_dict(converted, assign=True)


class atomic_folder:  # noqa: N801  # used as a function: with atomic_folder(path) as place
    """Context manager: a fresh folder that takes its place, manifest and all, when the block ends well.

    Files are flushed to disk before the rename and the parent folder after it. On an error nothing
    is left and nothing is replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Path:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.place.mkdir()
        return self.place

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.place, ignore_errors=True)
            return
        _write_manifest(self.place)
        for path in self.place.iterdir():
            _fsync(path)
        _fsync(self.place)
        replaced = None
        if self.folder.exists():
            replaced = self.folder.with_name(f"{self.folder.name}.old-{uuid.uuid4().hex[:8]}")
            os.rename(self.folder, replaced)
        os.rename(self.place, self.folder)
        _fsync(self.folder.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        for path in sorted(folder.iterdir())
    }
    text = json.dumps({"format": FORMAT, "files": files}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def verify_folder(folder: Path) -> set[str]:
    """Checks every file of a folder against its manifest; returns their names.

    Raises:
        CheckpointError: there is no manifest, or a file is missing or differs.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} has no usable {MANIFEST}: it is incomplete") from error
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(f"{folder} lacks {name!r}, which its {MANIFEST} lists")
        if file_hash(path) != digest:
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")
    return set(files)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
