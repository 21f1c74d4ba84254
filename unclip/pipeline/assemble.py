"""`unclip assemble`: trained stages joined to a model folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from unclip.checkpoint import CONFIG, load_stage
from unclip.errors import CheckpointError
from unclip.pipeline.folders import ModelStages, write_model
from unclip.pipeline.registry import build

FINAL = "final"
"""Where a training run puts its averaged weights."""


def assemble(
    out: Path,
    *,
    clip: Path,
    prior: Path,
    decoder: Path,
    upsamplers: Sequence[Path] = (),
    name: str | None = None,
    dtype: torch.dtype | None = None,
    replace: bool = False,
) -> ModelStages:
    """Joins stage folders, or run folders' `final/`, to a model folder.

    Args:
        upsamplers: from the smallest size to the largest.
        name: the model's; None takes the folder's.
        dtype: weights are stored in it; None keeps them as they are.
        replace: an older model in `out` may be replaced.

    Raises:
        CheckpointError: a stage is missing, damaged, of another kind, or does not fit the others.
    """
    model = ModelStages(
        name or out.resolve().name,
        load_stage(stage_folder(clip), "clip"),
        load_stage(stage_folder(prior), "prior"),
        load_stage(stage_folder(decoder), "decoder"),
        tuple(load_stage(stage_folder(folder), "upsampler") for folder in upsamplers),
    )
    # Building them is the proof that weights and configuration agree.
    build(model)
    digest = write_model(out, model, dtype=dtype, replace=replace)
    return ModelStages(model.name, model.clip, model.prior, model.decoder, model.upsamplers, digest)


def stage_folder(folder: Path) -> Path:
    """Returns a stage folder: the one given, or that of a finished training run.

    Raises:
        CheckpointError: there is neither.
    """
    if (folder / FINAL / CONFIG).is_file():
        return folder / FINAL
    if (folder / CONFIG).is_file() or not (folder / "config.yaml").is_file():
        return folder
    raise CheckpointError(
        f"{folder} is a training run without {FINAL}/: let it finish, then assemble again"
    )


def parse_parts(parts: Sequence[str]) -> dict[str, list[Path]]:
    """Reads `clip=DIR prior=DIR decoder=DIR upsamplers=DIR,DIR`.

    Raises:
        CheckpointError: a part is unknown, doubled, empty or missing.
    """
    known = ("clip", "prior", "decoder", "upsamplers")
    found: dict[str, list[Path]] = {}
    for part in parts:
        kind, equals, value = part.partition("=")
        if kind not in known or not equals:
            raise CheckpointError(
                f"{part!r} is no part of a model, expected {'=DIR, '.join(known)}=DIR,DIR"
            )
        folders = [Path(folder) for folder in value.split(",") if folder]
        if kind in found or not folders or (kind != "upsamplers" and len(folders) > 1):
            raise CheckpointError(f"{part!r}: expected {kind}= once, with its folder")
        found[kind] = folders
    if missing := [kind for kind in known[:3] if kind not in found]:
        raise CheckpointError(f"a model also needs {'=DIR and '.join(missing)}=DIR")
    return found
