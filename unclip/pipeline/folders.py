"""A model folder: `model_index.json` and one stage folder for each stage."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

import unclip
from unclip.checkpoint import MANIFEST, StageFolder, load_stage, save_stage
from unclip.errors import CheckpointError
from unclip.pipeline.fit import check_fit
from unclip.pipeline.hub import download, is_hub_id
from unclip.pipeline.index import INDEX, ModelIndex, check_name, read_index, write_index

POCKET = "pocket"
CARD = "README.md"


@dataclass(frozen=True)
class ModelStages:
    """The stages of one model as they lie on disk."""

    name: str
    clip: StageFolder
    prior: StageFolder | None
    decoder: StageFolder
    upsamplers: tuple[StageFolder, ...]
    hash: str | None = None
    """Names all weights and configurations in 16 hexadecimal digits; None before they are saved."""

    def all(self) -> tuple[StageFolder, ...]:
        """The stages in the order they run."""
        stages = (self.clip, self.prior, self.decoder, *self.upsamplers)
        return tuple(stage for stage in stages if stage is not None)


def bundled_folder() -> Path:
    """Where the bundled pocket model lies."""
    return Path(unclip.__file__).parent / POCKET


def find_model(
    name: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> tuple[Path, str | None]:
    """Finds a model's folder; only a hub id (`owner/name`) may reach the network.

    Returns the folder and, where anybody can get the model, its public name. `pocket` is always the
    bundled model; a folder of that name is `./pocket`.

    Raises:
        CheckpointError: there is no such model.
    """
    if name == POCKET:
        if not (bundled_folder() / INDEX).is_file():
            raise CheckpointError(
                "this copy of unclip has no bundled pocket model: install it again, or pass --model"
            )
        return bundled_folder(), POCKET
    folder = Path(name)
    # os.path takes a name that no file can have for one that is not there.
    if os.path.isdir(folder):
        return folder, None
    if os.path.exists(folder):
        raise CheckpointError(f"{name} is a file, expected a model folder with {INDEX}")
    if isinstance(name, Path) or not is_hub_id(name):
        raise CheckpointError(
            f"there is no model folder {name}; a model is a folder with {INDEX}, a hub id like "
            f"owner/name, or {POCKET}"
        )
    found = download(name, revision=revision, local_files_only=local_files_only, token=token)
    return found, name


def read_model(folder: Path) -> ModelStages:
    """Reads all stages, checks each against its manifest, and that they fit each other.

    Raises:
        CheckpointError: something is missing, damaged, foreign or does not fit.
    """
    index = read_index(folder)
    clip = load_stage(folder / index.clip, "clip")
    prior = None if index.prior is None else load_stage(folder / index.prior, "prior")
    decoder = load_stage(folder / index.decoder, "decoder")
    upsamplers = tuple(load_stage(folder / name, "upsampler") for name in index.upsamplers)
    check_fit(clip, prior, decoder, upsamplers)
    return ModelStages(index.name, clip, prior, decoder, upsamplers, model_hash(folder, index))


def write_model(
    folder: Path, model: ModelStages, *, dtype: torch.dtype | None = None, replace: bool = True
) -> str:
    """Writes a model folder and returns its hash; the index comes last, so it is whole or no model.

    Args:
        dtype: floating-point weights are stored in it; None keeps each tensor's own.
        replace: an older model there may be replaced. Other files are never touched.

    Raises:
        CheckpointError: it cannot be written, or there is something that is no older model.
    """
    check_name(model.name)
    check_fit(model.clip, model.prior, model.decoder, model.upsamplers)
    sizes = [stage.config["image_size"] for stage in model.upsamplers]
    index = ModelIndex(
        name=model.name,
        prior=None if model.prior is None else "prior",
        upsamplers=tuple(f"upsampler_{size}" for size in sizes),
    )
    try:
        _make_room(folder, replace)
        for name, stage in zip(index.folders(), model.all(), strict=True):
            save_stage(folder / name, stage, dtype=dtype)
        if not (folder / CARD).exists():
            (folder / CARD).write_text(_card(model), encoding="utf-8")
        write_index(folder, index)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from error
    return model_hash(folder, index)


def model_hash(folder: Path, index: ModelIndex) -> str:
    """Hashes the manifests' hashes of every file of every stage."""
    digest = hashlib.sha256()
    for position, name in enumerate(index.folders()):
        try:
            files = json.loads((folder / name / MANIFEST).read_text(encoding="utf-8"))["files"]
            lines = sorted(
                f"{position} {file} {entry['sha256']}\n" for file, entry in files.items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder / name} has no usable {MANIFEST}") from error
        digest.update("".join(lines).encode())
    return digest.hexdigest()[:16]


def _make_room(folder: Path, replace: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        return
    if not replace:
        raise CheckpointError(f"{folder} is not empty: choose another --out, or pass --force")
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder} is not empty and holds no model: choose another folder")
    # Without its index a half-written folder is no model.
    (folder / INDEX).unlink()


def _card(model: ModelStages) -> str:
    """The model card: what there is, and room for what only its maker knows."""
    sizes = [model.decoder.config["image_size"]]
    sizes += [stage.config["image_size"] for stage in model.upsamplers]
    count = sum(tensor.numel() for stage in model.all() for tensor in stage.tensors.values())
    return (
        "---\nlibrary_name: unclip\npipeline_tag: text-to-image\ntags: [unclip, dall-e-2]\n---\n"
        f"# {model.name}\n\n"
        f"An unCLIP of {count:,} parameters that paints {', '.join(map(str, sizes))} px.\n\n"
        "```python\nfrom unclip import UnCLIPPipeline\n\n"
        'pipe = UnCLIPPipeline.from_pretrained("path or owner/name")\n'
        'pipe("a red apple").images[0].save("apple.png")\n```\n\n'
        "What it was trained on, what it knows and what it is not for: not described yet.\n"
    )
