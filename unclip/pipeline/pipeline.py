"""The assembled unCLIP: prompts to pictures, pictures to variations, and each stage by itself.

Names and behaviour are those that users of diffusers know; `seed` is simpler than `generator`, and
a picture's seed makes it again whatever was made beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.clip.features import TextFeatures
from unclip.diffusion.samplers import Callback
from unclip.errors import CancelledError, InputError
from unclip.pipeline import stages
from unclip.pipeline.generate import Embedded, Request, StepEnd, observer, paint, prior_embeds
from unclip.pipeline.given import Latents, check_latents, given_embeds, given_text, only_one
from unclip.pipeline.model import LoadedModel
from unclip.pipeline.output import Collector, Picture, UnCLIPPipelineOutput
from unclip.pipeline.photos import Photo, load
from unclip.pipeline.requests import as_list, check_count, prompt_rows
from unclip.pipeline.seeds import Generators, Randomness, Seed, choose_randomness
from unclip.pipeline.settings import Settings, check_sampler
from unclip.pipeline.variations import resolve_strength, vary

OnImage = Callable[[Picture], object]


class UnCLIPPipeline(LoadedModel):
    """CLIP, prior, decoder and upsamplers of one model, on one device: what paints."""

    _interrupt = False

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        *,
        seed: Seed = None,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        on_image: OnImage | None = None,
        batch_size: int | None = None,
        prior_latents: Tensor | None = None,
        decoder_latents: Tensor | None = None,
        super_res_latents: Tensor | None = None,
        text_model_output: Any = None,
        text_attention_mask: Tensor | None = None,
        **settings: Unpack[Settings],
    ) -> UnCLIPPipelineOutput:
        """Makes pictures of prompts; a prompt's pictures stand side by side.

        Args:
            seed: of the first picture, the next ones count up; or one a picture; None draws one.
            generator: diffusers' way: one that draws for the whole request, or one a picture.
            output_type: `pil`, or values in [0, 1]: `np` (batch, height, width, 3), `pt` channels
                first; None keeps no pictures, `on_image` gets them.
            callback_on_step_end: `f(pipe, step, timestep, {"latents", "stage"}) -> dict`; setting
                `pipe._interrupt` stops, and the pictures that are finished are returned.
            callback_on_step_end_tensor_inputs: as diffusers has it; `latents` are all there are.
            on_image: gets every picture as soon as it is finished.
            return_dict: of no account, as the output is a tuple and has names.
            batch_size: most pictures made at a time; None takes what memory and patience allow.
            prior_latents, decoder_latents, super_res_latents: the stages' first noise, a row a
                picture; what is given is not drawn.
            text_model_output: prompts that are encoded already: text embeddings and token states;
                `text_attention_mask` marks their valid tokens.
            settings: `Settings`: size, steps, samplers and guidance of the stages, or a `quality`.

        Raises:
            InputError: a prompt, size, seed or setting cannot be used.
            NumericalError: a stage overflowed; there is no black picture.
        """
        only_one(prompt=prompt, text_model_output=text_model_output)
        rows = None if prompt is None else prompt_rows(prompt, num_images_per_prompt)
        sampling = self.settings(**settings)
        observe = observer(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        each = check_count(num_images_per_prompt)
        texts = rows or given_text(text_model_output, text_attention_mask, self.model, each)
        latents = Latents(prior_latents, decoder_latents, super_res_latents)
        check_latents(self.model, latents, len(texts))
        embed = prior_embeds(self.model, texts, sampling, observe, latents)
        randomness = choose_randomness(len(texts), seed, generator)
        limit = self.batch_limit(sampling.size, batch_size)
        request = Request(embed, randomness, sampling, observe, rows, limit, latents)
        return self._run(request, output_type, on_image)

    def variations(
        self,
        image: Photo | Sequence[Photo] | None = None,
        num_images_per_prompt: int = 1,
        *,
        strength: str | float | None = None,
        fit: str = "crop",
        seed: Seed = None,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        on_image: OnImage | None = None,
        batch_size: int | None = None,
        decoder_latents: Tensor | None = None,
        super_res_latents: Tensor | None = None,
        image_embeddings: Tensor | None = None,
        **settings: Unpack[Settings],
    ) -> UnCLIPPipelineOutput:
        """Makes pictures that are like a picture, without any prompt; arguments as for a call.

        Args:
            strength: how far from it, in [0, 1], `subtle` or `strong`; None is subtle, and 0 where
                there is no prior.
            fit: what makes the picture square: `crop`, `pad` or `stretch`.
            image_embeddings: pictures that are encoded already.

        Raises:
            InputError: the picture, the strength or another argument cannot be used.
            NumericalError: a stage overflowed; there is no black picture.
        """
        amount = resolve_strength(strength, self.prior)
        sampling = self.settings(with_prior=False, **settings)
        count = check_count(num_images_per_prompt)
        only_one(image=image, image_embeddings=image_embeddings)
        if image is None:
            embeds = given_embeds(image_embeddings, self.model).repeat_interleave(count, 0)
        else:
            embeds = self.encode_image(image, fit=fit).repeat_interleave(count, 0)
        latents = Latents(None, decoder_latents, super_res_latents)
        check_latents(self.model, latents, len(embeds))

        def embed(rows: slice, part: Randomness) -> Embedded:
            return Embedded(vary(self.prior, embeds[rows], amount, part.noise("variations")))

        randomness = choose_randomness(len(embeds), seed, generator)
        observe = observer(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        limit = self.batch_limit(sampling.size, batch_size)
        request = Request(embed, randomness, sampling, observe, None, limit, latents)
        return self._run(request, output_type, on_image)

    def encode_text(self, prompt: str | Sequence[str]) -> TextFeatures:
        """Encodes prompts with CLIP, in float32."""
        return stages.encode_text(self.model, prompt_rows(prompt, 1))

    def encode_image(
        self, image: Photo | Sequence[Photo], *, fit: str = "crop"
    ) -> Float[Tensor, "batch dim"]:
        """Encodes pictures with CLIP, in float32; the embeddings are not normalised.

        Raises:
            InputError: a picture cannot be read, or `fit` is none of crop, pad, stretch.
        """
        images = [image] if isinstance(image, Tensor) else as_list(image)
        if not images:
            raise InputError("got no picture, expected one or more")
        return torch.cat([stages.encode_image(self.model, load(item, fit)) for item in images])

    def sample_prior(
        self,
        text: TextFeatures,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: Seed = None,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Samples an image embedding for each text.

        Raises:
            InputError: the steps, the scale or the seed cannot be used.
        """
        sampling = self.settings(
            prior_num_inference_steps=num_inference_steps, prior_guidance_scale=guidance_scale
        )
        return stages.run_prior(
            self.model,
            text,
            noise=choose_randomness(len(text), seed, generator).noise("prior"),
            num_steps=sampling.prior_steps,
            guidance_scale=sampling.prior_guidance,
            callback=callback,
        )

    def decode(
        self,
        image_embeds: Float[Tensor, "batch dim"],
        text: TextFeatures | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        guidance_interval: Sequence[float] | None = None,
        seed: Seed = None,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Paints small pictures in [-1, 1] from image embeddings, and texts if there are any.

        Raises:
            InputError: the embeddings are not the model's, or not as many as the texts; the steps,
                the scale, another setting or the seed cannot be used.
        """
        sampling = self.settings(
            with_prior=False,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            sampler=sampler,
            guidance_interval=guidance_interval,
        )
        return stages.run_decoder(
            self.model,
            image_embeds,
            text,
            noise=choose_randomness(len(image_embeds), seed, generator).noise("decoder"),
            num_steps=sampling.decoder_steps,
            guidance_scale=sampling.decoder_guidance,
            sampler=check_sampler(sampling.sampler),
            guidance_interval=sampling.guidance_interval,
            callback=callback,
        )

    def upsample(
        self,
        images: Float[Tensor, "batch 3 height width"],
        *,
        num_inference_steps: int | None = None,
        sampler: str | None = None,
        start: float | None = None,
        seed: Seed = None,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Float[Tensor, "batch 3 large_height large_width"]:
        """Enlarges pictures in [-1, 1] to the next size; `start` is `super_res_start`.

        Raises:
            InputError: no upsampler takes pictures of this size, or the steps, the sampler, the
                start or the seed cannot be used.
        """
        upsampler = stages.find_upsampler(self.model, images)
        sampling = self.settings(
            with_prior=False,
            size=upsampler.config.image_size,
            super_res_num_inference_steps=num_inference_steps,
            super_res_sampler=sampler,
            super_res_start=start,
        )
        noise = choose_randomness(len(images), seed, generator).noise(stages.stage_name(upsampler))
        return stages.run_upsampler(
            upsampler,
            images,
            noise=noise,
            num_steps=sampling.super_res_steps[-1],
            sampler=check_sampler(sampling.super_res_samplers[-1]),
            start=sampling.super_res_starts[-1],
            callback=callback,
        )

    def _run(
        self, request: Request, output_type: str | None, on_image: OnImage | None
    ) -> UnCLIPPipelineOutput:
        """Makes a request's pictures; an interrupt ends it early, with those that are finished."""
        collector = Collector(output_type)
        self._interrupt = False
        try:
            for picture in paint(self.model, request):
                collector.add(picture)
                if on_image is not None:
                    on_image(picture)
        except CancelledError:
            if not self._interrupt:
                raise
        finally:
            self._put_away()
        return collector.output(self.decoder.config.embed_dim, request.sampling.size)


class UnCLIPImageVariationPipeline(UnCLIPPipeline):
    """The same object, called with a picture: `pipe(image)` is `pipe.variations(image)`."""

    __call__ = UnCLIPPipeline.variations  # pyright: ignore[reportAssignmentType]  # as diffusers has it
