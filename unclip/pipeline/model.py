"""The networks of one model: loaded, moved between devices and precisions, saved.

What is made with them is in `unclip.pipeline.pipeline`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, Unpack

import torch

from decoder.model import Decoder
from prior.kinds import AnyPrior
from unclip.clip.encoder import CLIP
from unclip.errors import InputError
from unclip.karlo.build import build as build_karlo
from unclip.karlo.build import stored_dtype
from unclip.karlo.identity import folder_hash
from unclip.karlo.load import is_karlo, open_karlo
from unclip.nn.residency import Residency
from unclip.pipeline import stages
from unclip.pipeline.devices import choose_device, choose_dtype, computed_dtype, dtype_name
from unclip.pipeline.enlarge import open_upsamplers
from unclip.pipeline.folders import find_model, read_model, write_model
from unclip.pipeline.generate import batch_limit
from unclip.pipeline.hub import upload
from unclip.pipeline.loras import ChosenLora, merge_networks, merge_stages, read_loras
from unclip.pipeline.low_memory import LOW_MEMORY_BYTES, take_turns
from unclip.pipeline.registry import Components, Metadata, build, metadata_of, take_apart
from unclip.pipeline.settings import Settings, resolve, sizes_of
from unclip.provenance.record import ModelRecord, Sampling
from upsamplers.model import Upsampler

Model = TypeVar("Model", bound="LoadedModel")


class LoadedModel:
    """CLIP, prior, decoder and upsamplers of one model, on one device."""

    def __init__(
        self,
        clip: CLIP,
        prior: AnyPrior | None,
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
        self._bases: dict[str, str] = {}
        """Fingerprints of stages with LoRAs in their weights, before they had them."""

    @classmethod
    def from_pretrained(
        cls: type[Model],
        model: str | Path = "pocket",
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        device: torch.device | str | None = None,
        low_memory: bool = False,
        loras: Sequence[str | Path] = (),
    ) -> Model:
        """Loads a model folder, a model of the hub (`owner/name`), or the bundled `pocket`.

        Args:
            dtype: of all but CLIP and a prior that chooses; None is float32, and bfloat16 for
                Karlo's float16 files where the CPU has instructions for it. `torch_dtype` is its
                old name.
            device: where it will run; None is the CPU.
            low_memory: as `enable_low_memory`, from the beginning.
            loras: files of LoRA weights, each `FILE` or `FILE:SCALE`, that are merged into the
                model's in float32, before they get the precision asked for.

        Raises:
            CheckpointError: there is no such model, or it is damaged, foreign or does not fit; or a
                LoRA does not.
            InputError: there is no such LoRA.
        """
        chosen = read_loras(loras)
        if dtype is not None and torch_dtype is not None:
            raise InputError("got both dtype and torch_dtype, which is its old name: give dtype")
        folder, source = find_model(
            model, revision=revision, local_files_only=local_files_only, token=token
        )
        if is_karlo(folder):
            where = choose_device(device or "cpu")
            wish = dtype or torch_dtype
            return cls._from_karlo(folder, source, wish, where, chosen, low_memory=low_memory)
        read, bases = merge_stages(read_model(folder), chosen)
        merged = tuple(lora.record for lora in chosen)
        record = ModelRecord(name=read.name, hash=read.hash, source=source, loras=merged)
        pipe = cls(*build(read, dtype=None), record=record, metadata=metadata_of(read))
        pipe.licence, pipe._bases = read.licence, bases
        if low_memory:
            pipe.enable_low_memory()
        return pipe.to(device=device, dtype=dtype or torch_dtype or torch.float32)

    @classmethod
    def _from_karlo(
        cls: type[Model],
        folder: Path,
        source: str | None,
        dtype: torch.dtype | str | None,
        device: torch.device,
        loras: Sequence[ChosenLora],
        *,
        low_memory: bool,
    ) -> Model:
        """Loads Karlo, whatever its layout; in the precision it will have, to spare memory, or as
        it is stored where its networks take turns."""
        opened = open_karlo(folder, None if source is None else source.rpartition("/")[2])
        wish = stored_dtype(opened) if dtype is None else choose_dtype(dtype, device)
        precision = _precision(wish, device)
        opened, bases = merge_stages(opened, loras)
        networks = build_karlo(opened, None if low_memory else precision)
        merged = tuple(lora.record for lora in loras)
        digest = folder_hash(folder)
        record = ModelRecord(name=opened.name, hash=digest, source=source, loras=merged)
        pipe = cls(*networks, record=record)
        pipe.licence, pipe._bases = opened.licence, bases
        if low_memory:
            pipe.enable_low_memory()
        return pipe.to(device, precision)

    def load_lora(self, path: str | Path, scale: float = 1.0) -> None:
        """Merges LoRA weights into the stage that they are for; several add up.

        The sum is made in float32 and rounded to the weights' precision; for weights below float32,
        `from_pretrained(..., loras=[...])` rounds once less.

        Raises:
            InputError: there is no such file, or the networks take turns in little memory.
            CheckpointError: it does not fit this model.
        """
        if self._residency is not None:
            raise InputError(
                "with low memory, what is written into weights is lost: give the LoRA to "
                "from_pretrained(..., loras=[...])"
            )
        (read,) = read_loras([path])
        chosen = replace(read, scale=read.scale * scale)
        self._bases = merge_networks(self.model, chosen, self.record.name, self._bases)
        self.record = replace(self.record, loras=(*self.record.loras, chosen.record))

    def with_upsampler(
        self: Model, source: str | Path | None = None, *, size: int | None = None
    ) -> Model:
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
        larger.licence, larger._bases = self.licence, self._bases
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
        self: Model,
        *args: torch.device | torch.dtype | str,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> Model:
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
            stages.move_prior(self.prior, where, precision)
        for network in (self.decoder, *self.upsamplers):
            network.to(where, precision)
        if where.type == "cuda":
            stages.lay_out(self.model)
        return self

    def enable_low_memory(self: Model, budget: int = LOW_MEMORY_BYTES) -> Model:
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


def _precision(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Says so where a device computes in another precision than was asked for."""
    computed = computed_dtype(dtype, device)
    if computed != dtype:
        warnings.warn(
            f"{dtype_name(dtype)} is not computed on a CPU, {dtype_name(computed)} is in its place",
            stacklevel=3,
        )
    return computed
