"""Qualities and the settings they stand for: steps, samplers, guidance's interval, late start."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unclip.diffusion.schedules import cosine_schedule
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.quality import describe
from unclip.provenance.record import Sampling


@pytest.fixture(scope="module")
def pocket() -> UnCLIPPipeline:
    return UnCLIPPipeline.from_pretrained()


def rows_run(pipe: UnCLIPPipeline, **settings: Any) -> Counter[str]:
    """Runs a request; counts the rows that each network was given."""
    rows: Counter[str] = Counter()
    handles = []
    networks = {"decoder": pipe.decoder.unet}
    networks |= {f"upsampler_{i}": u.unet for i, u in enumerate(pipe.upsamplers)}
    for name, network in networks.items():

        def count(_module: Any, inputs: tuple[Tensor, ...], _out: Any, name: str = name) -> None:
            rows[name] += len(inputs[0])

        handles.append(network.register_forward_hook(count))
    try:
        pipe("x", seed=0, output_type=None, **settings)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def test_standard_is_the_model_s_own(pipe: UnCLIPPipeline) -> None:
    assert pipe.settings(quality="standard") == pipe.settings() == pipe.settings(quality=None)
    own = pipe.settings()
    assert (own.sampler, own.super_res_samplers) == ("dpmpp_2m", ("ddim", "ddim"))
    assert (own.guidance_interval, own.super_res_starts) == (None, (1.0, 1.0))
    assert describe(own) == (
        "prior 3 steps; decoder 4 steps of dpmpp_2m, guided; upsampler 2 steps of ddim; "
        "upsampler 2 steps of ddim"
    )


def test_the_pocket_s_qualities(pocket: UnCLIPPipeline) -> None:
    draft, best = pocket.settings(quality="draft"), pocket.settings(quality="best")
    assert draft == Sampling(
        size=1024,
        prior_steps=10,
        prior_guidance=1.0,
        candidates=2,
        decoder_steps=4,
        decoder_guidance=1.5,
        sampler="ddim",
        guidance_interval=(0.2, 0.8),
        super_res_steps=(2, 2),
        super_res_samplers=("ddim", "ddim"),
        super_res_starts=(0.5, 0.5),
    )
    assert (best.decoder_steps, best.sampler) == (24, "ddim")
    assert best.super_res_steps == pocket.settings().super_res_steps


def test_a_draft_runs_the_decoder_a_third_as_often(pocket: UnCLIPPipeline) -> None:
    own, draft = (rows_run(pocket, size=256, quality=name) for name in ("standard", "draft"))
    assert own == {"decoder": 24, "upsampler_0": 6}
    assert draft["decoder"] <= 24 / 3
    assert draft["upsampler_0"] == 2


def test_a_draft_leaves_out_what_does_not_run(pipe: UnCLIPPipeline) -> None:
    small = pipe.settings(quality="draft", size=64, with_prior=False)
    assert (small.prior_steps, small.super_res_steps, small.super_res_starts) == (None, (), ())
    plain = pipe.settings(quality="draft", guidance_scale=1)
    assert plain.guidance_interval is None
    assert describe(plain).endswith(
        "decoder 4 steps of dpmpp_2m, unguided; upsampler 2 steps of ddim from 0.5 of the time; "
        "upsampler 2 steps of ddim from 0.5 of the time"
    )


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"num_inference_steps": 9}, "decoder_steps", 9),
        ({"decoder_num_inference_steps": 9}, "decoder_steps", 9),
        ({"sampler": "ddim"}, "sampler", "ddim"),
        ({"guidance_interval": (0, 1)}, "guidance_interval", (0.0, 1.0)),
        ({"super_res_start": 1}, "super_res_starts", (1.0, 1.0)),
        ({"super_res_num_inference_steps": [5, 6]}, "super_res_steps", (5, 6)),
        ({"super_res_sampler": ["ddpm", "ddim"]}, "super_res_samplers", ("ddpm", "ddim")),
        ({"prior_num_inference_steps": 7}, "prior_steps", 7),
    ],
)
def test_what_is_given_wins(
    pipe: UnCLIPPipeline, given: dict[str, Any], field: str, value: object
) -> None:
    draft = pipe.settings(quality="draft")
    mixed = pipe.settings(quality="draft", **given)
    assert getattr(mixed, field) == value != getattr(draft, field)
    others = [name for name in Sampling.__slots__ if name != field]
    assert [getattr(mixed, name) for name in others] == [getattr(draft, name) for name in others]


def test_best_asks_no_more_steps_than_there_are_times(pipe: UnCLIPPipeline) -> None:
    assert pipe.settings(quality="best").decoder_steps == 8


def test_each_setting_changes_the_picture(pipe: UnCLIPPipeline) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"sampler": "ddim"},
        {"guidance_interval": (0.3, 0.7)},
        {"super_res_sampler": "ddpm"},
        {"super_res_start": 0.6},
    ]
    images = [pipe("x", seed=0, size=256, output_type="pt", **one).images for one in settings]
    for index, image in enumerate(images):
        for other in images[:index]:
            assert (image - other).abs().max() > 1 / 255


def test_the_interval_leaves_the_guided_half_out(pipe: UnCLIPPipeline) -> None:
    """Four steps at 999, 666, 333 and 0, of which two lie inside."""
    assert rows_run(pipe, size=64)["decoder"] == 8
    assert rows_run(pipe, size=64, guidance_interval=(0.3, 0.7))["decoder"] == 6


def test_a_late_start_is_the_enlarged_picture_and_noise(pipe: UnCLIPPipeline) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen: list[Tensor] = []

    def look(_module: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0][:, :3].clone())

    handle = pipe.upsamplers[0].unet.register_forward_pre_hook(look)
    steps: list[int] = []

    def step(step: Any) -> None:
        steps.append(step.t)

    try:
        pipe.upsample(images, seed=[4, 5], num_inference_steps=3, callback=step)
        noise = seen.pop(0)
        seen.clear()
        pipe.upsample(images, seed=[4, 5], num_inference_steps=3, start=0.5, callback=step)
    finally:
        handle.remove()
    assert steps == [999, 500, 0, 499, 250, 0]
    bar = cosine_schedule().alphas_cumprod[499]
    large = interpolate(images, scale_factor=4, mode="bicubic", antialias=True)
    expected = bar.sqrt() * large + (1 - bar).sqrt() * noise
    assert torch.allclose(seen[0], expected.float(), atol=1e-5)


def test_a_draft_of_karlo_is_not_ancestral(karlo_folder: Path) -> None:
    """DPM-Solver++ in the decoder; 16 of 50 evaluations of it, and 2 of 7 of the upsampler."""
    draft = UnCLIPPipeline.from_pretrained(karlo_folder).settings(quality="draft")
    assert (draft.prior_steps, draft.decoder_steps, draft.sampler) == (10, 10, "dpmpp_2m")
    assert (draft.super_res_steps, draft.super_res_samplers) == ((2,), ("ddpm",))
