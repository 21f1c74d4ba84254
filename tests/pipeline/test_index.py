"""Nothing that a model's files name is imported, unpickled, or looked up outside the folder."""

import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unclip.errors import CheckpointError
from unclip.pipeline.folders import read_model
from unclip.pipeline.index import INDEX, ModelIndex, read_index, write_index

COMPONENTS = {"clip": "clip", "prior": "prior", "decoder": "decoder", "upsamplers": ["up"]}
GOOD: dict[str, Any] = {
    "_class_name": "UnCLIPPipeline",
    "unclip_version": "0.1.0",
    "name": "pocket",
    "components": COMPONENTS,
}


FORBIDDEN = ("socket.connect", "pickle.find_class", "os.system", "subprocess.Popen")
seen: list[str] = []


def watch(event: str, _: tuple) -> None:
    if event in FORBIDDEN:
        seen.append(event)


sys.addaudithook(watch)


@pytest.fixture(autouse=True)
def nothing_is_imported(tmp_path: Path, tiny_model: Path) -> Iterator[None]:
    """In the test no module is loaded, nothing unpickled, no socket opened."""
    before = set(sys.modules)
    seen.clear()
    yield
    assert set(sys.modules) == before
    assert not seen


def write(folder: Path, data: object) -> Path:
    (folder / INDEX).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


def test_round_trip(tmp_path: Path) -> None:
    index = ModelIndex(name="Äpfel 2", upsamplers=("up_256", "up_1024"))
    write_index(tmp_path, index)
    assert read_index(tmp_path) == index
    assert index.folders() == ("clip", "prior", "decoder", "up_256", "up_1024")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (GOOD | {"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline"),
        (GOOD | {"_class_name": ["os", "system"]}, "'os', 'system'"),
        (GOOD | {"prior": ["diffusers", "PriorTransformer"]}, "'diffusers', 'PriorTransformer'"),
        (GOOD | {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        (GOOD | {"custom_pipeline": "evil/pipeline"}, "custom_pipeline"),
        (GOOD | {"components": COMPONENTS | {"safety": "antigravity"}}, "'safety'"),
        (GOOD | {"components": COMPONENTS | {"prior": "../other"}}, "'../other'"),
        (GOOD | {"components": COMPONENTS | {"prior": ".."}}, "'..'"),
        (GOOD | {"components": COMPONENTS | {"prior": "/etc"}}, "'/etc'"),
        (GOOD | {"components": COMPONENTS | {"prior": "a\x00b"}}, "prior"),
        (GOOD | {"components": COMPONENTS | {"prior": ["antigravity", "Prior"]}}, "antigravity"),
        (GOOD | {"components": COMPONENTS | {"upsamplers": ["../x"]}}, "'../x'"),
        (GOOD | {"components": COMPONENTS | {"upsamplers": "up"}}, "no list"),
        (GOOD | {"components": COMPONENTS | {"upsamplers": ["clip"]}}, "one folder for two"),
        (GOOD | {"components": {"clip": "clip"}}, "no component prior, decoder, upsamplers"),
        (GOOD | {"name": "a\x1b[31mb"}, "no name of a model"),
        (GOOD | {"name": 5}, "no name"),
        ([1], "keys and values"),
        ("{", "no model index"),
        ("[" * 100_000, "no model index"),
        ('{"a": ' + '"' + "x" * 1_100_000 + '"}', "more than 1000000 bytes"),
    ],
)
def test_refused_by_name(tmp_path: Path, data: object, named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_index(write(tmp_path, data))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "antigravity" not in sys.modules


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        read_index(tmp_path)
    (tmp_path / INDEX).mkdir()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_index(tmp_path)
    (tmp_path / INDEX).rmdir()
    (tmp_path / INDEX).write_bytes(b"\xff\xfe{}")
    with pytest.raises(CheckpointError, match="no model index"):
        read_index(tmp_path)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.ckpt"])
def test_pickles_are_not_opened(tiny_model: Path, tmp_path: Path, name: str) -> None:
    model, marker = tmp_path / "model", tmp_path / "executed"
    shutil.copytree(tiny_model, model)
    (model / "prior" / "model.safetensors").unlink()
    (model / "prior" / name).write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(CheckpointError):
        read_model(model)
    assert not marker.exists()
