"""The pipeline: seeds, batches, outputs, callbacks, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unclip
from prior.model import Prior
from unclip.diffusion.samplers import Step
from unclip.errors import BackendError, CancelledError, InputError
from unclip.nn.attention import set_attention_backend
from unclip.pipeline.output import Picture
from unclip.pipeline.pipeline import UnCLIPImageVariationPipeline, UnCLIPPipeline

PROMPTS = ["a red apple", "a blue car on a hill", "🍎 qwzx"]


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def test_the_public_names() -> None:
    assert unclip.UnCLIPPipeline is UnCLIPPipeline
    assert set(unclip.__all__) == {
        "UnCLIPImageVariationPipeline",
        "UnCLIPPipeline",
        "UnCLIPPipelineOutput",
        "set_attention_backend",
    }
    assert unclip.set_attention_backend is set_attention_backend


def test_as_in_diffusers(tiny_model: Path) -> None:
    """The lines that users of the retired pipelines have, verbatim."""
    pipe = unclip.UnCLIPPipeline.from_pretrained(tiny_model, torch_dtype=torch.float32)
    pipe = pipe.to("cpu")
    generator = torch.Generator("cpu").manual_seed(0)
    output = pipe(
        "a shiba inu wearing a beret",
        num_images_per_prompt=2,
        prior_num_inference_steps=2,
        decoder_num_inference_steps=2,
        super_res_num_inference_steps=1,
        prior_guidance_scale=4.0,
        decoder_guidance_scale=8.0,
        generator=generator,
        size=256,
    )
    assert [image.size for image in output.images] == [(256, 256)] * 2
    assert output[0] is output["images"] is output.images
    assert output.seeds is None
    with pytest.raises(KeyError):
        output["nsfw"]


def test_every_stage_matters(pipe: UnCLIPPipeline) -> None:
    first, second = (pipe(prompt, seed=1, size=64).images[0] for prompt in PROMPTS[:2])
    assert np.abs(pixels(first) - pixels(second)).mean() > 2
    other = pipe(PROMPTS[0], seed=2, size=64).images[0]
    assert np.abs(pixels(first) - pixels(other)).mean() > 2
    assert pixels(pipe(PROMPTS[0], seed=1, size=256).images[0]).std() > 5


def test_sizes(pipe: UnCLIPPipeline) -> None:
    assert pipe.sizes == (64, 256, 1024)
    assert pipe("x", seed=0).images[0].size == (1024, 1024)
    for size in (64, 256):
        assert pipe("x", seed=0, size=size).images[0].size == (size, size)


def test_image_i_has_seed_plus_i_and_can_be_made_alone(pipe: UnCLIPPipeline) -> None:
    output = pipe(PROMPTS, 2, seed=7, size=256)
    assert output.seeds == [7, 8, 9, 10, 11, 12]
    assert output.image_embeds.shape == (6, 12)
    for i, seed in enumerate(range(7, 13)):
        alone = pipe(PROMPTS[i // 2], seed=seed, size=256)
        assert np.abs(pixels(alone.images[0]) - pixels(output.images[i])).max() <= 1
        assert torch.allclose(alone.image_embeds[0], output.image_embeds[i], atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_the_batch_does_not_matter_in_float32(pipe: UnCLIPPipeline, batch_size: int) -> None:
    settings: dict[str, Any] = {"seed": 3, "size": 64, "guidance_scale": 4.0}
    whole = pipe(["a", "b"], 4, batch_size=8, **settings).images
    parts = pipe(["a", "b"], 4, batch_size=batch_size, **settings).images
    for one, other in zip(whole, parts, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


def test_the_batch_does_not_matter_in_bfloat16(tiny_model: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model, dtype=torch.bfloat16)
    settings: dict[str, Any] = {"seed": 3, "size": 256, "output_type": "pt"}
    whole = pipe(["a", "b"], 3, batch_size=6, **settings).images
    parts = pipe(["a", "b"], 3, batch_size=1, **settings).images
    error = ((whole - parts) ** 2).mean(dim=(1, 2, 3))
    assert (-10 * error.clamp(min=1e-12).log10()).min() > 30


def test_seeds_of_ones_own(pipe: UnCLIPPipeline) -> None:
    output = pipe("x", 3, seed=[5, 9, 5], size=64)
    assert output.seeds == [5, 9, 5]
    assert output.images[0].tobytes() == output.images[2].tobytes()
    drawn = pipe("x", 2, size=64).seeds
    assert drawn is not None
    assert drawn[1] == drawn[0] + 1
    assert pipe("x", size=64).seeds != drawn[:1]


def test_generators(pipe: UnCLIPPipeline) -> None:
    def draw(*seeds: int) -> Any:
        if len(seeds) == 1:
            return torch.Generator().manual_seed(seeds[0])
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def images(generator: Any, count: int) -> list[bytes]:
        found = pipe("x", count, generator=generator, size=64, output_type="pil").images
        return [image.tobytes() for image in found]

    assert images(draw(1), 2) == images(draw(1), 2)
    assert images(draw(1), 2) != images(draw(2), 2)
    # A used generator goes on, as in diffusers.
    used = draw(1)
    assert images(used, 1) != images(used, 1)
    # One each: pictures do not depend on their neighbours.
    assert images(draw(1, 2), 2)[1] == images(draw(3, 2), 2)[1]


def test_outputs(pipe: UnCLIPPipeline) -> None:
    settings: dict[str, Any] = {"num_images_per_prompt": 2, "seed": 1, "size": 64}
    pil = pipe("x", **settings).images
    array = pipe("x", output_type="np", **settings).images
    tensor = pipe("x", output_type="pt", **settings).images
    assert array.shape == (2, 64, 64, 3)
    assert array.dtype == np.float32
    assert tensor.shape == (2, 3, 64, 64)
    assert 0 <= float(tensor.min()) < float(tensor.max()) <= 1
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(pixels(pil[1]), (array[1] * 255).round())
    images, seeds, embeds = pipe("x", return_dict=False, **settings)
    assert (len(images), seeds, tuple(embeds.shape)) == (2, [1, 2], (2, 12))
    with pytest.raises(InputError, match="expected pil, np, pt"):
        pipe("x", output_type="latent", **settings)


def test_finished_pictures_are_handed_out(pipe: UnCLIPPipeline) -> None:
    got: list[Picture] = []
    steps: list[str] = []

    def step(_pipe: Any, _index: int, _t: int, values: dict[str, Any]) -> None:
        steps.append(f"{len(got)} {values['stage']}")

    output = pipe(
        ["a", "b"],
        seed=4,
        size=64,
        batch_size=1,
        output_type=None,
        callback_on_step_end=step,
        on_image=got.append,
    )
    assert output.images == []
    assert output.seeds == [4, 5]
    assert [(p.index, p.prompt, p.seed, p.batch_size) for p in got] == [
        (0, "a", 4, 1),
        (1, "b", 5, 1),
    ]
    assert got[0].image.size == (64, 64)
    # The first was out before the second was begun.
    assert "0 decoder" in steps
    assert "1 prior" in steps


def test_the_callback_sees_every_step(pipe: UnCLIPPipeline) -> None:
    seen: list[tuple[str, int, tuple[int, ...]]] = []
    times: list[int] = []

    def step(who: Any, index: int, t: int, values: dict[str, Any]) -> dict[str, Any]:
        assert who is pipe
        seen.append((values["stage"], index, tuple(values["latents"].shape)))
        times.append(t)
        return values

    pipe("x", 2, seed=0, size=256, callback_on_step_end=step)
    assert [(stage, index) for stage, index, _ in seen] == [
        *(("prior", i) for i in range(3)),
        *(("decoder", i) for i in range(4)),
        *(("upsampler_256", i) for i in range(2)),
    ]
    assert seen[0][2] == (4, 12)  # two candidates a picture
    assert seen[3][2] == (2, 3, 64, 64)
    assert seen[-1][2] == (2, 3, 256, 256)
    assert times[3:7] == sorted(times[3:7], reverse=True)


def test_the_callback_may_change_the_latents(pipe: UnCLIPPipeline) -> None:
    def grey(_pipe: Any, index: int, _t: int, values: dict[str, Any]) -> dict[str, Any]:
        if values["stage"] == "decoder" and index == 3:
            values["latents"] = torch.zeros_like(values["latents"])
        return values

    image = pipe("x", seed=0, size=64, callback_on_step_end=grey).images[0]
    assert pixels(image).min() == pixels(image).max() == 128


def test_interrupt_returns_what_is_finished(pipe: UnCLIPPipeline) -> None:
    def stop(who: Any, _index: int, _t: int, values: dict[str, Any]) -> dict[str, Any]:
        finished.append(values["stage"])
        who._interrupt = finished.count("decoder") > 4
        return values

    finished: list[str] = []
    output = pipe("x", 3, seed=0, size=64, batch_size=1, callback_on_step_end=stop)
    assert output.seeds == [0]
    assert len(output.images) == 1
    assert finished.count("decoder") == 5

    finished = ["decoder"] * 9
    for kind, shape in (("np", (0, 64, 64, 3)), ("pt", (0, 3, 64, 64))):
        output = pipe("x", seed=0, size=64, output_type=kind, callback_on_step_end=stop)
        assert output.images.shape == shape
        assert output.image_embeds.shape == (0, 12)
    # The next call starts anew.
    assert len(pipe("x", seed=0, size=64).images) == 1


def test_an_exception_of_the_callback_comes_through(pipe: UnCLIPPipeline) -> None:
    def cancel(*_: Any) -> None:
        raise CancelledError("enough")

    with pytest.raises(CancelledError, match="enough"):
        pipe("x", seed=0, size=64, callback_on_step_end=cancel)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"prompt": []}, "no prompt"),
        ({"num_images_per_prompt": 0}, "got 0 as the number"),
        ({"num_images_per_prompt": 10**9}, "expected 1 to 100000"),
        ({"size": 128}, "this model paints 64, 256, 1024"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"seed": [1, 2]}, "2 seeds for 1 pictures"),
        ({"seed": 1, "generator": torch.Generator()}, "both a seed and a generator"),
        ({"generator": [torch.Generator()] * 2}, "2 generators for 1 pictures"),
        ({"num_inference_steps": 0}, "decoder steps are 0"),
        ({"num_inference_steps": 1001}, "expected 1 to 1000"),
        ({"prior_num_inference_steps": -3}, "prior steps are -3"),
        ({"super_res_num_inference_steps": 0}, "super_res steps are 0"),
        ({"super_res_num_inference_steps": [1]}, "for 1 upsamplers, 2 run"),
        ({"guidance_scale": float("nan")}, "guidance is nan"),
        ({"prior_guidance_scale": -1.0}, "guidance is -1.0"),
        ({"guidance_scale": 2.0, "decoder_guidance_scale": 3.0}, "one setting"),
        ({"num_inference_steps": 2, "decoder_num_inference_steps": 3}, "one setting"),
        ({"quality": "fast"}, "quality is 'fast', expected draft, standard, best"),
        ({"quality": 3}, "quality is 3"),
        ({"sampler": "euler"}, "sampler is 'euler', expected ddpm, ddim, dpmpp_2m"),
        ({"sampler": ["ddim"]}, r"sampler is \['ddim'\]"),
        ({"guidance_interval": (0.5, 0.5)}, "expected two numbers that grow, from 0 to 1"),
        ({"guidance_interval": (0.2, 1.5)}, "expected two numbers that grow"),
        ({"guidance_interval": 0.5}, r"guidance_interval is \[0.5\]"),
        ({"guidance_interval": (0.2, 0.8), "guidance_scale": 1}, "a guidance of 1 is none"),
        ({"super_res_start": 0}, "super_res_start is 0, expected above 0"),
        ({"super_res_start": 1.01}, "super_res_start is 1.01"),
        ({"super_res_start": [0.5]}, "super_res start for 1 upsamplers, 2 run"),
        ({"super_res_start": 0.5, "size": 64}, "no upsampler runs here"),
        ({"super_res_sampler": "ddim", "size": 64}, "no upsampler runs here"),
        ({"super_res_sampler": "plms"}, "sampler is 'plms'"),
        ({"super_res_start": 0.003, "super_res_num_inference_steps": 4}, "expected 1 to 3"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"negative_prompt": "blurry"}, "negative_prompt is no setting"),
    ],
)
def test_what_cannot_be_had_is_refused(
    pipe: UnCLIPPipeline, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        pipe(arguments.pop("prompt", "x"), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "prompt",
    ["", " ", "\0", "\ud800", "🍎" * 300, "word " * 5000, "<end_of_text>", "a\nb", "\u202e"],
)
def test_no_text_crashes(pipe: UnCLIPPipeline, prompt: str) -> None:
    assert len(pipe(prompt, seed=0, size=64, num_inference_steps=1).images) == 1


def test_long_prompts_are_known_to_be_cut(pipe: UnCLIPPipeline) -> None:
    assert pipe.max_tokens == 10
    assert not pipe.is_cut("a red apple")
    assert pipe.is_cut("a " * 11)


def test_two_names_with_one_value(pipe: UnCLIPPipeline) -> None:
    sampling = pipe.settings(num_inference_steps=2, decoder_num_inference_steps=2, size=256)
    assert sampling.decoder_steps == 2
    assert sampling.super_res_steps == (2,)
    assert pipe.settings().super_res_steps == (2, 2)
    assert pipe.settings(super_res_num_inference_steps=[1, 3]).super_res_steps == (1, 3)


def test_stages_by_themselves(pipe: UnCLIPPipeline) -> None:
    """The stages, called one after the other, give what the call gives."""
    whole = pipe(PROMPTS[:2], seed=11, size=256, output_type="pt", batch_size=2)
    text = pipe.encode_text(PROMPTS[:2])
    embeds = pipe.sample_prior(text, seed=11)
    assert torch.equal(embeds, whole.image_embeds)
    small = pipe.decode(embeds, text, seed=11)
    assert small.shape == (2, 3, 64, 64)
    large = pipe.upsample(small, seed=11)
    assert torch.equal((large + 1) / 2, whole.images)
    assert pipe.upsample(large, seed=11).shape == (2, 3, 1024, 1024)
    with pytest.raises(
        InputError, match="pictures are 32 px, this model's upsamplers take 64, 256"
    ):
        pipe.upsample(torch.zeros(1, 3, 32, 32))
    steps: list[Step] = []
    pipe.decode(embeds, num_inference_steps=2, seed=0, callback=steps.append)
    assert [step.index for step in steps] == [0, 1]


def test_variations(pipe: UnCLIPPipeline, tmp_path: Path) -> None:
    photo = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB")
    photo.save(tmp_path / "photo.png")
    output = pipe.variations(tmp_path / "photo.png", 2, seed=1, size=64)
    assert output.seeds == [1, 2]
    assert pixels(output.images[0]).std() > 1
    same = pipe.variations(photo, 2, seed=1, size=64)
    assert same.images[1].tobytes() == output.images[1].tobytes()
    alone = pipe.variations(photo, seed=2, size=64, strength="subtle")
    assert np.abs(pixels(alone.images[0]) - pixels(output.images[1])).max() <= 1
    padded = pipe.variations(photo, seed=2, size=64, fit="pad")
    assert padded.images[0].tobytes() != alone.images[0].tobytes()
    two = pipe.variations([photo, tmp_path / "photo.png"], 2, seed=1, size=64)
    assert len(two.images) == 4

    alias: Any = UnCLIPImageVariationPipeline(*pipe.model[:3], pipe.upsamplers)
    assert alias(photo, seed=2, size=64).images[0].tobytes() == alone.images[0].tobytes()


def test_the_distance_of_a_variation(pipe: UnCLIPPipeline) -> None:
    photo = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB")
    source = pipe.encode_image(photo)

    def distance(strength: float | str) -> float:
        output = pipe.variations(photo, 16, seed=0, size=64, strength=strength)
        return float((output.image_embeds - source).norm(dim=-1).mean())

    assert distance(0.0) < 1e-5
    assert distance(0.0) < distance("subtle") < distance("strong") < distance(1.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, "weak", float("nan")])
def test_no_such_strength(pipe: UnCLIPPipeline, strength: float | str) -> None:
    with pytest.raises(InputError, match=r"strength is .*, expected 0 to 1, subtle or strong"):
        pipe.variations(Image.new("RGB", (9, 9)), strength=strength)


def test_variations_refuse_what_they_would_ignore(pipe: UnCLIPPipeline) -> None:
    photo = Image.new("RGB", (9, 9))
    with pytest.raises(InputError, match="no prior runs"):
        pipe.variations(photo, prior_guidance_scale=4.0)
    with pytest.raises(InputError, match="no picture"):
        pipe.variations([])
    with pytest.raises(InputError, match="got 0 as the number"):
        pipe.variations(photo, 0)


def test_devices_and_precisions(tiny_model: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model)
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float32)
    assert pipe.to("cpu", torch.bfloat16).dtype == torch.bfloat16
    with pytest.warns(UserWarning, match="float16 is not computed on a CPU"):
        assert pipe.to(dtype=torch.float16).dtype in (torch.bfloat16, torch.float32)
    assert pipe.to(torch.bfloat16).upsamplers[0].unet.conv_in.weight.dtype == torch.bfloat16
    # What chooses stays exact.
    assert isinstance(pipe.prior, Prior)
    assert pipe.prior.proj_in.weight.dtype == torch.float32
    assert pipe.clip.logit_scale.dtype == torch.float32
    with pytest.raises(BackendError, match="no device tpu here"):
        pipe.to("tpu")
    with pytest.raises(BackendError, match="no device cuda:99 here"):
        pipe.to("cuda:99")
    with pytest.raises(BackendError, match=r"no precision torch\.int8 here"):
        pipe.to(torch.int8)
    with pytest.raises(InputError, match="both dtype and torch_dtype"):
        UnCLIPPipeline.from_pretrained(tiny_model, dtype=torch.float32, torch_dtype=torch.float32)


def test_half_precision_is_close_to_full(pipe: UnCLIPPipeline, tiny_model: Path) -> None:
    half = UnCLIPPipeline.from_pretrained(tiny_model, dtype="bfloat16")
    images = [p("a red apple", seed=1, size=256, output_type="pt").images for p in (pipe, half)]
    assert -10 * ((images[0] - images[1]) ** 2).mean().log10() > 25


def test_its_components(pipe: UnCLIPPipeline) -> None:
    assert set(pipe.components) == {"clip", "prior", "decoder", "upsamplers"}
    assert pipe.components["decoder"] is pipe.decoder
