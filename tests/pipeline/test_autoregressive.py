"""A model whose prior is autoregressive: it paints, varies, is saved and refused as others are."""

from pathlib import Path

import pytest
import torch
from tiny_model import decoder_config, randomise

from prior.autoregressive import AutoregressivePrior, to_stage
from prior.autoregressive_config import AutoregressiveConfig
from unclip.checkpoint import load_stage, save_stage
from unclip.errors import CheckpointError, InputError
from unclip.karlo.build import build
from unclip.karlo.expressible import check_expressible
from unclip.pipeline.assemble import assemble
from unclip.pipeline.folders import open_model
from unclip.pipeline.pipeline import UnCLIPPipeline

NUM_CODES = 5


@pytest.fixture(scope="module")
def model(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("autoregressive")
    config = AutoregressiveConfig(
        embed_dim=12,
        text_width=16,
        context_length=12,
        num_codes=NUM_CODES,
        num_buckets=16,
        num_layers=2,
        num_heads=2,
        head_dim=8,
        text_layers=0,
    )
    network = AutoregressivePrior(config)
    randomise(network, 7)
    clip = load_stage(tiny_runs / "decoder" / "final", "decoder").metadata["clip"]
    save_stage(root / "prior", to_stage(config, network.state_dict(), {"clip": clip}))
    assemble(
        root / "model",
        clip=tiny_runs / "clip",
        prior=root / "prior",
        decoder=tiny_runs / "decoder",
        upsamplers=[],
    )
    return root / "model"


def test_it_paints_and_is_saved(model: Path, tmp_path: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(model)
    assert isinstance(pipe.prior, AutoregressivePrior)
    seen: list[int] = []
    text = pipe.encode_text(["a red apple"])
    embed = pipe.sample_prior(text, seed=3, callback=lambda step: seen.append(step.index))
    assert seen == list(range(NUM_CODES))
    assert embed.shape == (1, 12)
    first = pipe("a red apple", seed=3, guidance_scale=1.0).images[0]
    assert first.tobytes() != pipe("a red apple", seed=4, guidance_scale=1.0).images[0].tobytes()
    pipe.save_pretrained(tmp_path / "again")
    again = UnCLIPPipeline.from_pretrained(tmp_path / "again", low_memory=True)
    assert again("a red apple", seed=3, guidance_scale=1.0).images[0].tobytes() == first.tobytes()
    assert pipe.settings(quality="draft").prior_steps == NUM_CODES
    assert pipe.variations(first, seed=0, strength=0.5).images[0].size == (64, 64)


def test_what_it_has_not_is_refused(model: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(model)
    with pytest.raises(InputError, match="takes one for each of its 5 codes: leave them out"):
        pipe("x", seed=0, prior_num_inference_steps=25)
    with pytest.raises(InputError, match="autoregressive and begins from none"):
        pipe("x", prior_latents=torch.zeros(1, 12))
    networks = build(open_model(model))
    with pytest.raises(CheckpointError, match="prior: an autoregressive one"):
        check_expressible(networks, "mine")
    assert networks.decoder.config == decoder_config()
