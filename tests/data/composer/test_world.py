"""Scenes are pure functions of their index, hold out what they say, and are laid out as told."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from unclip.config import from_dict, to_dict
from unclip.data.composer.backdrops import SCENERIES
from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.colours import COLOURS
from unclip.data.composer.heldout import HELD_OUT_PERCENT, Pair, is_held_out
from unclip.data.composer.layout import FLOOR, Layout, Shape
from unclip.data.composer.scene import KINDS, MAX_THINGS
from unclip.data.composer.sprites import Sprites
from unclip.data.composer.styles import FILTERS, GREY, ON_WHITE
from unclip.data.composer.world import COLOUR_WORDS, KindShares, World, WorldSettings, pairs
from unclip.data.drawings.records import read_set
from unclip.errors import ConfigError, DataError


def only(kind: str) -> KindShares:
    return KindShares(**{name: float(name == kind) for name in KINDS})


def test_a_scene_is_a_function_of_its_index(
    world: World, catalogue: Catalogue, sprites: Sprites
) -> None:
    again = World(catalogue, sprites, WorldSettings(), seed=1)
    assert [world.describe(i) for i in range(50)] == [again.describe(i) for i in range(50)]
    other = World(catalogue, sprites, WorldSettings(), seed=2)
    assert sum(world.describe(i) == other.describe(i) for i in range(50)) < 3
    assert len({world.describe(i) for i in range(200)}) == 200


def test_every_kind_and_every_filter_comes(world: World) -> None:
    scenes = [world.describe(i) for i in range(600)]
    assert {scene.kind for scene in scenes} == set(KINDS)
    assert {scene.filter for scene in scenes} == {None, *FILTERS}
    for scene in scenes:
        assert len(scene.things) == len(scene.placements) <= MAX_THINGS
        assert (scene.backdrop in SCENERIES) == (scene.kind == "scenery")
        if scene.filter in ON_WHITE:
            assert scene.backdrop == "white"
        if scene.filter in GREY:
            assert all(thing.colour is None for thing in scene.things)
            assert not any(COLOUR_WORDS & set(thing.noun.split()) for thing in scene.things)
        if scene.filter is not None:
            assert scene.style == scene.filter
        for thing in scene.things:
            assert scene.backdrop != thing.colour


def test_pairs_are_held_out(world: World, catalogue: Catalogue, sprites: Sprites) -> None:
    kept = [pair for i in range(2000) for pair in pairs(world.describe(i))]
    assert len(kept) > 1000
    assert not any(map(is_held_out, kept))
    rows = [s for s in map(world.describe, range(2000)) if s.kind == "row"]
    assert all(len([p for p in pairs(s) if p.relation == "side"]) == 2 for s in rows)
    assert Pair("ride", "astronaut", "horse") not in kept

    others = World(catalogue, sprites, WorldSettings(), seed=1, heldout=True)
    scenes = [others.describe(i) for i in range(300)]
    assert all(any(map(is_held_out, pairs(scene))) for scene in scenes)
    found = Counter(pair for scene in scenes for pair in pairs(scene))
    assert found[Pair("ride", "astronaut", "horse")]


def test_a_tenth_of_all_pairs_is_held_out() -> None:
    names = [f"thing{i}" for i in range(60)]
    share = sum(is_held_out(Pair("side", a, b)) for a in names for b in names) / 3600
    assert abs(100 * share - HELD_OUT_PERCENT) < 1.5
    assert is_held_out(Pair("ride", "astronaut", "horse"))
    # Known answers, so that what is held out never changes by accident.
    things = ["apple", "car", "cat", "dog", "fish", "guitar", "heart", "horse", "house", "tree"]
    pairs_ = [Pair("colour", colour, thing) for thing in things for colour in COLOURS]
    assert [pair[1:] for pair in pairs_ if is_held_out(pair)] == [
        ("pink", "dog"),
        ("green", "heart"),
        ("pink", "horse"),
        ("brown", "house"),
        ("orange", "tree"),
        ("yellow", "tree"),
        ("purple", "tree"),
    ]


def test_settings_are_obeyed(catalogue: Catalogue, sprites: Sprites) -> None:
    for kind in KINDS:
        settings = WorldSettings(kinds=only(kind), filter_share=0.0)
        scenes = [World(catalogue, sprites, settings).describe(i) for i in range(20)]
        assert {scene.kind for scene in scenes} == {kind}
        assert {scene.filter for scene in scenes} == {None}
    plain = WorldSettings(
        filter_share=0.0, backdrop_share=0.0, colour_share=0.0, kinds=only("single"), jitter=0.0
    )
    scenes = [World(catalogue, sprites, plain).describe(i) for i in range(40)]
    assert {scene.backdrop for scene in scenes} == {"white"}
    assert {scene.things[0].colour for scene in scenes} == {None}
    assert {scene.placements[0] for scene in scenes} == {scenes[0].placements[0]}
    mirrored = WorldSettings(mirror_share=1.0, kinds=only("single"), jitter=0.0)
    assert World(catalogue, sprites, mirrored).describe(0).placements[0].mirrored


def test_settings_are_checked() -> None:
    assert from_dict(WorldSettings, to_dict(WorldSettings()), "world") == WorldSettings()
    for wrong, message in (
        ({"jitter": 0.5}, "world.jitter is 0.5, expected 0 to 0.2"),
        ({"filters": ("crayon",)}, "world.filters names 'crayon'"),
        ({"filters": ()}, "there are no world.filters"),
    ):
        with pytest.raises(ConfigError, match=message):
            WorldSettings(**wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="kinds are all 0"):
        KindShares(**dict.fromkeys(KINDS, 0.0))


def test_a_bounded_world(tiny_set: Path, catalogue: Catalogue) -> None:
    drawings = read_set(tiny_set)
    few = Catalogue(drawings, nouns=("apple", "key", "horse", "astronaut"))
    assert {entry.noun for entry in few.entries} == {"apple", "key", "horse", "astronaut"}
    assert len(few) < len(catalogue)
    with pytest.raises(ConfigError, match="no word 'crayon'"):
        Catalogue(drawings, nouns=("apple", "crayon"))
    assert Catalogue(drawings, sources=("noto",)).sources == ("noto",)
    with pytest.raises(ConfigError, match="source 'crayon'"):
        Catalogue(drawings, sources=("crayon",))
    with pytest.raises(ConfigError, match="too few drawings"):
        Catalogue(drawings[:1])
    bitmaps = [replace(drawing, svg=None) for drawing in drawings]
    with pytest.raises(ConfigError, match="too few drawings"):
        Catalogue(bitmaps, vector_only=True)


def test_a_world_that_allows_no_scene(catalogue: Catalogue, sprites: Sprites) -> None:
    settings = WorldSettings(kinds=only("wear"))
    with pytest.raises(DataError, match="no scene could be made"):
        World(catalogue, sprites, settings, heldout=True).describe(0)


@pytest.mark.parametrize("height", [0.3, 0.6, 1.0])
def test_riders_sit_on_backs_and_all_is_within_the_picture(world: World, height: float) -> None:
    import numpy as np

    rider, mount = Shape((0.8, height), 0.0), Shape((1.0, 0.8), 0.35)
    above, below = Layout(np.random.default_rng(0), 0.0).riding(rider, mount)
    assert below.y + below.side * 0.8 / 2 == pytest.approx(FLOOR)
    assert above.y - above.side * height / 2 >= 0.02
    back = below.y + (0.35 - 0.5) * below.side
    bottom = above.y + above.side * height / 2
    assert bottom - back == pytest.approx(0.14 * above.side * height, abs=1e-6)
