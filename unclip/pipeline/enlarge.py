"""Upsamplers of ours after another model's last: Karlo ends at 256 px, they go on to 1024."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unclip.checkpoint import MANIFEST, load_stage
from unclip.errors import CheckpointError, InputError
from unclip.pipeline.assemble import stage_folder
from unclip.pipeline.folders import POCKET, bundled_folder
from unclip.pipeline.index import INDEX, read_index
from upsamplers.model import Upsampler, from_stage


def open_upsamplers(
    source: str | Path | None, painted: Sequence[int], size: int | None = None
) -> tuple[tuple[Upsampler, ...], str]:
    """Reads the upsamplers that go on from the last size that is painted, and their hash.

    They enlarge truly: what comes before them is no picture of their own training's, and they are
    told that nothing spoilt it.

    Args:
        source: a stage folder, a training run, or a model folder; None is the bundled pocket.
        painted: the sizes without them, in pixels a side.
        size: the size to reach; None is the largest that can be had.

    Raises:
        CheckpointError: there is no such folder, or it holds no upsampler or a damaged one.
        InputError: the size cannot be reached.
    """
    folder = bundled_folder() if source in (None, POCKET) else Path(str(source))
    chain, at, digest = [], painted[-1], hashlib.sha256()
    for place in _stages(folder):
        upsampler = from_stage(load_stage(place, "upsampler"))
        if upsampler.config.low_size == at and at != size:
            chain.append(without_augmentation(upsampler))
            at = upsampler.config.image_size
            digest.update((place / MANIFEST).read_bytes())
    if not chain or at != (size or at):
        sizes = ", ".join(map(str, painted))
        goal = f" to {size}" if size else ""
        raise InputError(
            f"this model paints {sizes} px, and no upsampler in {folder} leads from "
            f"{painted[-1]}{goal} px: choose another --size or --upsampler"
        )
    return tuple(chain), digest.hexdigest()[:16]


def without_augmentation(upsampler: Upsampler) -> Upsampler:
    """Returns the same network with another default: nothing spoilt the small picture."""
    twin = copy.copy(upsampler)
    sampling = replace(upsampler.config.sampling, augmentation=0.0)
    twin.config = replace(upsampler.config, sampling=sampling)
    return twin


def _stages(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no folder {folder}: --upsampler takes a stage, a run or a model folder"
        )
    if (folder / INDEX).is_file():
        return [folder / name for name in read_index(folder).upsamplers]
    return [stage_folder(folder)]
