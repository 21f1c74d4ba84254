"""True large pictures of scenes: the same composition of the drawings' SVGs, rendered at full size.

They are what upsamplers learn from. A picture takes a second or so, so it is kept on disk.
"""

import hashlib
import io
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.painter import Painter, to_uint8
from unclip.data.composer.scene import Scene
from unclip.data.composer.sprites import VERSION, make_sprites
from unclip.data.drawings.files import write_whole
from unclip.data.drawings.render import rasterise
from unclip.data.pictures import DAMAGE
from unclip.data.samples import open_picture, to_tensor
from unclip.errors import BackendError, ConfigError, DataError

AROUND = 1.3
"""A drawing is rendered so much larger than its sprite, whose square it does not fill."""


def render_large(
    scene: Scene, catalogue: Catalogue, folder: Path, size_px: int
) -> Float[Tensor, "3 size size"]:
    """Renders a scene from the SVGs of a set, in [-1, 1].

    Raises:
        ConfigError: one of its drawings is a bitmap: take a catalogue of vectors only.
        DataError: an SVG is missing or cannot be rendered.
        BackendError: the SVG renderer (extra `data`) is not installed.
    """
    used = list(dict.fromkeys(thing.drawing for thing in scene.things))
    side_px = ceil(max(place.side for place in scene.placements) * size_px)
    open_each = [
        partial(_rasterise, catalogue.entries[number].drawing.svg, folder, ceil(AROUND * side_px))
        for number in used
    ]
    sprites = make_sprites(open_each, side_px)
    things = tuple(replace(thing, drawing=used.index(thing.drawing)) for thing in scene.things)
    return Painter(sprites, size_px).paint([replace(scene, things=things)])[0]


def _rasterise(svg: str | None, folder: Path, side_px: int) -> Image.Image:
    if svg is None:
        raise ConfigError("a bitmap cannot be rendered large: take a catalogue of vectors only")
    if find_spec("resvg_py") is None:
        raise BackendError("drawing SVGs needs resvg-py: pip install resvg-py")
    try:
        return rasterise((folder / svg).read_text(encoding="utf-8"), side_px)
    except DAMAGE as error:
        raise DataError(
            f"{folder / svg} cannot be rendered ({error}): build the set anew"
        ) from error


class LargeScenes:
    """Large pictures of scenes, kept on disk up to a number of bytes; the oldest go first."""

    def __init__(
        self, catalogue: Catalogue, folder: Path, size_px: int, cache: Path, max_bytes: int
    ) -> None:
        self.catalogue, self.folder, self.size_px = catalogue, folder, size_px
        self.cache, self.max_bytes = cache, max_bytes
        cache.mkdir(parents=True, exist_ok=True)

    def picture(self, scene: Scene) -> Float[Tensor, "3 size size"]:
        """Returns a scene's picture in [-1, 1], rounded to bytes, from disk where it is there."""
        path = self.cache / f"{self._key(scene)}.png"
        try:
            return to_tensor(open_picture(path))
        except DAMAGE:  # not there yet, or cut off
            made = render_large(scene, self.catalogue, self.folder, self.size_px)
            image = Image.fromarray(to_uint8(made[None])[0].contiguous().numpy())
            self._keep(path, image)
            return to_tensor(image)

    def _key(self, scene: Scene) -> str:
        names = [self.catalogue.entries[thing.drawing].drawing.id for thing in scene.things]
        about = f"{VERSION} {self.size_px} {names} {scene}"
        return hashlib.sha256(about.encode()).hexdigest()[:24]

    def _keep(self, path: Path, image: Image.Image) -> None:
        content = io.BytesIO()
        image.save(content, "PNG", compress_level=4)
        write_whole(path, content.getvalue())
        kept = sorted(filter(None, map(_age_and_size, self.cache.glob("*.png"))))
        total = sum(size for _, size, _ in kept)
        while total > self.max_bytes and len(kept) > 1:
            _, size, oldest = kept.pop(0)
            total -= size
            oldest.unlink(missing_ok=True)


def _age_and_size(path: Path) -> tuple[int, int, Path] | None:
    """When a file was written, and its bytes; None where another process has removed it."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_mtime_ns, about.st_size, path
