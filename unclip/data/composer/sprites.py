"""The drawings as sprites: cropped squares of one size, and what placing them needs to know.

They are packed once into a safetensors file beside the set, which is mapped into memory.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.data.composer.backdrops import BACKDROPS
from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.colours import HUE_REACH, SATURATED, to_hsv
from unclip.data.pictures import DAMAGE
from unclip.errors import DataError

VERSION = 2
"""Of what is packed; another one is packed anew."""
DRAWN = 16
"""Alpha from which a pixel counts as drawn, of 255."""
OPAQUE = 100
"""Alpha from which a pixel belongs to the shape, of 255."""
BLEND_DISTANCE = 0.27
"""Colours (RGB, 0 to 1) nearer than this to a backdrop do not stand out from it."""
MEASURED_PX = 96
"""Side at which shapes are measured."""
SMALL_PX = 48
"""Side at which colours are measured."""


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """All sprites of a catalogue, in its order; tensors on one device."""

    pixels: Tensor
    """(sprites, 4, side, side) uint8; the drawing is centred and its longer side fills the
    square."""
    extent: Tensor
    """(sprites, 2) width and height, over the square's side."""
    seat: Tensor
    """(sprites,) height of the back in the middle, from the square's top, over its side."""
    main: Tensor
    """(sprites, 3) main hue in degrees, its mean saturation and value."""
    main_share: Tensor
    """(sprites,) of what is drawn, how much has the main hue."""
    blend: Tensor
    """(sprites, backdrops) how much of what is drawn would blend into a backdrop."""

    def to(self, device: torch.device | str) -> "Sprites":
        """Moves all to a device."""
        return Sprites(**{name: value.to(device) for name, value in vars(self).items()})

    @property
    def side_px(self) -> int:
        """Of a sprite's square."""
        return self.pixels.shape[-1]


def load_sprites(folder: Path, catalogue: Catalogue, side_px: int = 96) -> Sprites:
    """Reads the sprites of a catalogue from the set's pack, which is made where there is none.

    Raises:
        DataError: a drawing is missing or damaged.
    """
    path = folder / "packs" / f"{_key(catalogue, side_px)}.safetensors"
    if not path.is_file():
        files = [folder / entry.drawing.file_name for entry in catalogue.entries]
        sprites = make_sprites([partial(_open, file) for file in files], side_px)
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(vars(sprites), unfinished)
        os.replace(unfinished, path)
    return Sprites(**load_file(path))


def _key(catalogue: Catalogue, side_px: int) -> str:
    drawings = "\n".join(repr(entry.drawing) for entry in catalogue.entries)
    about = f"{VERSION} {side_px} {BACKDROPS}\n{drawings}"
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("WEBP", "PNG")) as image:
            return image.convert("RGBA")
    except DAMAGE as error:
        raise DataError(f"{path} is damaged or missing: run unclip data illustrations") from error


def make_sprites(drawings: Sequence[Callable[[], Image.Image]], side_px: int) -> Sprites:
    """Makes sprites of pictures with alpha; each is opened when its turn comes."""
    pixels = torch.zeros(len(drawings), 4, side_px, side_px, dtype=torch.uint8)
    # Measured at one side, so that a scene does not depend on the size it is painted at.
    measured_px = torch.zeros(len(drawings), 4, MEASURED_PX, MEASURED_PX, dtype=torch.uint8)
    extent = torch.zeros(len(drawings), 2)

    def make(number: int) -> None:
        image = drawings[number]()
        pixels[number] = _to_tensor(fill_square(image, side_px)[0])
        square, size = fill_square(image, MEASURED_PX)
        measured_px[number] = _to_tensor(square)
        extent[number] = torch.tensor(size) / MEASURED_PX

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, range(len(drawings))))
    measured = [_measure(part) for part in measured_px.split(256)]
    about = {name: torch.cat([part[name] for part in measured]) for name in measured[0]}
    return Sprites(pixels=pixels, extent=extent, **about)


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def fill_square(image: Image.Image, side_px: int) -> tuple[Image.Image, tuple[int, int]]:
    """Crops a picture to what is drawn and centres it on a square whose side its longer one is;
    returns the width and height, too."""
    drawn = np.asarray(image.getchannel("A")) > DRAWN
    box = Image.fromarray(drawn).getbbox()
    image = image.crop(box) if box else image
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Premultiplied: what is see-through has no colour that could bleed into the edge.
    image = image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    square = Image.new("RGBA", (side_px, side_px), (0, 0, 0, 0))
    square.paste(image, ((side_px - size[0]) // 2, (side_px - size[1]) // 2))
    return square, size


def _measure(pixels: Tensor) -> dict[str, Tensor]:
    """Measures seats, main hues, and which backdrops a drawing would blend into."""
    alpha = pixels[:, 3] > OPAQUE
    side = pixels.shape[-1]
    middle = alpha[..., round(0.4 * side) : round(0.62 * side)]
    heights = torch.where(middle.any(1), middle.float().argmax(1).float(), torch.tensor(side / 2))
    seat = heights.quantile(0.65, dim=1) / side

    small = torch.nn.functional.interpolate(pixels.float() / 255, (SMALL_PX, SMALL_PX), mode="area")
    rgb, drawn = small[:, :3].flatten(2), small[:, 3].flatten(1) > OPAQUE / 255
    count = drawn.sum(1).clamp(min=1)
    main, main_share = _main_hue(small[:, :3], drawn, count)
    skies = [torch.tensor(scenery.sky).float().mean(0) / 255 for scenery in BACKDROPS.values()]
    far = torch.stack([(rgb - sky[None, :, None]).norm(dim=1) for sky in skies], 1)
    blend = ((far < BLEND_DISTANCE) & drawn[:, None]).sum(-1) / count[:, None]
    return {"seat": seat, "main": main, "main_share": main_share, "blend": blend}


def _main_hue(rgb: Tensor, drawn: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The hue around which most of the coloured pixels lie."""
    hue, saturation, value = to_hsv(rgb).flatten(2).unbind(1)
    coloured = drawn & (saturation > SATURATED)
    centres = torch.arange(0, 360, 6.0)
    distance = ((hue[:, None] - centres[:, None] + 180) % 360 - 180).abs()
    near = (distance <= HUE_REACH) & coloured[:, None]
    best = near.sum(-1).argmax(1)
    near = near[torch.arange(len(rgb)), best]
    total = near.sum(1).clamp(min=1)
    means = [(channel * near).sum(1) / total for channel in (saturation, value)]
    return torch.stack([centres[best], *means], 1), near.sum(1) / count
