"""One stage on disk: `config.json`, `model.safetensors`, small extra files, a manifest of hashes.

Only safetensors is read; nothing is unpickled and no class is imported because a file names it. A
folder is written beside its place, flushed, and renamed, so it is there whole or not at all.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from unclip.errors import CheckpointError, first_ten, shown
from unclip.safetensors_file import open_safetensors

MANIFEST = "manifest.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
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

    Raises:
        CheckpointError: it cannot be written (a full disk, say); what was there is untouched.
    """
    tensors = {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in stage.tensors.items()
    }
    with atomic_folder(Path(folder)) as place:
        write_description(place, stage.stage, stage.config, stage.metadata, stage.extra)
        write_tensors(place / WEIGHTS, tensors)


def write_description(
    folder: Path,
    stage: str,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    extra: Mapping[str, bytes],
) -> None:
    """Writes all files of a stage folder but its weights and its manifest.

    Raises:
        OSError: a file cannot be written.
    """
    about = {"format": FORMAT, "stage": stage, "config": config, "metadata": metadata}
    (folder / CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for name, content in extra.items():
        (folder / name).write_bytes(content)


def load_stage(folder: str | Path, expected: str | None = None) -> StageFolder:
    """Reads a stage folder and checks it against its manifest.

    Raises:
        CheckpointError: it is missing, damaged, no safetensors, or of another stage than
            `expected`.
    """
    about = describe_stage(folder, expected)
    return replace(about, tensors=read_tensors(Path(folder) / WEIGHTS))


def describe_stage(folder: str | Path, expected: str | None = None) -> StageFolder:
    """Checks a stage folder against its manifest and reads all of it but the tensors.

    Raises:
        CheckpointError: it is missing, damaged, no safetensors, or of another stage than
            `expected`.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is no stage folder: it has no {CONFIG}{_pickles(folder)}")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}{_pickles(folder)}")
    names = verify_folder(folder)
    if not {CONFIG, WEIGHTS} <= names:
        raise CheckpointError(f"{folder / MANIFEST} does not list {CONFIG} and {WEIGHTS}")
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        stage, config, metadata = about["stage"], about["config"], about["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is no stage configuration: {error!r}") from error
    if expected is not None and stage != expected:
        raise CheckpointError(f"{folder} holds a {stage}, expected a {expected}")
    extra = {name: (folder / name).read_bytes() for name in sorted(names - {CONFIG, WEIGHTS})}
    return StageFolder(stage, config, metadata, {}, extra)


def _pickles(folder: Path) -> str:
    """Says why the weights that are there are of no use."""
    found = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    return f"; {found[0]} is not read, only safetensors is" if found else ""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file.

    Raises:
        OSError: it cannot be written.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(ready, path)
    except SafetensorError as error:
        # safetensors wraps the operating system's errors in its own.
        raise OSError(str(error)) from error


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Maps the tensors of a safetensors file: their pages are read when they are touched.

    Raises:
        CheckpointError: `open_safetensors` refuses the file.
    """
    return {name: ref.load() for name, ref in open_safetensors(Path(path)).items()}


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Compares names, shapes and kinds with a module's.

    Raises:
        CheckpointError: something differs; the first ten are listed.
    """
    check_fit(tensors, module.state_dict(), where)


@runtime_checkable
class Described(Protocol):
    """A tensor, or what is known of one that was not read."""

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        ...

    @property
    def shape(self) -> Sequence[int]:
        """Its shape."""
        ...


def check_fit(found: Mapping[str, Described], wanted: Mapping[str, Tensor], where: str) -> None:
    """Compares names, shapes and kinds of tensors, read or not, with those of `wanted` (on the meta
    device, say).

    Raises:
        CheckpointError: something differs; the first ten are listed.
    """
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"unknown {shown(name)}" for name in found if name not in wanted]
    for name, target in wanted.items():
        if name not in found:
            continue
        tensor = found[name]
        if tuple(tensor.shape) != tuple(target.shape):
            problems.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(target.shape)}")
        elif tensor.dtype.is_floating_point != target.dtype.is_floating_point:
            problems.append(f"{name} is {tensor.dtype}, expected {target.dtype}")
    if problems:
        raise CheckpointError(f"{where} does not fit its config: {first_ten(problems)}")


def load_tensors(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Puts tensors into a module (built on the meta device, say), floating-point ones as `dtype`.

    Args:
        dtype: None keeps each as it is, mapped in its file if it was. Statistics (buffers) become
            float32 in any case.

    Raises:
        CheckpointError: names, shapes or kinds differ; the first ten are listed.
    """
    check_tensors(module, tensors, where)
    statistics = {name for name, _ in module.named_buffers()}

    def converted(name: str, tensor: Tensor) -> Tensor:
        wish = torch.float32 if name in statistics else dtype
        return tensor.to(wish) if wish is not None and tensor.is_floating_point() else tensor

    module.load_state_dict({n: converted(n, x) for n, x in tensors.items()}, assign=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Gives a fresh folder that takes its place, manifest and all, when the block ends well.

    Files are flushed to disk before the rename and the parent folder after it. On an error nothing
    is left and nothing is replaced.

    Raises:
        CheckpointError: it cannot be written.
    """
    place = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        place.mkdir(parents=True)
        yield place
        write_manifest(place)
        flush_folder(place)
        take_place(place, folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def take_place(place: Path, folder: Path) -> None:
    """Renames a folder that is complete and flushed to its name; what was there is removed then.

    Raises:
        OSError: it cannot be done; what was there is there again.
    """
    replaced = folder.with_name(f"{folder.name}.old-{uuid.uuid4().hex[:8]}")
    if folder.exists():
        os.rename(folder, replaced)
    try:
        os.rename(place, folder)
    except OSError:
        if replaced.exists():
            os.rename(replaced, folder)
        raise
    flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Flushes a folder and the files in it to disk.

    Raises:
        OSError: it cannot be done.
    """
    for path in folder.iterdir():
        flush(path)
    flush(folder)


def write_manifest(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Writes the hashes of all files of a folder.

    Args:
        known: files whose SHA-256 was computed as they were written.

    Raises:
        OSError: a file cannot be read or written.
    """
    files = {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": (known or {}).get(path.name) or file_hash(path),
        }
        for path in sorted(folder.iterdir())
    }
    text = json.dumps({"format": FORMAT, "unclip": unclip_version(), "files": files}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    # safetensors makes its files private; they get the mode of any other new file.
    mode = (folder / MANIFEST).stat().st_mode & 0o777
    for name in files:
        (folder / name).chmod(mode)


def verify_folder(folder: Path) -> set[str]:
    """Checks every file of a folder against its manifest; returns their names.

    Files that the manifest does not list are never read.

    Raises:
        CheckpointError: there is no manifest, or a file is missing or differs.
    """
    files = manifest_files(folder)
    for name, digest in files.items():
        verify_file(folder, name, digest)
    return set(files)


def manifest_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by name, as its manifest has them.

    Raises:
        CheckpointError: there is no manifest, or it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} has no usable {MANIFEST}: it is incomplete") from error


def verify_file(folder: Path, name: str, digest: str) -> None:
    """Checks one file of a folder against its SHA-256.

    Raises:
        CheckpointError: it is missing or differs.
    """
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise CheckpointError(f"{folder} lacks {name!r}, which its {MANIFEST} lists")
    if file_hash(path) != digest:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")


def unclip_version() -> str:
    """The installed version of unclip; from sources that are not installed, "unknown"."""
    try:
        return version("unclip")
    except PackageNotFoundError:
        return "unknown"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Flushes a file, or what a folder lists, to disk.

    Raises:
        OSError: it cannot be done.
    """
    if os.name != "posix" and path.is_dir():
        return  # Windows can neither open nor flush a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
