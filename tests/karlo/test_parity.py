"""Whole pipelines against diffusers': the same generator, latents and settings, the same picture.

Compared stage by stage, step by step, before the last clamp, on random weights whose pictures do
not reach it. The schedule is in float32, as diffusers has it.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from karlo_folders import Pair
from PIL import Image
from torch import Generator, Tensor

from unclip.errors import InputError
from unclip.pipeline.output import UnCLIPPipelineOutput
from unclip.pipeline.pipeline import UnCLIPImageVariationPipeline, UnCLIPPipeline

TOLERANCE = 1e-4
STEPS: dict[str, Any] = {
    "decoder_num_inference_steps": 5,
    "super_res_num_inference_steps": 4,
}
PRIOR_STEPS: dict[str, Any] = {"prior_num_inference_steps": 4}
STAGES = {"prior": "prior", "decoder": "decoder", "super_res": "upsampler_32"}
TEXTS = ["lower newer", "o"]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@contextmanager
def steps_of(theirs: Any) -> Iterator[dict[str, list[Tensor]]]:
    """Collects what diffusers' schedulers make of each step, by our stage's name."""
    made: dict[str, list[Tensor]] = {}
    undo = []
    for name, stage in STAGES.items():
        scheduler = getattr(theirs, f"{name}_scheduler", None)
        if scheduler is None:
            continue

        def step(
            *args: Any, _real: Any = scheduler.step, _stage: str = stage, **kwargs: Any
        ) -> Any:
            result = _real(*args, **kwargs)
            made.setdefault(_stage, []).append(result.prev_sample.clone())
            return result

        undo.append(scheduler)
        scheduler.step = step
    try:
        yield made
    finally:
        for scheduler in undo:
            del scheduler.step


def compare(pair: Pair, ours: dict[str, Any], theirs: dict[str, Any]) -> UnCLIPPipelineOutput:
    """Runs both; every step of every stage agrees, and no picture is saturated."""
    seen: dict[str, list[Tensor]] = {}

    def look(_pipe: object, _step: int, _t: int, values: dict[str, Any]) -> None:
        seen.setdefault(values["stage"], []).append(values["latents"].clone())

    with steps_of(pair.theirs) as made:
        expected = pair.theirs(output_type="np", **theirs).images
    call = pair.ours.variations if "image" in ours or "image_embeddings" in ours else pair.ours
    output = call(output_type="np", callback_on_step_end=look, **ours)

    assert seen.keys() == made.keys()
    for stage, steps in made.items():
        assert len(seen[stage]) == len(steps)
        for step, (actual, wanted) in enumerate(zip(seen[stage], steps, strict=True)):
            difference = float((actual - wanted).abs().max())
            assert difference <= TOLERANCE, f"{stage}, step {step}: {difference}"
    last = made[STAGES["super_res"]][-1]
    assert last.abs().max() < 0.9999, "the picture reaches the clamp"
    assert last.std() > 0.3
    assert np.abs(output.images - expected).max() <= TOLERANCE
    return output


@pytest.mark.parametrize(
    ("prior_scale", "decoder_scale"),
    # One switch in diffusers: either scale above 1 turns guidance on for both.
    [(4.0, 8.0), (1.0, 3.0), (3.0, 1.0), (1.0, 1.0), (0.5, 3.0)],
)
def test_text_to_image(prompts: Pair, prior_scale: float, decoder_scale: float) -> None:
    call = STEPS | PRIOR_STEPS
    call |= {"prior_guidance_scale": prior_scale, "decoder_guidance_scale": decoder_scale}
    compare(
        prompts,
        {"prompt": TEXTS, "num_images_per_prompt": 2, "generator": seeded(), **call},
        {"prompt": TEXTS, "num_images_per_prompt": 2, "generator": seeded(), **call},
    )


def test_its_defaults_are_those_of_diffusers(prompts: Pair) -> None:
    """25, 25 and 7 steps; guidance 4 and 8."""
    compare(
        prompts,
        {"prompt": "lower", "generator": seeded(3)},
        {"prompt": "lower", "generator": seeded(3)},
    )


def test_a_generator_each(prompts: Pair) -> None:
    call = {"prompt": TEXTS} | STEPS | PRIOR_STEPS
    output = compare(
        prompts,
        call | {"generator": [seeded(7), seeded(8)]},
        call | {"generator": [seeded(7), seeded(8)]},
    )
    alone = prompts.ours(**(call | {"prompt": TEXTS[1]}), generator=[seeded(8)], output_type="np")
    assert np.abs(alone.images[0] - output.images[1]).max() <= TOLERANCE


def latents(pair: Pair, count: int) -> dict[str, Tensor]:
    size, large = pair.ours.sizes
    found = {
        "prior_latents": torch.randn(count, 32, generator=seeded(11)),
        "decoder_latents": torch.randn(count, 3, size, size, generator=seeded(12)),
        "super_res_latents": torch.randn(count, 3, large, large, generator=seeded(13)),
    }
    if pair.ours.prior is None:
        del found["prior_latents"]
    return found


@pytest.mark.parametrize("given", ["prior_latents", "decoder_latents", "super_res_latents", "all"])
def test_latents_that_are_given_are_not_drawn(prompts: Pair, given: str) -> None:
    some = latents(prompts, 2)
    some = some if given == "all" else {given: some[given]}
    call = {"prompt": TEXTS} | STEPS | PRIOR_STEPS
    compare(prompts, call | some | {"generator": seeded()}, call | some | {"generator": seeded()})


def test_an_encoded_prompt_is_the_prompt(prompts: Pair) -> None:
    theirs = prompts.theirs
    tokens = theirs.tokenizer(
        TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        encoded = theirs.text_encoder(tokens.input_ids)
    call = STEPS | PRIOR_STEPS | latents(prompts, 2)
    given = {
        "text_model_output": (encoded.text_embeds, encoded.last_hidden_state),
        "text_attention_mask": tokens.attention_mask.bool(),
    }
    output = compare(
        prompts,
        call | given | {"generator": seeded()},
        call | given | {"generator": seeded()},
    )
    again = prompts.ours(TEXTS, generator=seeded(), output_type="np", **call)
    assert np.abs(again.images - output.images).max() <= TOLERANCE
    # transformers' own output, too.
    own = prompts.ours(
        text_model_output=encoded,
        text_attention_mask=tokens.attention_mask,
        generator=seeded(),
        output_type="np",
        **call,
    )
    assert np.abs(own.images - output.images).max() == 0


def picture(seed: int, size: int = 32) -> Image.Image:
    """Of the image tower's own size: nothing is resized."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("scale", [8.0, 1.5, 1.0])
