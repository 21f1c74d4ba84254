"""The assembled unCLIP: prompts to pictures, pictures to variations, and each stage by itself.

Names and behaviour are those that users of diffusers know; `seed` is simpler than `generator`, and
a picture's seed makes it again whatever was made beside it.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from decoder.model import Decoder
from prior.model import Prior
from unclip.clip.encoder import CLIP
from unclip.clip.features import TextFeatures
from unclip.diffusion.samplers import Callback
from unclip.errors import CancelledError, InputError
from unclip.karlo.build import build as build_karlo
from unclip.karlo.build import stored_dtype
from unclip.karlo.identity import folder_hash
from unclip.karlo.load import is_karlo, open_karlo
from unclip.nn.residency import Residency
from unclip.pipeline import stages
from unclip.pipeline.devices import choose_device, choose_dtype, computed_dtype, dtype_name
from unclip.pipeline.enlarge import open_upsamplers
from unclip.pipeline.folders import find_model, read_model, write_model
from unclip.pipeline.generate import (
    Embedded,
    Request,
    StepEnd,
    batch_limit,
    observer,
    paint,
    prior_embeds,
)
from unclip.pipeline.given import Latents, check_latents, given_embeds, given_text, only_one
from unclip.pipeline.hub import upload
from unclip.pipeline.low_memory import LOW_MEMORY_BYTES, take_turns
from unclip.pipeline.output import Collector, Picture, UnCLIPPipelineOutput
from unclip.pipeline.photos import Photo, load
from unclip.pipeline.registry import Components, Metadata, build, metadata_of, take_apart
from unclip.pipeline.requests import as_list, check_count, prompt_rows
from unclip.pipeline.seeds import Generators, Randomness, Seed, choose_randomness
from unclip.pipeline.settings import Settings, check_sampler, resolve, sizes_of
from unclip.pipeline.stages import move_prior
from unclip.pipeline.variations import resolve_strength, vary
from unclip.provenance.record import ModelRecord, Sampling
from upsamplers.model import Upsampler

OnImage = Callable[[Picture], object]


class UnCLIPPipeline:
    """CLIP, prior, decoder and upsamplers of one model, on one device."""

    def __init__(
        self,
        clip: CLIP,
        prior: Prior | None,
        decoder: Decoder,
        upsamplers: Sequence[Upsampler] = (),
        *,
        record: ModelRecord | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Takes networks in evaluation mode; `from_pretrained` reads them from a folder.

        Args:
            record: the model's name and hash, which go into its pictures.
            metadata: what each stage's folder says of its training; kept when saved again.
        """
        self.clip, self.prior, self.decoder = clip, prior, decoder
        self.upsamplers = tuple(upsamplers)
        self.record = record or ModelRecord(name="unnamed", hash=None)
        self.licence: str | None = None
        """Identifier of the weights' licence, where their layout has one of its own."""
        self._metadata = metadata or {}
        self._residency: Residency | None = None
        self._interrupt = False

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "pocket",
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        device: torch.device | str | None = None,
        low_memory: bool = False,
    ) -> "UnCLIPPipeline":
        """Loads a model folder, a model of the hub (`owner/name`), or the bundled `pocket`.

        Args:
            dtype: of all but CLIP and a prior that chooses; None is float32, and bfloat16 for
                Karlo's float16 files where the CPU has instructions for it. `torch_dtype` is its
                old name.
            device: where it will run; None is the CPU.
            low_memory: as `enable_low_memory`, from the beginning.

        Raises:
            CheckpointError: there is no such model, or it is damaged, foreign or does not fit.
        """
        if dtype is not None and torch_dtype is not None:
            raise InputError("got both dtype and torch_dtype, which is its old name: give dtype")
        folder, source = find_model(
            model, revision=revision, local_files_only=local_files_only, token=token
        )
        if is_karlo(folder):
            where = choose_device(device or "cpu")
            wish = dtype or torch_dtype
            return cls._from_karlo(folder, source, wish, where, low_memory=low_memory)
        read = read_model(folder)
        record = ModelRecord(name=read.name, hash=read.hash, source=source)
        pipe = cls(*build(read, dtype=None), record=record, metadata=metadata_of(read))
        pipe.licence = read.licence
        if low_memory:
            pipe.enable_low_memory()
        return pipe.to(device=device, dtype=dtype or torch_dtype or torch.float32)

    @classmethod
    def _from_karlo(
        cls,
        folder: Path,
        source: str | None,
        dtype: torch.dtype | str | None,
        device: torch.device,
        *,
        low_memory: bool,
    ) -> "UnCLIPPipeline":
        """Loads Karlo, whatever its layout; in the precision it will have, to spare memory, or as
        it is stored where its networks take turns."""
        opened = open_karlo(folder, None if source is None else source.rpartition("/")[2])
        wish = stored_dtype(opened) if dtype is None else choose_dtype(dtype, device)
        precision = _precision(wish, device)
        networks = build_karlo(opened, None if low_memory else precision)
        record = ModelRecord(name=opened.name, hash=folder_hash(folder), source=source)
        pipe = cls(*networks, record=record)
        pipe.licence = opened.licence
        if low_memory:
            pipe.enable_low_memory()
        return pipe.to(device, precision)

    def with_upsampler(
        self, source: str | Path | None = None, *, size: int | None = None
    ) -> "UnCLIPPipeline":
        """Returns a pipeline that goes on to larger sizes with upsamplers of ours.

        Args:
            source: an upsampler's folder, or a model's; None is the bundled pocket.
            size: the size to reach, in pixels a side; None is the largest that can be had.

        Raises:
            CheckpointError: there is no such folder, or it is damaged.
            InputError: no upsampler there takes this model's pictures, or reaches the size.
        """
        device, dtype = self.device, self.dtype
        more, digest = open_upsamplers(source, self.sizes, size)
        record = replace(self.record, upsampler=digest)
        chain = (*self.upsamplers, *more)
        networks = (self.clip, self.prior, self.decoder, chain)
        larger = type(self)(*networks, record=record, metadata=self._metadata)
        larger.licence = self.licence
        if self._residency is not None:
            budget = self._residency.budget
            self._residency.end()
            larger._residency = take_turns(larger.model, device, dtype, budget)
            self._residency = larger._residency  # they share their networks
            return larger
        return larger.to(device, dtype)

    def save_pretrained(self, folder: str | Path, *, name: str | None = None) -> None:
        """Writes a model folder, replacing an older model there; other files are kept.

        Raises:
            CheckpointError: it cannot be written, or the folder holds something else.
        """
        self._put_away()
        model = take_apart(self.model, name or self.record.name, self._metadata)
        write_model(Path(folder), replace(model, licence=self.licence))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        create_pr: bool = False,
        token: str | None = None,
        commit_message: str = "Upload an unCLIP model",
    ) -> str:
        """Uploads the model to the Hugging Face hub; returns the commit's address.

        Raises:
            CheckpointError: the hub refuses or cannot be reached.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, name=repo_id.rpartition("/")[2])
            return upload(
                Path(folder),
                repo_id,
                private=private,
                create_pr=create_pr,
                token=token,
                commit_message=commit_message,
            )

    def to(
        self,
        *args: torch.device | torch.dtype | str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> "UnCLIPPipeline":
        """Moves to a device; `dtype` is that of decoder and upsamplers, CLIP stays float32.

        A prior that draws one candidate has it, too; one that chooses between several is float32.

        Raises:
            BackendError: there is no such device or precision here.
        """
        for arg in args:
            if isinstance(arg, torch.dtype):
                dtype = arg
            else:
                device = arg
        where = self.device if device is None else choose_device(device)
        precision = self.dtype if dtype is None else _precision(choose_dtype(dtype, where), where)
        if self._residency is not None:
            budget = self._residency.budget
            self._residency.end()
            self._residency = take_turns(self.model, where, precision, budget)
            return self
        self.clip.to(where)
        if self.prior is not None:
            move_prior(self.prior, where, precision)
        for network in (self.decoder, *self.upsamplers):
            network.to(where, precision)
        if where.type == "cuda":
            stages.lay_out(self.model)
        return self

    def enable_low_memory(self, budget: int = LOW_MEMORY_BYTES) -> "UnCLIPPipeline":
        """Keeps one network at a time on the device, and makes one picture at a time.

        Karlo in float16 then takes less than 4 GB of a GPU's memory. Weights wait in their files
        or in the host's memory, and what is written into them is lost. On a CPU the pages of a
        network's files are given back as soon as it has run. `to` goes on choosing device and
        precision. Every picture sends all weights again.

        Args:
            budget: bytes of the device's memory that may be used; where two networks fit, the next
                one is sent while the one before it runs.
        """
        self._residency = take_turns(self.model, self.device, self.dtype, budget)
        return self

    def _put_away(self) -> None:
        if self._residency is not None:
            self._residency.put_away()

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.clip.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the decoder and the upsamplers; `to` says of the rest."""
        if self._residency is not None:
            return self._residency.dtype_of(self.decoder)
        return self.decoder.unet.conv_in.weight.dtype

    def batch_limit(self, size: int, wish: int | None = None) -> int:
        """How many pictures of a size are made at a time, unless a number is wished for.

        Raises:
            InputError: `wish` is less than one.
        """
        most = None if self._residency is None else 1
        return batch_limit(self.device, size, most if wish is None else wish)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes it paints, in pixels a side; the last is the default."""
        return sizes_of(self.model)

    @property
    def max_tokens(self) -> int:
        """Tokens of a prompt that are read."""
        return self.clip.tokenizer.context_length - 2

    def is_cut(self, prompt: str) -> bool:
        """Whether a prompt has more tokens than are read."""
        return len(self.clip.tokenizer.encode(prompt, self.max_tokens + 1)) > self.max_tokens

    @property
    def model(self) -> Components:
        """Its networks."""
        return Components(self.clip, self.prior, self.decoder, self.upsamplers)

    @property
    def components(self) -> dict[str, Any]:
        """Its networks by name."""
        return self.model._asdict()

    def settings(self, *, with_prior: bool = True, **settings: Unpack[Settings]) -> Sampling:
        """Returns what a call with these settings does, the model's defaults filled in.

        Raises:
            InputError: a setting cannot be had.
        """
        return resolve(settings, self.model, with_prior=with_prior)

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


def _precision(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Says so where a device computes in another precision than was asked for."""
    computed = computed_dtype(dtype, device)
    if computed != dtype:
        warnings.warn(
            f"{dtype_name(dtype)} is not computed on a CPU, {dtype_name(computed)} is in its place",
            stacklevel=3,
        )
    return computed


class UnCLIPImageVariationPipeline(UnCLIPPipeline):
    """The same object, called with a picture: `pipe(image)` is `pipe.variations(image)`."""

    __call__ = UnCLIPPipeline.variations  # pyright: ignore[reportAssignmentType]  # as diffusers has it
