"""Scenes of the repository's own illustrations."""

from pathlib import Path

import pytest
from tiny_set import make_tiny_set

from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.sprites import Sprites, load_sprites
from unclip.data.composer.world import World, WorldSettings
from unclip.data.drawings.records import read_set


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def catalogue(tiny_set: Path) -> Catalogue:
    return Catalogue(read_set(tiny_set))


@pytest.fixture(scope="session")
def sprites(tiny_set: Path, catalogue: Catalogue) -> Sprites:
    return load_sprites(tiny_set, catalogue, 64)


@pytest.fixture(scope="session")
def world(catalogue: Catalogue, sprites: Sprites) -> World:
    return World(catalogue, sprites, WorldSettings(), seed=1)
