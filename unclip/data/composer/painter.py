"""Paints batches of scenes on the device where the sprites lie."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.backdrops import NAMES as BACKDROPS
from unclip.data.composer.backdrops import paint_backdrops
from unclip.data.composer.colours import COLOURS, recolour
from unclip.data.composer.colours import NAMES as COLOUR_NAMES
from unclip.data.composer.compose import over, place_sprites
from unclip.data.composer.scene import MAX_THINGS, Scene
from unclip.data.composer.sprites import Sprites
from unclip.data.composer.styles import FILTERS, shrink
from unclip.data.composer.styles import NAMES as STYLES

FILTER_PX = 128
"""Filtered scenes are painted at least at this side, so that strokes are not lost."""


THING_ROW = ("drawings", "colours", "boxes")
ROW = (*THING_ROW, "backdrop", "filter", "noise_seed")
"""What a scene is written as; the first of them for each of its things."""


def to_row(scene: Scene) -> dict[str, Tensor]:
    """Writes a scene as tensors of fixed sizes, which batches can be made of."""
    drawings = torch.full((MAX_THINGS,), -1)
    colours = torch.full((MAX_THINGS,), -1)
    boxes = torch.zeros(MAX_THINGS, 4)
    for i, (thing, place) in enumerate(zip(scene.things, scene.placements, strict=True)):
        drawings[i] = thing.drawing
        boxes[i] = torch.tensor((place.x, place.y, place.side, float(place.mirrored)))
        if thing.colour is not None:
            colours[i] = COLOUR_NAMES.index(thing.colour)
    return {
        "drawings": drawings,
        "colours": colours,
        "boxes": boxes,
        "backdrop": torch.tensor(BACKDROPS.index(scene.backdrop)),
        "filter": torch.tensor(-1 if scene.filter is None else STYLES.index(scene.filter)),
        "noise_seed": torch.tensor(scene.noise_seed),
    }


def to_batch(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Stacks the rows of scenes."""
    rows = [to_row(scene) for scene in scenes]
    return {name: torch.stack([row[name] for row in rows]) for name in ROW}


class Painter:
    """Scenes to pictures of one size; the same for each scene whatever stands beside it."""

    def __init__(self, sprites: Sprites, size_px: int) -> None:
        self.sprites, self.size_px = sprites, size_px
        self.targets = torch.tensor(list(COLOURS.values()), device=sprites.pixels.device)

    @property
    def device(self) -> torch.device:
        """Where it paints."""
        return self.sprites.pixels.device

    def paint(self, scenes: Sequence[Scene]) -> Float[Tensor, "batch 3 size size"]:
        """Paints scenes, in [-1, 1]."""
        return self.paint_batch(to_batch(scenes))

    @torch.no_grad()
    def paint_batch(self, batch: Mapping[str, Any]) -> Float[Tensor, "batch 3 size size"]:
        """Paints a batch of rows (`to_row`), in [-1, 1], in float32 even under autocast."""
        with torch.autocast(self.device.type, enabled=False):
            return self._paint(batch)

    def _paint(self, batch: Mapping[str, Any]) -> Float[Tensor, "batch 3 size size"]:
        rows = {name: batch[name].to(self.device) for name in ROW}
        filters = rows["filter"].tolist()
        images = torch.empty(len(filters), 3, self.size_px, self.size_px, device=self.device)
        for number in sorted(set(filters)):
            chosen = torch.tensor(
                [i for i, other in enumerate(filters) if other == number], device=self.device
            )
            part = {name: value[chosen] for name, value in rows.items()}
            side = self.size_px if number < 0 else max(self.size_px, FILTER_PX)
            painted = self._compose(part, side)
            if number >= 0:
                painted = FILTERS[STYLES[number]](painted, part["noise_seed"])
            images[chosen] = shrink(painted, self.size_px)
        return (images * 2 - 1).clamp(-1, 1)

    def _compose(self, rows: Mapping[str, Tensor], side_px: int) -> Tensor:
        """Backdrop and things, in [0, 1]; only the scenes that have an i-th thing pay for it."""
        canvas = paint_backdrops(rows["backdrop"], rows["noise_seed"], side_px)
        canvas = canvas.expand(len(rows["filter"]), 3, side_px, side_px).clone()
        for i in range(MAX_THINGS):
            present = (rows["drawings"][:, i] >= 0).nonzero()[:, 0]
            if not len(present):
                break
            layer = self._layer({name: rows[name][present, i] for name in THING_ROW}, side_px)
            canvas[present] = over(canvas[present], layer)
        return canvas

    def _layer(self, rows: Mapping[str, Tensor], side_px: int) -> Tensor:
        drawings, colours = rows["drawings"], rows["colours"]
        pixels = self.sprites.pixels[drawings].float() / 255
        turned = (colours >= 0).nonzero()[:, 0]
        if len(turned):
            main, target = self.sprites.main[drawings[turned]], self.targets[colours[turned]]
            pixels[turned, :3] = recolour(pixels[turned, :3], main, target)
        rgb, alpha = pixels[:, :3], pixels[:, 3:]
        x, y, side, mirrored = rows["boxes"].unbind(1)
        boxes = torch.stack([x, y, side], 1)
        return place_sprites(torch.cat([rgb * alpha, alpha], 1), boxes, mirrored, side_px)


def to_uint8(images: Float[Tensor, "batch 3 size size"]) -> Tensor:
    """Turns pictures in [-1, 1] into bytes, channels last."""
    scaled = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(scaled, "batch c h w -> batch h w c")