def test_image_variations(pictures: Pair, scale: float) -> None:
    call = STEPS | {"decoder_guidance_scale": scale, "num_images_per_prompt": 2}
    call |= {"image": [picture(1), picture(2)]}
    # Of its noise no draw meets the network's first guess so nearly that rounding decides.
    compare(pictures, call | {"generator": seeded(3)}, call | {"generator": seeded(3)})


def test_variations_with_latents_and_embeddings(pictures: Pair) -> None:
    with torch.no_grad():
        pixels = pictures.theirs.feature_extractor(picture(1), return_tensors="pt").pixel_values
        embeds = pictures.theirs.image_encoder(pixels).image_embeds
    call = STEPS | {"image_embeddings": embeds} | latents(pictures, 1)
    output = compare(pictures, call | {"generator": seeded()}, call | {"generator": seeded()})
    again = UnCLIPImageVariationPipeline(*pictures.ours.model)(
        picture(1), generator=seeded(), output_type="np", **STEPS, **latents(pictures, 1)
    )
    assert np.abs(again.images - output.images).max() <= TOLERANCE


def test_a_photo_is_resized_and_cropped_as_diffusers_does(pictures: Pair) -> None:
    """Both to 8 bits a channel at most apart, which is what resizing in 8 bits costs them."""
    photo = picture(5, 96).resize((96, 64))
    with torch.no_grad():
        pixels = pictures.theirs.feature_extractor(photo, return_tensors="pt").pixel_values
        expected = pictures.theirs.image_encoder(pixels).image_embeds
    actual = pictures.ours.encode_image(photo)
    assert torch.cosine_similarity(actual, expected) > 0.9999


