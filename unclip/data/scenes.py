"""The pocket world: a bounded, seeded, indexable set of captioned scenes, drawn from the
illustrations.

`describe(index, seed)` says what a scene shows, `paint(scene, size_px)` draws it at any size from
64 to 1024 pixels, so that large pictures are true targets for the upsamplers.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from unclip.data.composer.backdrops import PLAIN
from unclip.data.filters import pencil_drawing, pixel_art
from unclip.data.illustrations import COLOURS, OPAQUE, index, main_hue, recoloured, sprite

Style = Literal["cartoon", "flat illustration", "pencil drawing", "pixel art"]

STYLES: tuple[Style, ...] = ("cartoon", "flat illustration", "pencil drawing", "pixel art")
BACKGROUNDS = {
    name: PLAIN[name]
    for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "gray")
}
RIDERS = ("astronaut", "cat", "dog", "penguin", "bird")
MOUNTS = ("horse", "elephant", "camel", "turtle")
BUSTS = ("astronaut",)
"""Riders that are drawn without legs."""
PAIR_SHARE = 0.3
"""Share of riding scenes that show the astronaut on the horse."""
RIDE_SHARE = 0.25
WHITE_SHARE = 0.4
COLOURED_SHARE = 0.65
"""Share of single things that are recoloured, where the drawing allows it."""
SCALES, RIDE_SCALES = (0.82, 0.9), (0.9, 0.96)
PLAY = 0.02
"""How far a thing's centre may lie from the picture's. All stand much in the same place: a decoder
as small as the pocket model's learns the shapes then, and not first where they may be."""
RIDER_SIZE = 0.56
"""Of the rider's longer side, over the mount's."""
BLEND_DISTANCE = 70
"""Colours (RGB, 0 to 255) nearer than this to the background do not stand out from it."""
BLEND_SHARE = 0.3
"""A background is left out where more of the drawing than this would blend into it."""
MIN_PAINT_PX = 256
"""Smaller pictures are painted at this size and reduced, so that all sizes show the same
strokes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What a picture shows; everything random about it is decided here."""

    source: str
    style: Style
    thing: str
    """What stands alone, or rides."""
    colour: str | None = None
    """Of the thing, where it was recoloured."""
    mount: str | None = None
    """What is ridden."""
    background: str | None = None
    """A colour of `BACKGROUNDS`; None is white."""
    scale: float
    """Longer side over the picture's side."""
    centre: tuple[float, float]
    """Over the picture's side."""


def describe(scene_index: int, seed: int = 0) -> Scene:
    """Decides a scene as a pure function of its index and the seed."""
    rng = np.random.default_rng([seed, scene_index])
    style = STYLES[rng.integers(len(STYLES))]
    sources = {about["style"]: name for name, about in index()["sources"].items()}
    source = sources.get(style) or list(sources.values())[rng.integers(len(sources))]
    things = [entry["thing"] for entry in index()["drawings"] if entry["source"] == source]

    thing, mount = things[rng.integers(len(things))], None
    if rng.random() < RIDE_SHARE:
        thing, mount = RIDERS[rng.integers(len(RIDERS))], MOUNTS[rng.integers(len(MOUNTS))]
        if rng.random() < PAIR_SHARE:
            thing, mount = "astronaut", "horse"
    colour = list(COLOURS)[rng.integers(len(COLOURS))]
    recolour = (
        mount is None and rng.random() < COLOURED_SHARE and main_hue(source, thing) is not None
    )
    background = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    white = rng.random() < WHITE_SHARE or style == "pencil drawing"
    shown = [(thing, colour if recolour else None), *([(mount, None)] if mount else [])]
    white = white or any(_blends(source, *drawing, background) for drawing in shown)
    low, high = SCALES if mount is None else RIDE_SCALES
    return Scene(
        source=source,
        style=style,
        thing=thing,
        colour=colour if recolour and style != "pencil drawing" else None,
        mount=mount,
        background=None if white else background,
        scale=rng.uniform(low, high),
        centre=(0.5 + PLAY * rng.uniform(-1, 1), 0.5 + PLAY * rng.uniform(-1, 1)),
    )


@cache
def _blends(source: str, thing: str, colour: str | None, background: str) -> bool:
    """Says whether a good part of a drawing has about the background's colour."""
    image = recoloured(source, thing, colour, 96) if colour else sprite(source, thing, 96)
    pixels = np.asarray(image).astype(int)
    drawn = pixels[pixels[..., 3] > OPAQUE, :3]
    distance = np.linalg.norm(drawn - np.array(BACKGROUNDS[background]), axis=-1)
    return bool((distance < BLEND_DISTANCE).mean() > BLEND_SHARE)


