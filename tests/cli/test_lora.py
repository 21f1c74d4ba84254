"""`--lora`: other pictures, a record that names it, and made again with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from tiny_loras import write_random

from unclip import UnCLIPPipeline
from unclip.provenance.metadata import read_picture_text

Command = Callable[..., Any]


def test_lora(unclip: Command, here: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(here.parent / "tiny")
    write_random(here / "dog.safetensors", "decoder", pipe.decoder)
    call = ("generate", "a red apple", "--seed", "3", "-o")
    assert unclip(*call, "plain.png", tiny=True).code == 0
    assert unclip(*call, "zero.png", "--lora", "dog.safetensors:0", tiny=True).code == 0
    done = unclip(*call, "dog.png", "--lora", "dog.safetensors:0.5", tiny=True)
    assert done.code == 0, done.err
    plain, zero, dog = (Image.open(f"{name}.png").tobytes() for name in ("plain", "zero", "dog"))
    assert plain == zero != dog
    text = read_picture_text("dog.png")
    assert text.record is not None
    assert text.parameters is not None
    (lora,) = text.record.model.loras
    assert (lora.name, lora.scale) == ("sks", 0.5)
    assert f"with the LoRA sks ({lora.hash}), scale 0.5" in done.err
    assert f'Lora hashes: "sks: {lora.hash}"' in text.parameters

    repro = ("repro", "dog.png", "--model", "../tiny", "--force")
    assert "made with the LoRA sks" in unclip(*repro).error
    assert unclip(*repro, "--lora", "dog.safetensors", "--json").json["equal"]
    assert "leave it out" in unclip(*repro, "--lora", "dog.safetensors:0.5").error
    wrong = unclip("repro", "plain.png", "--model", "../tiny", "--lora", "dog.safetensors")
    assert "was not made with the LoRA dog.safetensors: leave it out" in wrong.error
    alike = unclip("variations", "dog.png", "--lora", "dog.safetensors", "--json", tiny=True)
    assert alike.json["loras"] == [{"name": "sks", "hash": lora.hash, "scale": 1.0}]
    assert "there is no LoRA none" in unclip(*call, "x.png", "--lora", "none", tiny=True).error
