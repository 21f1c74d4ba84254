"""A tiny model of random weights: its folder, and loaded."""

from pathlib import Path

import pytest

from unclip.pipeline.pipeline import UnCLIPPipeline


@pytest.fixture(scope="session")
def tiny_model(tiny_runs: Path) -> Path:
    return tiny_runs / "model"


@pytest.fixture(scope="session")
def pipe(tiny_model: Path) -> UnCLIPPipeline:
    """The model in float32 on the CPU. Not to be changed."""
    return UnCLIPPipeline.from_pretrained(tiny_model)