def captions(scene: Scene) -> list[str]:
    """Says what a scene shows in a few ways; colours are named where they are seen."""
    what = _with_article(f"{scene.colour} {scene.thing}" if scene.colour else scene.thing)
    if scene.mount:
        what = f"{what} riding {_with_article(scene.mount)}"
    ground = f" on {_with_article(scene.background)} background" if scene.background else ""
    plain = " on a white background" if not scene.background else ground
    style = _with_article(scene.style) if scene.style != "pixel art" else scene.style
    said = [
        f"{what}{ground}, {scene.style}",
        f"{style} of {what}{ground}",
        f"{what}{plain}, {scene.style}",
        f"{scene.style}, {what}{ground}",
        f"{what}{ground}",  # no style: any will do
    ]
    return list(dict.fromkeys(said))


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def paint(scene: Scene, size_px: int) -> Image.Image:
    """Draws a scene as RGB; a small picture is a large one reduced."""
    side = max(size_px, MIN_PAINT_PX)
    ground = BACKGROUNDS[scene.background] if scene.background else (255, 255, 255)
    canvas = Image.new("RGB", (side, side), ground)
    figure = _figure(scene, round(scene.scale * side))
    left = round(scene.centre[0] * side - figure.width / 2)
    top = round(scene.centre[1] * side - figure.height / 2)
    canvas.paste(figure, (left, top), figure)
    if scene.style == "pencil drawing":
        canvas = pencil_drawing(canvas)
    elif scene.style == "pixel art":
        canvas = pixel_art(canvas)
    if size_px < side:
        canvas = canvas.resize((size_px, size_px), Image.Resampling.BOX)
    return canvas


def _figure(scene: Scene, size_px: int) -> Image.Image:
    """Draws what the scene shows, with alpha; the longer side has `size_px`."""
    if scene.mount:
        figure = _rider_on_mount(scene, 2 * size_px // 3)
    elif scene.colour:
        figure = recoloured(scene.source, scene.thing, scene.colour, size_px)
    else:
        figure = sprite(scene.source, scene.thing, size_px)
    factor = size_px / max(figure.size)
    width, height = (max(1, round(side * factor)) for side in figure.size)
    return figure.resize((width, height), Image.Resampling.LANCZOS)


def _rider_on_mount(scene: Scene, size_px: int) -> Image.Image:
    """Seats the rider on the upper edge of the mount's back, its lower end hidden by the mount; a
    rider drawn without legs gets one."""
    assert scene.mount is not None
    mount = sprite(scene.source, scene.mount, size_px)
    rider = sprite(scene.source, scene.thing, round(RIDER_SIZE * size_px))
    alpha = np.asarray(mount.getchannel("A")) > 128
    middle = round(0.5 * mount.width)
    back = alpha[:, middle - mount.width // 10 : middle + mount.width // 10]
    seat = round(back.argmax(axis=0).mean())
    sunk = round(0.12 * rider.height)
    above = max(0, rider.height - sunk - seat)
    canvas = Image.new("RGBA", (max(mount.width, rider.width), mount.height + above), (0, 0, 0, 0))
    at = (canvas.width - mount.width) // 2
    canvas.paste(rider, (at + middle - rider.width // 2, above + seat + sunk - rider.height), rider)
    canvas.alpha_composite(mount, (at, above))
    if scene.thing in BUSTS:
        _draw_leg(canvas, rider, hip=(at + middle, above + seat))
    return canvas


def _draw_leg(canvas: Image.Image, rider: Image.Image, hip: tuple[int, int]) -> None:
    """Draws a leg in the colour of the rider's lower end, the foot towards the mount's head."""
    pixels = np.asarray(rider)[-rider.height // 4 :]
    red, green, blue = np.median(pixels[pixels[..., 3] > 128, :3], axis=0).astype(int)
    x, y = hip
    thick, length = 0.17 * rider.width, 0.45 * rider.height
    knee, foot = (x - 0.3 * thick, y + length), (x - 1.2 * thick, y + length)
    pen = ImageDraw.Draw(canvas)
    for width, shade in ((1.25 * thick, 0.62), (thick, 1.0)):  # an outline under the leg
        colour = (int(shade * red), int(shade * green), int(shade * blue), 255)
        pen.line([(x, y), knee, foot], fill=colour, width=round(width), joint="curve")
        for left, top in ((x, y), knee, foot):
            pen.ellipse(
                (left - width / 2, top - width / 2, left + width / 2, top + width / 2), colour
            )
