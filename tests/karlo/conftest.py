"""diffusers' own tiny pipelines, and folders of them, made once a session. Not to be changed."""

from pathlib import Path

import pytest
from karlo_folders import (
    DUMMY,
    KARLO,
    Pair,
    image_variation,
    pair,
    randomise,
    text_to_image,
    write_tokenizer,
)


@pytest.fixture(scope="session")
def karlo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("karlo")
    write_tokenizer(root / "tokenizer")
    return root


@pytest.fixture(scope="session")
def prompts(karlo_root: Path) -> Pair:
    """Text to image, all parameters random."""
    theirs = text_to_image(KARLO, karlo_root / "tokenizer")
    randomise(theirs.components)
    return pair(theirs, karlo_root / "prompts")


@pytest.fixture(scope="session")
def pictures(karlo_root: Path) -> Pair:
    """Image variations, all parameters random."""
    theirs = image_variation(KARLO, karlo_root / "tokenizer")
    randomise(theirs.components)
    return pair(theirs, karlo_root / "pictures")


@pytest.fixture(scope="session")
def removed_prompts(karlo_root: Path) -> Pair:
    """Text to image of diffusers' removed tests."""
    return pair(text_to_image(DUMMY, karlo_root / "tokenizer"), karlo_root / "removed_prompts")


@pytest.fixture(scope="session")
def removed_pictures(karlo_root: Path) -> Pair:
    """Image variations of diffusers' removed tests."""
    return pair(image_variation(DUMMY, karlo_root / "tokenizer"), karlo_root / "removed_pictures")
