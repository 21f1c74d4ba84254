"""Karlo on the command line: its own sizes and larger ones, its licence, what it cannot do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import randomise as randomise_upsampler
from tiny_model import upsampler_config

import upsamplers.model
from unclip.checkpoint import save_stage
from unclip.errors import CheckpointError
from unclip.pipeline.enlarge import open_upsamplers
from unclip.provenance.metadata import read_record
from upsamplers.model import Upsampler

STEPS = ("--steps", "2")
Command = Callable[..., Any]


@pytest.fixture(scope="session")
def upsampler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of ours, from 32 to 128 px."""
    folder = tmp_path_factory.mktemp("upsampler") / "upsampler_128"
    network = Upsampler(upsampler_config(32, 128))
    randomise_upsampler(network, 9)
    stage = upsamplers.model.to_stage(network.config, network.state_dict(), {})
    save_stage(folder, stage)
    return folder


@pytest.fixture
def karlo(karlo_folder: Path, here: Path) -> str:
    (here.parent / "karlo").symlink_to(karlo_folder)
    return "../karlo"


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "unclip" / "licences.json"


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_generate(unclip: Command, karlo: str, untold: Path) -> None:
    done = unclip("generate", "lower", "--model", karlo, "--seed", "3", *STEPS, "-o", "a.png")
    assert done.code == 0, done.err
    assert pixels("a.png").shape == (32, 32, 3)
    assert "using the model karlo" in done.err
    assert done.err.count("Open RAIL-M") == 1
    record = read_record("a.png")
    assert record.sampling.super_res_steps == (7,)
    assert (record.sampling.prior_guidance, record.sampling.candidates) == (4.0, 1)
    again = unclip("repro", "a.png", "--model", karlo)
    assert again.code == 0, again.err
    assert "Open RAIL-M" not in again.err
    assert "karlo" in untold.read_text()


def test_a_licence_is_told_again_where_nothing_can_be_remembered(
    unclip: Command, karlo: str, untold: Path
) -> None:
    untold.mkdir(parents=True)
    for _ in range(2):
        assert unclip("info", karlo).err.count("Open RAIL-M") == 1
    untold.rmdir()
    untold.write_text("{")
    assert unclip("info", karlo).err.count("Open RAIL-M") == 1
    assert unclip("info", karlo).err == ""


def test_it_goes_on_to_a_larger_size(unclip: Command, karlo: str, upsampler: Path) -> None:
    call = ("generate", "lower", "--model", karlo, "--seed", "3", *STEPS)
    done = unclip(*call, "--size", "128", "--upsampler", str(upsampler), "-o", "a.png")
    assert done.code == 0, done.err
    large = pixels("a.png")
    assert large.shape == (128, 128, 3)
    told = [line for line in done.err.splitlines() if "goes on to 128 px" in line]
    assert told == [f"the model ends at 32 px; {upsampler} goes on to 128 px"]
    # The picture before it is the one that the model paints by itself.
    record = read_record("a.png")
    assert record.model.upsampler is not None
    assert record.sampling.super_res_steps == (7, 2)
    again = unclip("repro", "a.png", "--model", karlo, "--upsampler", str(upsampler), "-o", "b.png")
    assert again.code == 0, again.err
    assert np.array_equal(large, pixels("b.png"))


def test_an_upsampler_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="there is no folder none"):
        open_upsamplers("none", (8, 32), 99)


def test_sizes_that_cannot_be_had(unclip: Command, karlo: str, upsampler: Path) -> None:
    call = ("generate", "lower", "--model", karlo)
    done = unclip(*call, "--size", "1024")
    assert done.code == 2
    assert "paints 8, 32 px, and no upsampler in" in done.error
    assert "from 32 to 1024 px" in done.error
    done = unclip(*call, "--size", "200", "--upsampler", str(upsampler))
    assert "from 32 to 200 px" in done.error
    done = unclip(*call, "--upsampler", str(upsampler))
    assert done.code == 2
    assert "--upsampler is for a larger --size" in done.error


def test_variations_need_an_image_tower(unclip: Command, karlo: str) -> None:
    Image.new("RGB", (9, 9)).save("photo.png")
    done = unclip("variations", "photo.png", "--model", karlo)
    assert done.code == 2
    assert "no image tower: take one of image variations, kakaobrain/" in done.error


def test_info(unclip: Command, karlo: str) -> None:
    data = unclip("info", karlo, "--json").json
    assert data["model"]["licence"] == "creativeml-openrail-m"
    assert data["model"]["sizes"] == [8, 32]
    stages = {stage["stage"]: stage for stage in data["stages"]}
    assert list(stages) == ["clip", "prior", "decoder", "upsampler"]
    for stage in stages.values():
        assert stage["memory"]["float32"] == 4 * stage["parameters"] == stage["bytes"]
    assert stages["decoder"]["memory"]["float16"] == 2 * stages["decoder"]["parameters"]
    assert stages["clip"]["memory"]["float16"] == 4 * stages["clip"]["parameters"]
    assert data["memory"]["float32"] == data["bytes"]
    done = unclip("info", karlo)
    assert "licence: creativeml-openrail-m" in done.out
    assert "MB in float16" in done.out


@pytest.mark.parametrize("verb", ["generate", "info"])
def test_hub_options(
    unclip: Command, monkeypatch: pytest.MonkeyPatch, karlo_folder: Path, verb: str
) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def hf_hub_download(repo: str, name: str, **options: Any) -> str:
        asked.append(options)
        return str(karlo_folder / name)

    def snapshot_download(repo: str, **options: Any) -> str:
        asked.append(options)
        return str(karlo_folder)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    options = ("--revision", "v1", "--local-files-only")
    call = (
        ("info", "a/karlo") if verb == "info" else ("generate", "x", "--model", "a/karlo", *STEPS)
    )
    done = unclip(*call, *options)
    assert done.code == 0, done.err
    assert asked[0]["revision"] == "v1"
    assert all(options["local_files_only"] for options in asked)


def test_hub_options_are_for_models(unclip: Command) -> None:
    Image.new("RGB", (9, 9)).save("photo.png")
    assert "--revision is for models" in unclip("info", "photo.png", "--revision", "v1").error


def test_float16_files_say_what_is_computed(
    unclip: Command, karlo_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(karlo_folder, tmp_path / "half")
    for path in (tmp_path / "half").rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    done = unclip("generate", "lower", "--model", str(tmp_path / "half"), *STEPS, "-o", "a.png")
    assert done.code == 0, done.err
    (told,) = [line for line in done.err.splitlines() if line.startswith("float16")]
    computed = read_record("a.png").machine.dtype
    assert told == f"float16 is not computed on a CPU, {computed} is in its place"
    assert computed in ("bfloat16", "float32")
