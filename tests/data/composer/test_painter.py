"""Painting: the same picture in any batch and at any size, sprites where they belong."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from unclip.data.composer.backdrops import BACKDROPS, NAMES, PLAIN, paint_backdrops
from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.colours import COLOURS, recolour, to_hsv, to_rgb
from unclip.data.composer.compose import over, place_sprites
from unclip.data.composer.dataset import LargeCrops, ScenePictures
from unclip.data.composer.large import LargeScenes, render_large
from unclip.data.composer.noise import hashed, smooth
from unclip.data.composer.painter import Painter, to_uint8
from unclip.data.composer.scene import Placement, Scene, Thing
from unclip.data.composer.sprites import Sprites, load_sprites, make_sprites
from unclip.data.composer.styles import FILTERS, GREY, blur
from unclip.data.composer.world import World, WorldSettings
from unclip.errors import ConfigError, DataError

Batch = torch.Tensor


def psnr(a: Batch, b: Batch) -> float:
    return 10 * math.log10(4 / max(1e-12, (a - b).square().mean().item()))


def test_neighbours_do_not_matter(world: World, sprites: Sprites) -> None:
    scenes = [world.describe(i) for i in range(40)]
    painter = Painter(sprites, 64)
    together = painter.paint(scenes)
    assert together.shape == (40, 3, 64, 64)
    assert together.abs().max() <= 1
    for i in range(0, 40, 7):
        alone = painter.paint(scenes[i : i + 1])[0]
        assert (alone - together[i]).abs().max() < 1 / 127.5, scenes[i]


def test_autocast_changes_nothing(world: World, sprites: Sprites) -> None:
    scenes = [world.describe(i) for i in range(12)]
    plain = Painter(sprites, 64).paint(scenes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Painter(sprites, 64).paint(scenes), plain)


def test_a_scene_does_not_hang_on_the_size_of_the_sprites(
    tiny_set: Path, catalogue: Catalogue, world: World
) -> None:
    large = World(catalogue, load_sprites(tiny_set, catalogue, 128), WorldSettings(), seed=1)
    assert [large.describe(i) for i in range(60)] == [world.describe(i) for i in range(60)]


def test_the_size_changes_the_sharpness_alone(world: World, sprites: Sprites) -> None:
    scenes = [replace(world.describe(i), filter=None) for i in range(24)]
    small = Painter(sprites, 64).paint(scenes)
    large = Painter(sprites, 256).paint(scenes)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    for a, b in zip(small, shrunk, strict=True):
        assert psnr(a, b) > 24


def disc(side: int = 64) -> Image.Image:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = 255 * (np.hypot(x, y) < side / 2 - 1)
    rgb = np.full((side, side, 3), (200, 30, 30))
    return Image.fromarray(np.dstack([rgb, alpha]).astype(np.uint8), "RGBA")


def one(colour: str | None = None, **place: float) -> Scene:
    thing = Thing(drawing=0, noun="disc", colour=colour)
    where = replace(Placement(x=0.5, y=0.5, side=0.5), **place)
    return Scene(
        kind="single",
        source="noto",
        style="x",
        filter=None,
        things=(thing,),
        placements=(where,),
        backdrop="white",
        noise_seed=0,
    )


def test_a_disc_lies_where_it_is_told() -> None:
    sprites = make_sprites([disc], 64)
    image = (Painter(sprites, 64).paint([one(x=0.25, y=0.6, side=0.4)])[0] + 1) / 2
    ink = 1 - image[1]  # green is missing where it is red
    down, across = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    assert (ink * across).sum() / ink.sum() / 64 == pytest.approx(0.25, abs=0.005)
    assert (ink * down).sum() / ink.sum() / 64 == pytest.approx(0.6, abs=0.005)
    area = (ink / ink.max()).sum() / 64**2
    assert area == pytest.approx(math.pi * 0.2**2, rel=0.08)


@pytest.mark.parametrize("side", [0.13, 0.37, 0.9, 1.0])
def test_an_even_area_stays_even(side: float) -> None:
    sprite = torch.ones(1, 4, 96, 96)
    box = torch.tensor([[0.5, 0.5, side]])
    layer = place_sprites(sprite, box, torch.zeros(1), 64)[0, 3]
    inside = layer[layer > 0.999]
    assert inside.numel() >= ((side * 64 - 4) ** 2)
    assert layer.max() <= 1.0001
    assert layer.sum() == pytest.approx((side * 64) ** 2, rel=0.02)
    white = over(torch.zeros(1, 3, 64, 64), layer.expand(1, 4, -1, -1))
    assert torch.equal(white[0, 0], layer)


def test_mirroring() -> None:
    sprite = torch.zeros(1, 4, 8, 8)
    sprite[..., :4] = 1
    box = torch.tensor([[0.5, 0.5, 1.0]])
    plain, mirrored = (place_sprites(sprite, box, torch.tensor([m]), 8) for m in (0.0, 1.0))
    assert torch.equal(mirrored, plain.flip(-1))


@pytest.mark.parametrize("name", COLOURS)
def test_a_thing_has_the_colour_it_was_given(name: str) -> None:
    sprites = make_sprites([disc], 64)
    assert sprites.main_share[0] > 0.9
    image = (Painter(sprites, 64).paint([one(colour=name)]) + 1) / 2
    hue, saturation, value = to_hsv(image)[0, :, 32, 32]
    expected = COLOURS[name]
    assert hue == pytest.approx(expected[0], abs=1)
    assert saturation == pytest.approx(expected[1], abs=0.02)
    assert value == pytest.approx(expected[2], abs=0.02)


def test_other_colours_stay() -> None:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    main = torch.tensor([[120.0, 0.5, 0.5]] * 2)
    turned = recolour(image, main, torch.tensor([[300.0, 0.5, 0.5]] * 2))
    hue = to_hsv(image)[:, 0]
    far = ((hue - 120 + 180) % 360 - 180).abs() > 31
    assert torch.equal(turned.permute(0, 2, 3, 1)[far], image.permute(0, 2, 3, 1)[far])
    assert not torch.equal(turned, image)


def test_hsv_there_and_back() -> None:
    image = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(to_rgb(to_hsv(image)), image, atol=1e-5, rtol=0)
    reference = np.asarray(Image.fromarray(to_uint8(image * 2 - 1)[0].numpy()).convert("HSV"))
    rounded = to_uint8(image * 2 - 1)[0].permute(2, 0, 1)[None].float() / 255
    hsv = to_hsv(rounded)[0]
    distance = (hsv[0] * 255 / 360 - torch.from_numpy(reference[..., 0].astype(np.float32))).abs()
    assert (distance % 255).max() <= 1.1


def test_backdrops() -> None:
    which = torch.arange(len(NAMES))
    painted = paint_backdrops(which, torch.zeros(len(NAMES), dtype=torch.long), 64)
    for name, image in zip(NAMES, painted.expand(-1, 3, 64, 64), strict=True):
        if name in PLAIN:
            colour = torch.tensor(PLAIN[name]) / 255
            torch.testing.assert_close(image, colour[:, None, None].expand(3, 64, 64))
        top = torch.tensor(BACKDROPS[name].sky[0]) / 255
        assert (image[:, 0].median(-1).values - top).abs().max() < 0.03, name


@pytest.mark.parametrize("name", FILTERS)
def test_filters(name: str, world: World, sprites: Sprites) -> None:
    scenes = [world.describe(i) for i in range(6)]
    images = (Painter(sprites, 128).paint([replace(s, filter=None) for s in scenes]) + 1) / 2
    seeds = torch.arange(6)
    painted = FILTERS[name](images, seeds)
    assert painted.shape == images.shape
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert psnr(painted, images) < 40  # it does something
    assert (painted[3] - FILTERS[name](images[3:4], seeds[3:4])[0]).abs().max() < 1e-4
    if name in GREY - {"sepia drawing", "neon sign"}:
        assert (painted.amax(1) - painted.amin(1)).max() == 0


def test_blur_is_a_gaussian_of_its_width() -> None:
    image = torch.zeros(1, 1, 65, 65)
    image[..., 32, 32] = 1
    blurred = blur(image, 3 / 65)[0, 0]
    place = torch.arange(65) - 32.0
    assert blurred.sum() == pytest.approx(1, abs=1e-3)
    variance = (blurred.sum(0) * place**2).sum()
    assert variance == pytest.approx(9 + 1 / 12, rel=0.02)
    even = blur(torch.full((1, 3, 32, 32), 0.3), 0.1)
    torch.testing.assert_close(even, torch.full_like(even, 0.3))


def test_noise_is_a_hash() -> None:
    seeds = torch.tensor([1, 2, 1])
    values = hashed(seeds, 64, 64)
    assert torch.equal(values[0], values[2])
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    assert values.std() == pytest.approx(12**-0.5, abs=0.01)
    flat = values[:2].flatten(1)
    assert abs(torch.corrcoef(flat)[0, 1]) < 0.05
    beside = torch.corrcoef(torch.stack([values[0, :, 1:].flatten(), values[0, :, :-1].flatten()]))
    assert abs(beside[0, 1]) < 0.05
    # A known answer: the same on every machine.
    assert int(hashed(torch.tensor([7]), 2, 2)[0, 1, 1] * 2**24) == KNOWN_HASH
    coarse, fine = smooth(seeds, 8, 64), smooth(seeds, 8, 256)
    shrunk = torch.nn.functional.avg_pool2d(fine, 4)
    assert (coarse - shrunk).abs().mean() < 0.02


KNOWN_HASH = 4347944


def test_the_large_picture_is_the_same_scene(
    world: World, sprites: Sprites, catalogue: Catalogue, tiny_set: Path
) -> None:
    for i in range(4):
        scene = replace(world.describe(i), filter=None)
        large = render_large(scene, catalogue, tiny_set, 512)
        shrunk = torch.nn.functional.avg_pool2d(large[None], 8)[0]
        assert psnr(shrunk, Painter(sprites, 64).paint([scene])[0]) > 22, scene


def test_large_pictures_are_kept(
    world: World, catalogue: Catalogue, tiny_set: Path, tmp_path: Path
) -> None:
    large = LargeScenes(catalogue, tiny_set, 256, tmp_path / "cache", max_bytes=10**6)
    first = large.picture(world.describe(0))
    (kept,) = (tmp_path / "cache").iterdir()
    assert torch.equal(large.picture(world.describe(0)), first)
    kept.write_bytes(kept.read_bytes()[:100])  # cut off: made again
    assert torch.equal(large.picture(world.describe(0)), first)
    large.max_bytes = 1
    large.picture(world.describe(1))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    bitmap = replace(catalogue.entries[0].drawing, svg=None)
    fake = Catalogue([replace(entry.drawing, svg=None) for entry in catalogue.entries])
    assert bitmap in [entry.drawing for entry in fake.entries]
    with pytest.raises(ConfigError, match="vectors only"):
        render_large(world.describe(0), fake, tiny_set, 128)


@pytest.mark.slow
def test_processes_share_a_small_cache(tiny_set: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from unclip.data.composer.dataset import LargeCrops\n"
        "from unclip.data.composer.world import WorldSettings\n"
        "crops = LargeCrops(Path(sys.argv[1]), WorldSettings(), seed=1, num=40, size_px=128,\n"
        "    crop_px=64, cache=Path(sys.argv[2]), cache_bytes=20_000)\n"
        "[crops[(7 * i + int(sys.argv[3])) % 40, i] for i in range(60)]"
    )
    command = [sys.executable, "-c", code, str(tiny_set), str(tmp_path / "cache")]
    running = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [process.wait(timeout=300) for process in running] == [0] * 4


def test_sprites_are_packed_once(tiny_set: Path, catalogue: Catalogue, sprites: Sprites) -> None:
    packs = {path: path.stat().st_mtime_ns for path in (tiny_set / "packs").iterdir()}
    again = load_sprites(tiny_set, catalogue, 64)
    assert {path: path.stat().st_mtime_ns for path in (tiny_set / "packs").iterdir()} == packs
    assert torch.equal(again.pixels, sprites.pixels)
    assert (again.extent.amax(1) == 1).all()
    drawing = catalogue.entries[0].drawing
    missing = replace(drawing, file_name="images/absent.webp")
    broken = [missing, *(entry.drawing for entry in catalogue.entries[1:])]
    with pytest.raises(DataError, match="damaged or missing"):
        load_sprites(tiny_set, Catalogue(broken), 64)


def test_a_training_set(tiny_set: Path) -> None:
    pictures = ScenePictures(tiny_set, WorldSettings(), seed=3, size_px=64, synonym_share=0.5)
    pictures.prepare(torch.device("cpu"))
    samples = [pictures.dataset[i, 100 + i] for i in range(6)]
    batch = default_collate(samples)
    images = pictures.images(batch)
    assert images.shape == (6, 3, 64, 64)
    assert not images.is_inference()
    scene = pictures.dataset.world.describe(103)
    torch.testing.assert_close(images[3], pictures.painter.paint([scene])[0])
    assert pictures.dataset[0, 103]["caption"] == samples[3]["caption"]
    assert pictures.dataset[9, 103]["caption"] == samples[3]["caption"]
    few = ScenePictures(tiny_set, WorldSettings(), seed=3, size_px=64, num=5)
    assert len(few.dataset) == 5
    rows = [few.dataset[2, position] for position in range(20)]
    assert all(torch.equal(row["drawings"], rows[0]["drawings"]) for row in rows)
    assert len({row["caption"] for row in rows}) > 1


def test_crops_of_large_pictures(tiny_set: Path, tmp_path: Path) -> None:
    crops = LargeCrops(
        tiny_set,
        WorldSettings(),
        seed=2,
        num=3,
        size_px=256,
        crop_px=64,
        cache=tmp_path,
        cache_bytes=10**8,
    )
    samples = [crops[1, position] for position in range(8)]
    assert {tuple(sample["image"].shape) for sample in samples} == {(3, 64, 64)}
    assert torch.equal(crops[1, 4]["image"], samples[4]["image"])
    assert not torch.equal(samples[0]["image"], samples[1]["image"])
    assert len(list(tmp_path.iterdir())) == 1  # one scene, rendered once
    whole = crops.large.picture(crops.world.describe(1))
    windows = whole.unfold(1, 64, 1).unfold(2, 64, 1)
    difference = (windows - samples[0]["image"][:, None, None]).abs().amax((0, 3, 4))
    assert difference.min() == 0
