"""Another program reads what is written into a picture."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from unclip.config import from_dict
from unclip.provenance.metadata import encode_png, parameters
from unclip.provenance.record import Machine, ModelRecord, PictureRecord, Sampling


@pytest.mark.requires_exiftool
@pytest.mark.parametrize("prompt", ["a red apple, cartoon", "ein Äpfelchen, 漫画 🍎", 'a "b" \\ c'])
def test_exiftool_reads_the_record_and_the_parameters(tmp_path: Path, prompt: str) -> None:
    record = PictureRecord(
        verb="generate",
        prompt=prompt,
        seed=7,
        model=ModelRecord(name="pocket", hash="0123456789abcdef", source="pocket"),
        sampling=Sampling(
            size=64,
            prior_steps=25,
            prior_guidance=1.0,
            candidates=2,
            decoder_steps=24,
            decoder_guidance=2.5,
            sampler="dpmpp_2m",
            super_res_steps=(),
        ),
        machine=Machine(device="cpu", dtype="float32", torch="2.14.1", threads=2),
        version="0.1.0",
    )
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(Image.new("RGB", (4, 4), "teal"), record))
    command = ["exiftool", "-json", "-unknown", "-charset", "utf8", str(path)]
    seen = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    (tags,) = json.loads(seen)
    assert tags["Parameters"].splitlines() == parameters(record).splitlines()
    assert from_dict(PictureRecord, json.loads(tags["Unclip"]), "record") == record
