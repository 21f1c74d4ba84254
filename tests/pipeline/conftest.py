"""A tiny model of random weights, whole: its stages, its folder, and loaded."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from unclip.pipeline.pipeline import UnCLIPPipeline

PLACE = Path(__file__).with_name("tiny_model.py")


def load_tiny_model() -> ModuleType:
    if "tiny_model" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tiny_model", PLACE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["tiny_model"] = module
        spec.loader.exec_module(module)
    return sys.modules["tiny_model"]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module that makes tiny stages."""
    return load_tiny_model()


@pytest.fixture(scope="session")
def tiny_runs(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of five stages, and `model`, assembled from them. Not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    tiny.make_model(root)
    return root


@pytest.fixture(scope="session")
def tiny_model(tiny_runs: Path) -> Path:
    return tiny_runs / "model"


@pytest.fixture(scope="session")
def pipe(tiny_model: Path) -> UnCLIPPipeline:
    """The model in float32 on the CPU. Not to be changed."""
    return UnCLIPPipeline.from_pretrained(tiny_model)
