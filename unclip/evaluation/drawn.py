"""Drawings of the built set as cases: what is held out, and what the judge may learn from.

The judge must know a concept to recognise it, and must not know the very picture by heart: of the
concepts that models never see it learns half of the drawings, and is asked about the other half.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unclip.data.drawings.records import Drawing
from unclip.data.pictures import DAMAGE
from unclip.data.samples import to_tensor
from unclip.errors import DataError
from unclip.evaluation.facts import Facts, Shown
from unclip.evaluation.suite import Case

MARGIN = 0.06
"""Free on each side of a drawing that stands alone, over the picture's side."""


def is_for_the_judge(drawing: Drawing) -> bool:
    """Says whether the judge may be trained on a drawing; no figure is taken from such a one."""
    if drawing.tier == "C" or drawing.split == "val":
        return False
    return drawing.split == "train" or _key(drawing) % 2 == 0


def in_fixed_order(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Shuffles by hash: the first ones of any number are of all sources."""
    return sorted(drawings, key=_key)


def _key(drawing: Drawing) -> int:
    return int.from_bytes(hashlib.sha1(drawing.id.encode()).digest()[:8], "big")


def drawing_case(drawing: Drawing) -> Case:
    """Makes a drawing's first caption a case."""
    prompt = drawing.captions[0]
    # The longest: one style's name may be a part of another's.
    style = max((style for style in drawing.styles if style in prompt), key=len, default=None)
    facts = Facts(kind="single", things=(Shown(noun=drawing.name),), style=style)
    return Case(prompt=prompt, facts=facts, key=drawing)


def render(
    folder: Path,
    drawing: Drawing,
    size_px: int,
    *,
    ground: tuple[int, int, int] = (255, 255, 255),
    margin: float = MARGIN,
) -> Float[Tensor, "3 size size"]:
    """Puts a drawing in the middle of a plain picture, in [-1, 1].

    Raises:
        DataError: its picture is missing or damaged.
    """
    path = folder / drawing.file_name
    try:
        with Image.open(path) as file:
            sprite = file.convert("RGBA")
    except DAMAGE as error:
        raise DataError(f"cannot read {path} ({error}): build the set anew") from error
    inner = max(1, round(size_px * (1 - 2 * margin)))
    sprite = _reduced(sprite, inner)
    picture = Image.new("RGB", (size_px, size_px), ground)
    picture.paste(sprite, ((size_px - inner) // 2, (size_px - inner) // 2), sprite)
    return to_tensor(picture)


def _reduced(sprite: Image.Image, size_px: int) -> Image.Image:
    """Resizes with colours weighted by alpha: what is see-through has no colour of its own."""
    pixels = np.asarray(sprite).astype(np.float32)
    alpha = pixels[..., 3:] / 255
    planes = np.concatenate([pixels[..., :3] * alpha, pixels[..., 3:]], axis=-1)
    small = np.stack(
        [
            np.asarray(Image.fromarray(plane).resize((size_px, size_px), Image.Resampling.BOX))
            for plane in np.moveaxis(planes, -1, 0)
        ],
        axis=-1,
    )
    small[..., :3] /= np.maximum(small[..., 3:], 1e-3) / 255
    return Image.fromarray(small.clip(0, 255).round().astype(np.uint8), "RGBA")


def render_all(
    folder: Path, drawings: Sequence[Drawing], size_px: int
) -> Float[Tensor, "batch 3 size size"]:
    """Puts each drawing on white."""
    return torch.stack([render(folder, drawing, size_px) for drawing in drawings])
