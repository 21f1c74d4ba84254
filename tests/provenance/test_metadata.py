"""What is written into a picture is read back, and nothing that others write there is trusted."""

import json
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from unclip.config import to_dict
from unclip.errors import InputError
from unclip.provenance.metadata import (
    encode_png,
    parameters,
    read_picture_text,
    read_record,
)
from unclip.provenance.record import (
    Machine,
    ModelRecord,
    PhotoRecord,
    PictureRecord,
    Sampling,
)

RECORD = PictureRecord(
    verb="generate",
    prompt="a red apple",
    seed=7,
    model=ModelRecord(name="pocket", hash="0123456789abcdef", source="pocket"),
    sampling=Sampling(
        size=256,
        prior_steps=25,
        prior_guidance=1.0,
        candidates=2,
        decoder_steps=24,
        decoder_guidance=2.5,
        sampler="dpmpp_2m",
        super_res_steps=(5,),
    ),
    machine=Machine(device="cpu", dtype="float32", torch="2.14.1", threads=2),
    version="0.1.0",
)
VARIATION = replace(
    RECORD,
    verb="variations",
    prompt=None,
    photo=PhotoRecord(sha256="ab" * 32, fit="crop", strength=0.25),
    sampling=replace(RECORD.sampling, prior_steps=None, prior_guidance=None, candidates=None),
)


def save(path: Path, record: PictureRecord | None) -> Path:
    path.write_bytes(encode_png(Image.new("RGB", (4, 4), "teal"), record))
    return path


def with_text(path: Path, key: str, text: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("record", [RECORD, VARIATION], ids=["generate", "variations"])
def test_round_trip(tmp_path: Path, record: PictureRecord) -> None:
    path = save(tmp_path / "a.png", record)
    assert read_record(path) == record
    text = read_picture_text(path)
    assert (text.format, text.width, text.height) == ("PNG", 4, 4)
    assert text.parameters == parameters(record)
    assert Image.open(path).convert("RGB").getpixel((0, 0)) == (0, 128, 128)


@given(prompt=st.text(max_size=200), seed=st.integers(0, 2**63 - 1))
def test_any_prompt_survives(
    prompt: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = replace(RECORD, prompt=prompt, seed=seed)
    path = save(tmp_path_factory.getbasetemp() / "any.png", record)
    assert read_record(path) == record


def test_the_line_that_other_tools_read() -> None:
    assert parameters(RECORD) == (
        "a red apple\nSteps: 24, Sampler: dpmpp_2m, CFG scale: 2.5, Seed: 7, Size: 256x256, "
        "Model hash: 0123456789abcdef, Model: pocket, Prior steps: 25, Version: unclip 0.1.0"
    )
    assert parameters(VARIATION).startswith("Steps: 24, ")
    assert "Prior" not in parameters(VARIATION)


def test_both_are_plain_png_text(tmp_path: Path) -> None:
    """Chunks before the pixels, so that any tool finds them without decoding."""
    content = save(tmp_path / "a.png", replace(RECORD, prompt="Äpfel 🍎")).read_bytes()
    kinds, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kinds.append(content[place + 4 : place + 8])
        place += length + 12
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
    plain = save(tmp_path / "b.png", RECORD).read_bytes()
    assert b"tEXtparameters\0a red apple\nSteps: 24" in plain


def test_no_paths_and_no_names_of_users(tmp_path: Path) -> None:
    text = json.dumps(to_dict(RECORD))
    assert str(Path.home()) not in text
    assert "/" not in text


def test_a_picture_of_somebody_else(tmp_path: Path) -> None:
    Image.new("RGB", (4, 6)).save(tmp_path / "a.jpg")
    text = read_picture_text(tmp_path / "a.jpg")
    assert (text.format, text.height, text.record, text.parameters) == ("JPEG", 6, None, None)
    with pytest.raises(InputError, match="holds no unclip record"):
        read_record(tmp_path / "a.jpg")
    other = with_text(tmp_path / "b.png", "parameters", "a cat\nSteps: 20")
    assert read_picture_text(other).parameters == "a cat\nSteps: 20"


def changed(**values: Any) -> str:
    return json.dumps(to_dict(RECORD) | values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("5", "damaged"),
        ("{}", "damaged"),
        ("[" * 100_000, "damaged"),
        ('"' + "x" * 1_000_001 + '"', "damaged"),
        (changed(schema=2), "schema 2, this unclip reads up to 1"),
        (changed(schema="one"), "schema is 'one'"),
        (changed(seed="seven"), "seed is 'seven'"),
        (changed(model=None), "model is None"),
        (changed(unknown=1), "unknown key"),
        (changed(verb="evil"), "verb is 'evil'"),
        (changed(seed=-1), "seed is -1, expected 0 or more"),
        (changed(sampling=to_dict(RECORD.sampling) | {"size": -64}), "sampling.size is -64"),
        (changed(sampling=to_dict(RECORD.sampling) | {"super_res_steps": [0]}), "super_res_steps"),
        (
            changed(sampling=to_dict(RECORD.sampling) | {"super_res_starts": [1, 1, 1]}),
            "expected one for each of",
        ),
        (changed(prompt=None), "generate has a prompt and no photo"),
        (changed(verb="variations"), "variations the reverse"),
        (changed(photo=to_dict(VARIATION)["photo"]), "generate has a prompt and no photo"),
    ],
)
def test_a_record_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    path = with_text(tmp_path / "a.png", "unclip", text)
    with pytest.raises(InputError, match=reason) as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "text.png": "is no PNG",
        "folder.png": "Is a directory",
        "missing.png": "No such file",
        "nul\0": "damaged",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_picture_text(tmp_path / name)


def test_bombs(tmp_path: Path) -> None:
    bomb = zlib.compress(b"a" * 100_000_000)
    data = b"unclip\0\1\0\0\0" + bomb
    chunk = struct.pack(">I", len(data)) + b"iTXt" + data
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + data))
    content = save(tmp_path / "a.png", None).read_bytes()
    (tmp_path / "bomb.png").write_bytes(content[:33] + chunk + content[33:])
    with pytest.raises(InputError, match="too much text"):
        read_picture_text(tmp_path / "bomb.png")

    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    header += struct.pack(">I", zlib.crc32(header))
    (tmp_path / "large.png").write_bytes(content[:12] + header + content[33:])
    with pytest.raises(InputError, match="too many pixels"):
        read_picture_text(tmp_path / "large.png")


@pytest.mark.requires_exiftool
@pytest.mark.parametrize("prompt", ["a red apple, cartoon", "ein Äpfelchen, 漫画 🍎", 'a "b" \\ c'])
def test_another_program_reads_it(tmp_path: Path, prompt: str) -> None:
    record = replace(RECORD, prompt=prompt)
    path = save(tmp_path / "picture.png", record)
    command = ["exiftool", "-json", "-unknown", "-charset", "utf8", str(path)]
    seen = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    (tags,) = json.loads(seen)
    assert tags["Parameters"].splitlines() == parameters(record).splitlines()
    assert json.loads(tags["Unclip"]) == to_dict(record)


def test_a_record_is_read_without_its_pixels(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", RECORD).read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: whole.index(b"IDAT") + 8])
    assert read_record(cut) == RECORD
