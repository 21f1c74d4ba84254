"""`unclip convert`: what it says and writes, and that it leaves nothing behind where it fails."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from karlo_like import write_karlo_like

from unclip import safetensors_writer
from unclip.pipeline.folders import read_model


@pytest.fixture(scope="module")
def karlo_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "karlo-like"
    write_karlo_like(folder)
    return folder


def test_to_our_layout(unclip, here: Path):
    outcome = unclip("convert", "../tiny", "half", "--to", "unclip", "--dtype", "float16", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["path"] == "half"
    assert outcome.json["layout"] == "unclip"
    assert outcome.json["model"] == {"name": "tiny", "licence": None}
    assert outcome.json["lost"] == []
    model = read_model(here / "half")
    stored = sum(tensor.nbytes for stage in model.all() for tensor in stage.tensors.values())
    assert outcome.json["bytes"] == stored
    again = unclip("convert", "../tiny", "half", "--to", "unclip")
    assert again.code == 2
    assert again.error == "half holds a model: choose another folder, or pass --force"
    assert unclip("convert", "../tiny", "half", "--to", "unclip", "--force").out == "half\n"
    # The same weights in the same precision are the same model.
    assert read_model(here / "half").hash == read_model(here / ".." / "tiny").hash


def test_to_diffusers(unclip, here: Path, karlo_like: Path):
    outcome = unclip(
        *("convert", str(karlo_like), "to", "--to", "diffusers"),
        *("--dtype", "bfloat16", "--shard-size", "20kB"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out == "to\n"
    assert "not written, for diffusers has no place for it: schedules in float64" in outcome.err
    index = json.loads((here / "to" / "model_index.json").read_text())
    assert index["_class_name"] == "UnCLIPPipeline"
    assert (here / "to" / "decoder" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    # The command reads what it wrote.
    assert unclip("convert", "to", "back", "--to", "unclip").code == 0
    assert unclip("info", "back").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["../tiny", "x", "--to", "ckpt"], "--to is 'ckpt', expected unclip or diffusers"),
        (["../tiny", "x", "--to", "unclip", "--dtype", "int8"], "there is no precision int8 here"),
        (["../tiny", "x", "--to", "diffusers", "--shard-size", "big"], "'big' is no size of a"),
        (["../tiny", "x", "--to", "unclip", "--shard-size", "1GB"], "leave --shard-size out"),
        (["../tiny", "x", "--to", "diffusers"], "tiny cannot be written for diffusers, which has"),
        (["nowhere", "x", "--to", "unclip"], "there is no model folder nowhere"),
        (["../tiny", "../tiny/y", "--to", "unclip"], "lie in each other"),
        (["../tiny", "/proc/unclip/x", "--to", "unclip"], "cannot write /proc/unclip/x: "),
    ],
)
def test_refusals(unclip, here: Path, arguments: list[str], message: str):
    outcome = unclip("convert", *arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert list(here.iterdir()) == []


def test_wrong_calls(unclip):
    assert "--to" in unclip("convert", "../tiny", "x").error
    assert "unclip convert --help" in unclip("convert", "../tiny").error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(unclip, here: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    """A signal while weights are written: as if the command had not been given."""
    write, written = safetensors_writer._write_tensor, []

    def interrupted(*arguments: object) -> None:
        write(*arguments)  # pyright: ignore[reportArgumentType]
        written.append(arguments)
        if len(written) == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(safetensors_writer, "_write_tensor", interrupted)
    outcome = unclip("convert", "../tiny", "x", "--to", "unclip", "--json")
    assert outcome.code == 130
    assert outcome.error == "interrupted: nothing was written"
    assert len(written) < 10
    assert list(here.iterdir()) == []


def test_a_full_disk(unclip, here: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors_writer, "_write_tensor", full)
    outcome = unclip("convert", "../tiny", "x", "--to", "unclip")
    assert outcome.code == 2
    assert outcome.error.endswith("here/x: No space left on device")
    assert list(here.iterdir()) == []