def test_seed_or_generator(prompts: Pair, pictures: Pair) -> None:
    with pytest.raises(InputError, match="both a seed and a generator"):
        prompts.ours("lower", seed=1, generator=seeded())
    with pytest.raises(InputError, match="both a seed and a generator"):
        pictures.ours.variations(picture(1), seed=1, generator=seeded())


def test_a_seed_is_its_own_whatever_stands_beside_it(prompts: Pair) -> None:
    call = STEPS | PRIOR_STEPS | {"output_type": "np"}
    both = prompts.ours(TEXTS, seed=[4, 5], **call)
    alone = prompts.ours(TEXTS[1], seed=5, **call)
    assert np.abs(both.images[1] - alone.images[0]).max() <= TOLERANCE
    assert both.seeds == [4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no prompt"),
        ({"prompt": "x", "text_model_output": (1, 2)}, "prompt and text_model_output"),
        ({"text_model_output": (1, 2)}, "go together"),
        (
            {"text_model_output": (1, 2), "text_attention_mask": torch.ones(1, 77)},
            "no text embeddings",
        ),
        (
            {
                "text_model_output": (torch.zeros(1, 32), torch.zeros(1, 76, 32)),
                "text_attention_mask": torch.ones(1, 77),
            },
            r"expected \(\(1, 32\), \(1, 77, 32\), \(1, 77\)\)",
        ),
        ({"prompt": "x", "prior_latents": torch.zeros(2, 32)}, r"\(2, 32\), expected \(1, 32\)"),
        ({"prompt": "x", "decoder_latents": torch.zeros(1, 3, 9, 9)}, r"expected \(1, 3, 8, 8\)"),
        ({"prompt": "x", "super_res_latents": torch.zeros(3)}, r"expected \(1, 3, 32, 32\)"),
    ],
)
def test_what_cannot_be_given(prompts: Pair, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prompts.ours(**arguments)


def test_what_variations_cannot_be_given(prompts: Pair, pictures: Pair) -> None:
    with pytest.raises(InputError, match="no prior"):
        pictures.ours("lower")
    with pytest.raises(InputError, match="no prior"):
        pictures.ours.variations(picture(1), strength="strong")
    with pytest.raises(InputError, match="no image tower"):
        prompts.ours.variations(picture(1))
    with pytest.raises(InputError, match="no image"):
        pictures.ours.variations()
    with pytest.raises(InputError, match=r"expected \(batch, 32\)"):
        pictures.ours.variations(image_embeddings=torch.zeros(1, 31))


def test_the_comparison_sees_every_stage(prompts: Pair) -> None:
    """Where a network is another, the pictures are another."""
    model = prompts.ours.model
    assert model.prior is not None
    swapped = copy.copy(model.upsamplers[0])
    swapped._modules = {**swapped._modules, "last": swapped.unet}
    shifted = copy.copy(model.prior)
    shifted._buffers = {**shifted._buffers, "clip_mean": model.prior.clip_mean + 1}
    plain = copy.copy(model.decoder)
    plain._modules = {**plain._modules, "unet": copy.deepcopy(plain.unet)}
    with torch.no_grad():
        plain.unet.conv_out.bias.add_(0.02)
    call = STEPS | PRIOR_STEPS | {"output_type": "np"}
    own = prompts.ours("lower", generator=seeded(), **call).images
    for changed in (
        model._replace(upsamplers=(swapped,)),
        model._replace(prior=shifted),
        model._replace(decoder=plain),
    ):
        other = UnCLIPPipeline(*changed)("lower", generator=seeded(), **call).images
        assert np.abs(own - other).max() > 5 * TOLERANCE
