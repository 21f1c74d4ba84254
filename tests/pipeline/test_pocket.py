"""The pocket model: its recipe, its size, and that it paints what is asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from decoder.config import DecoderRun
from decoder.model import Decoder
from prior.config import PriorRun
from unclip.config import load_config, to_dict
from unclip.pipeline.folders import bundled_folder
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.training.clip import ClipRun
from upsamplers.config import UpsamplerRun

RECIPE = Path(__file__).parents[2] / "configs" / "pocket"
RUNS = {
    "clip": ClipRun,
    "prior": PriorRun,
    "decoder": DecoderRun,
    "upsampler_256": UpsamplerRun,
    "upsampler_1024": UpsamplerRun,
}


@pytest.fixture(scope="module")
def pocket() -> UnCLIPPipeline:
    return UnCLIPPipeline.from_pretrained("pocket")


def test_the_recipe_is_what_the_bundled_networks_are(pocket: UnCLIPPipeline) -> None:
    networks = {
        "clip": pocket.clip,
        "prior": pocket.prior,
        "decoder": pocket.decoder,
        "upsampler_256": pocket.upsamplers[0],
        "upsampler_1024": pocket.upsamplers[1],
    }
    for name, network in networks.items():
        run = load_config(RUNS[name], RECIPE / f"{name}.yaml")
        assert to_dict(network.config) == to_dict(run.model), name


def test_all_stages_are_within_40_megabytes() -> None:
    weights = list(bundled_folder().rglob("*.safetensors"))
    assert len(weights) == 5
    assert sum(path.stat().st_size for path in weights) <= 40_000_000


def test_the_decoder_is_within_1_2_gigaflop() -> None:
    config = load_config(DecoderRun, RECIPE / "decoder.yaml").model
    with torch.device("meta"):
        decoder = Decoder(config)
        side = config.image_size
        inputs = (torch.empty(1, 3, side, side), torch.empty(1), torch.empty(1, config.embed_dim))
        text = (
            torch.empty(1, config.embed_dim),
            torch.empty(1, 24, config.text_width),
            torch.empty(1, 24, dtype=torch.bool),
        )
        drop = torch.zeros(1, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(*inputs, *text, drop, drop)
    assert 0.9e9 < counter.get_total_flops() <= 1.2e9


def paint(pocket: UnCLIPPipeline, prompt: str) -> np.ndarray:
    """Four pictures of a prompt at 64 px, in [0, 1]."""
    settings = {"num_images_per_prompt": 4, "seed": 0, "size": 64, "output_type": "np"}
    images = pocket(prompt, **settings).images
    assert isinstance(images, np.ndarray)
    return images


@pytest.mark.parametrize(
    ("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)], ids=lambda value: str(value)
)
def test_the_colour_asked_for_is_painted(pocket: UnCLIPPipeline, colour: str, channel: int) -> None:
    images = paint(pocket, f"a {colour} apple")
    others = [other for other in range(3) if other != channel]
    lead = images[..., channel] - images[..., others].max(-1)
    painted = images.min(-1) < 0.7  # what is not the background
    shares = [(row[mask] > 0.1).mean() for row, mask in zip(lead, painted, strict=True)]
    assert all(mask.mean() > 0.1 for mask in painted), "nothing is painted"
    assert np.mean(shares) > 0.5, shares
    assert sorted(shares)[1] > 0.4, shares


def test_a_pencil_drawing_is_grey_on_white(pocket: UnCLIPPipeline) -> None:
    images = paint(pocket, "an astronaut riding a horse, pencil drawing")
    assert np.ptp(images, axis=-1).mean() < 0.05
    assert np.median(images) > 0.85
    assert (images < 0.4).mean() > 0.02
