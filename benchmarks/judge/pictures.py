"""The judge's training pictures: drawings of the set, and scenes, with captions of its own.

Nothing that a figure is taken from is among them: no held-out drawing, none of tier C, and of the
held-out concepts only the half that the suite leaves to the judge.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from unclip.data.composer.painter import to_uint8
from unclip.data.composer.world import WorldSettings
from unclip.data.drawings.records import Drawing, read_set
from unclip.data.scenes import BACKGROUNDS, describe, paint
from unclip.evaluation.bundled import case_of
from unclip.evaluation.composed import PAINTED, RECIPES, ComposedScenes, Recipe, only
from unclip.evaluation.composed import case_of as composed_case
from unclip.evaluation.drawn import is_for_the_judge, render
from unclip.evaluation.facts import Facts, Shown, wordings

SIZE_PX = 64
MAIN_SHARE = 0.55
"""Of a drawing's colour over what is drawn, from which it is named."""
COLOURED_GROUND = 0.3
MARGINS = (0.0, 0.22)
SCENE_SEED = 77
_RIDES = WorldSettings(kinds=only(ride=4.0, wear=1.0))
SCENES = (
    (RECIPES["seen"], 0.4),
    (RECIPES["heldout_compositions"], 0.3),
    (Recipe(settings=_RIDES), 0.15),
    (Recipe(settings=_RIDES, heldout=True), 0.15),
)
"""Composed scenes and their shares; who rides what is the hardest to tell."""
BUNDLED_PART = 8
"""One scene of the bundled illustrations to so many composed ones."""


def write_pictures(out: Path, folder: Path, *, copies: int, scenes: int) -> int:
    """Writes a folder of captioned pictures, each drawing `copies` times; returns their number.

    `metadata.jsonl` comes last: a folder without it is unfinished.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (image, facts) in enumerate(_all(folder, copies, scenes)):
        file = f"images/{number:06d}.png"
        image.save(out / file, "PNG", compress_level=1)
        lines.append(json.dumps({"file_name": file, "captions": wordings(facts)}) + "\n")
    partial_file = out / "metadata.jsonl.partial"
    partial_file.write_text("".join(lines), "utf-8")
    os.replace(partial_file, out / "metadata.jsonl")
    return len(lines)


def _all(folder: Path, copies: int, scenes: int) -> Iterator[tuple[Image.Image, Facts]]:
    drawings = [d for d in read_set(folder, splits=("train", "test")) if is_for_the_judge(d)]
    for copy in range(copies):
        for place, drawing in enumerate(drawings):
            yield _single(folder, drawing, np.random.default_rng([copy, place]))
    composed = ComposedScenes(folder)
    for recipe, share in SCENES:
        found = islice(composed.scenes(recipe, SCENE_SEED), round(share * scenes))
        while part := list(islice(found, PAINTED)):
            for image, scene in zip(composed.paint(part, SIZE_PX), part, strict=True):
                yield _to_pil(image), composed_case(scene).facts
    for index in range(scenes // BUNDLED_PART):
        scene = describe(index, SCENE_SEED)
        yield paint(scene, SIZE_PX), case_of(scene).facts


def _single(folder: Path, drawing: Drawing, rng: np.random.Generator) -> tuple[Image.Image, Facts]:
    """A drawing at a random size, now and then on a coloured ground."""
    name, colour = None, (255, 255, 255)
    if rng.random() < COLOURED_GROUND and drawing.coverage < 0.9:
        name = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
        colour = BACKGROUNDS[name]
    image = render(folder, drawing, SIZE_PX, ground=colour, margin=rng.uniform(*MARGINS))
    main = [hue for hue, share in drawing.colors[:1] if share > MAIN_SHARE]
    shown = Shown(noun=drawing.name, colour=main[0] if main else None)
    style = drawing.styles[rng.integers(len(drawing.styles))]
    return _to_pil(image), Facts(kind="single", things=(shown,), style=style, ground=name)


def _to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(image[None])[0].contiguous().numpy())
