"""One network at a time: the same pictures, less memory, and how much Karlo takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig, PriorSampling
from prior.model import Prior
from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.errors import InputError
from unclip.nn.residency import ACTIVATIONS_BYTES, sent_ahead
from unclip.pipeline.low_memory import LOW_MEMORY_BYTES, residents_of
from unclip.pipeline.peak import stage_bytes
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.registry import Components
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture
def low(tiny_model: Path) -> UnCLIPPipeline:
    return UnCLIPPipeline.from_pretrained(tiny_model, low_memory=True)


def resident(pipe: UnCLIPPipeline) -> torch.nn.Module | None:
    residency = pipe._residency
    assert residency is not None
    return residency.current.network if residency.current is not None else None


def test_pictures_are_the_same(pipe: UnCLIPPipeline, low: UnCLIPPipeline) -> None:
    settings: dict[str, Any] = {"seed": 3, "size": 1024, "output_type": "pt"}
    whole, parts = pipe("a red apple", **settings), low("a red apple", **settings)
    assert torch.equal(whole.images, parts.images)
    assert torch.equal(whole.image_embeds, parts.image_embeds)
    photo = Image.effect_mandelbrot((80, 80), (-2, -1, 1, 1), 50).convert("RGB")
    settings["size"] = 256
    whole, parts = (p.variations(photo, 2, batch_size=1, **settings) for p in (pipe, low))
    assert torch.equal(whole.images, parts.images)


def test_one_network_at_a_time(low: UnCLIPPipeline) -> None:
    """Seen from every step: the stage's own network and no other."""
    seen: dict[str, torch.nn.Module | None] = {}

    def step(_pipe: Any, _index: int, _t: int, values: dict[str, Any]) -> None:
        seen[values["stage"]] = resident(low)
        here = [n for n in networks if next(n.parameters()).dtype == torch.bfloat16]
        assert here == [seen[values["stage"]]] or values["stage"] == "prior"

    low.to(torch.bfloat16)
    networks = [low.decoder, *(u.unet for u in low.upsamplers)]
    low("x", seed=0, callback_on_step_end=step)
    assert seen == {
        "prior": low.prior,  # which draws candidates, so it stays in float32
        "decoder": low.decoder,
        "upsampler_256": low.upsamplers[0].unet,
        "upsampler_1024": low.upsamplers[1].unet,
    }
    assert resident(low) is None


def test_precision_and_device_can_be_chosen_before_and_after(tiny_model: Path) -> None:
    settings: dict[str, Any] = {"seed": 1, "size": 256, "output_type": "pt"}
    plain = UnCLIPPipeline.from_pretrained(tiny_model, dtype="bfloat16")
    low = UnCLIPPipeline.from_pretrained(tiny_model, dtype="bfloat16", low_memory=True)
    assert plain.dtype == low.dtype == torch.bfloat16
    assert low.device == torch.device("cpu")
    expected = plain("x", **settings).images
    assert torch.equal(expected, low("x", **settings).images)
    later = UnCLIPPipeline.from_pretrained(tiny_model).enable_low_memory()
    assert later.dtype == torch.float32
    later.to("cpu", torch.bfloat16)
    assert torch.equal(expected, later("x", **settings).images)


def test_one_picture_at_a_time_unless_more_are_asked_for(low: UnCLIPPipeline) -> None:
    sizes: list[int] = []
    for wish in (None, 2):
        low("x", 2, size=64, batch_size=wish, on_image=lambda p: sizes.append(p.batch_size))
    assert sizes == [1, 1, 2, 2]
    with pytest.raises(InputError, match="batch_size is 0"):
        low("x", size=64, batch_size=0)


def test_it_can_be_saved(low: UnCLIPPipeline, pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    low.encode_text("x")
    assert resident(low) is low.clip.text
    low.save_pretrained(tmp_path / "copy")
    copy = UnCLIPPipeline.from_pretrained(tmp_path / "copy")
    settings: dict[str, Any] = {"seed": 1, "size": 256, "output_type": "pt"}
    assert torch.equal(copy("x", **settings).images, pipe("x", **settings).images)


def test_an_interrupted_call_leaves_nothing_behind(low: UnCLIPPipeline) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        low("x", seed=0, size=64, callback_on_step_end=fail)
    assert resident(low) is None


@pytest.fixture(scope="module")
def karlo() -> Components:
    """Karlo's shapes without numbers, in float16 but for CLIP, as they are on a device."""
    with torch.device("meta"):
        model = Components(
            CLIP(CLIPConfig(), Tokenizer(open_clip_merges(), 49408, 77)),
            Prior(PriorConfig(sampling=PriorSampling(guidance_scale=4.0, candidates=1))),
            Decoder(DecoderConfig()),
            (Upsampler(UpsamplerConfig()),),
        )
    assert model.prior is not None
    for network in (model.prior, model.decoder, *model.upsamplers):
        assert network is not None
        network.to(torch.float16)
    return model


@pytest.mark.slow
def test_karlo_in_float16_fits_into_four_gigabytes(karlo: Components) -> None:
    found = stage_bytes(karlo)
    weights = {"clip text": 0.496, "prior": 2.044, "decoder": 1.787, "upsampler_256": 1.383}
    for stage, gigabytes in weights.items():
        activations = found[stage] - gigabytes * 1e9
        assert 0 < activations < ACTIVATIONS_BYTES, stage
        assert found[stage] < LOW_MEMORY_BYTES
    # Both of Karlo's networks of 64 to 256 px, the second sent ahead.
    assert found["upsampler_256"] + weights["upsampler_256"] * 1e9 < LOW_MEMORY_BYTES
    assert sum(found.values()) > LOW_MEMORY_BYTES


@pytest.mark.slow
def test_who_is_sent_ahead(karlo: Components) -> None:
    """Karlo's prior while CLIP reads; not the decoder beside the prior, which would not fit."""
    residents = list(residents_of(karlo, torch.float16))
    for budget, ahead in ((LOW_MEMORY_BYTES, [True, True, False, False]), (10**10, [True] * 4)):
        sent = [sent_ahead(residents, resident, budget) for resident in residents]
        assert [following is not None for following in sent] == [*ahead, False]


@needs_cuda
def test_on_cuda_it_is_the_same_picture(tiny_model: Path) -> None:
    settings: dict[str, Any] = {"seed": 1, "size": 256, "output_type": "pt"}
    plain = UnCLIPPipeline.from_pretrained(tiny_model).to("cuda")("x", **settings).images
    low = UnCLIPPipeline.from_pretrained(tiny_model, low_memory=True).to("cuda")
    assert low.device.type == "cuda"
    for _ in range(2):
        assert (plain - low("x", **settings).images).abs().max() < 1e-3
    assert not next(low.decoder.parameters()).is_cuda
