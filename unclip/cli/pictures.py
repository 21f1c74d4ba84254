"""What all verbs that make pictures share: load the model, make, save with metadata, lay out.

Only the first of several processes prints; each makes its share, on its own device.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import unclip
from unclip import UnCLIPPipeline
from unclip.cli.grid import sheet
from unclip.cli.licences import tell_licence
from unclip.cli.outputs import Plan, write
from unclip.cli.processes import Processes
from unclip.cli.report import Advance, Report
from unclip.config import to_dict
from unclip.errors import CancelledError, InputError
from unclip.pipeline.devices import choose_device, choose_dtype, dtype_name
from unclip.pipeline.hub import is_hub_id
from unclip.pipeline.output import Picture
from unclip.pipeline.photos import PhotoFile
from unclip.pipeline.quality import describe
from unclip.pipeline.settings import Settings
from unclip.provenance.metadata import encode_png
from unclip.provenance.record import Machine, PhotoRecord, PictureRecord, Sampling
from unclip.training.signals import StopSignal


@dataclass(frozen=True, kw_only=True)
class Order:
    """Pictures to make and files to put them in."""

    plan: Plan
    seeds: Sequence[int]
    """One a picture."""
    prompts: Sequence[str] | None = None
    """One a picture; None for variations of a photo."""
    photo: PhotoFile | None = None
    strength: float = 0.0
    fit: str = "crop"
    settings: Settings = field(default_factory=Settings)
    processes: Processes = field(default_factory=Processes)
    batch_size: int | None = None
    keep: int | None = None
    """Only the picture in this place is kept, as the plan's first; the others fill its batch."""


def load(
    report: Report,
    model: str,
    device: str | None,
    dtype: str | None,
    *,
    local_rank: int = 0,
    low_memory: bool = False,
    revision: str | None = None,
    local_files_only: bool = False,
    loras: Sequence[str] = (),
) -> UnCLIPPipeline:
    """Loads a model and says which one it is."""
    where = choose_device(device, local_rank=local_rank)
    wish = None if dtype is None and where.type == "cpu" else choose_dtype(dtype, where)
    if is_hub_id(model) and not Path(model).is_dir():
        report.note(f"looking for {model} on the Hugging Face hub, or in its cache here")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        pipe = UnCLIPPipeline.from_pretrained(
            model,
            dtype=wish,
            device=where,
            low_memory=low_memory,
            revision=revision,
            local_files_only=local_files_only,
            loras=loras,
        )
    for warning in caught:
        report.note(str(warning.message))
    record, precision = pipe.record, pipe.dtype
    name = "the bundled pocket model" if record.source == "pocket" else f"the model {record.name}"
    report.note(f"using {name} ({record.hash}) on {where} in {dtype_name(precision)}")
    for lora in record.loras:
        report.note(f"with the LoRA {lora.name} ({lora.hash}), scale {lora.scale:g}")
    if low_memory:
        report.note("low memory: one network at a time, one picture at a time")
    report.result |= {
        "model": {"name": record.name, "hash": record.hash, "source": record.source},
        "loras": to_dict(record.loras),
        "device": str(where),
        "dtype": dtype_name(precision),
    }
    tell_licence(report, record.source or record.name, pipe.licence)
    return pipe


def enlarge(
    report: Report, pipe: UnCLIPPipeline, size: int | None, upsampler: str | None
) -> UnCLIPPipeline:
    """Goes on to a size that a model does not paint, and says so.

    Raises:
        InputError: an upsampler is given and not needed, or none reaches the size.
    """
    if size is None or size in pipe.sizes or size < pipe.sizes[-1]:
        if upsampler is not None:
            sizes = ", ".join(map(str, pipe.sizes))
            raise InputError(
                f"--upsampler is for a larger --size than this model paints by itself ({sizes}): "
                "leave it out, or give such a size"
            )
        return pipe
    larger = pipe.with_upsampler(upsampler, size=size)
    name = "the bundled pocket model" if upsampler is None else upsampler
    report.note(f"the model ends at {pipe.sizes[-1]} px; {name} goes on to {size} px")
    return larger


def make(report: Report, pipe: UnCLIPPipeline, order: Order) -> None:
    """Makes an order's pictures and reports them, and the sheet if one is wanted.

    Raises:
        CancelledError: a signal stopped it; what was finished is kept.
    """
    report.note(f"seed {order.seeds[0]}")
    cut = [prompt for prompt in dict.fromkeys(order.prompts or ()) if pipe.is_cut(prompt)]
    if cut:
        more = f" (and {len(cut) - 1} more)" if len(cut) > 1 else ""
        report.note(
            f"the model reads the first {pipe.max_tokens} tokens of a prompt, the rest is left out "
            f"of: {cut[0][:60]}{more}"
        )
    done: list[dict[str, Any]] = []
    report.result |= {"seed": order.seeds[0], "pictures": done}
    if order.photo is not None:
        report.result |= {"strength": order.strength}
    _Maker(report, pipe, order, done).run()
    if order.plan.grid is not None:
        page = encode_png(sheet(order.plan.pictures), None)
        write(order.plan.grid, page, force=order.plan.force)
        report.result |= {"grid": str(order.plan.grid)}
        report.line(str(order.plan.grid))


class _Maker:
    """Makes and saves one process's share."""

    def __init__(
        self, report: Report, pipe: UnCLIPPipeline, order: Order, done: list[dict[str, Any]]
    ) -> None:
        self.report, self.pipe, self.order, self.done = report, pipe, order, done
        self.mine = order.processes.share_of(len(order.seeds))
        self.sampling = pipe.settings(with_prior=order.photo is None, **order.settings)
        self._tell_quality()
        self.since = time.monotonic()

    def run(self) -> None:
        """Makes the pictures; a signal ends it after the current step."""
        if not self.mine:
            return
        with StopSignal() as stop, self.report.progress(self._totals()) as advance:
            self._call(stop, advance)
            wanted = len(self.mine) if self.order.keep is None else 1
            if stop.received and len(self.done) < wanted:
                error = CancelledError(
                    f"stopped by a signal; {len(self.done)} of {wanted} pictures are finished "
                    "and kept"
                )
                error.exit_code = 128 + stop.received
                raise error

    def _call(self, stop: StopSignal, advance: Advance) -> None:
        order = self.order

        def step(pipe: UnCLIPPipeline, _step: int, _timestep: int, values: dict[str, Any]) -> None:
            advance(values["stage"])
            pipe._interrupt = bool(stop.received)

        seeds = [order.seeds[index] for index in self.mine]
        common: dict[str, Any] = {
            "seed": seeds,
            "callback_on_step_end": step,
            "on_image": self._save,
            "output_type": None,
            "batch_size": order.batch_size,
        }
        if order.photo is not None:
            self.pipe.variations(
                order.photo.image,
                len(seeds),
                strength=order.strength,
                fit=order.fit,
                **common,
                **order.settings,
            )
            return
        assert order.prompts is not None, "an order has prompts or a photo"
        prompts = [order.prompts[index] for index in self.mine]
        self.pipe(prompts, **common, **order.settings)

    def _tell_quality(self) -> None:
        """With `-v`: what the settings come to, and what the model would do by itself."""
        quality = self.order.settings.get("quality") or "standard"
        own = Settings(size=self.sampling.size)
        standard = self.pipe.settings(with_prior=self.order.photo is None, **own)
        self.report.detail(f"quality {quality}: {describe(self.sampling)}")
        if self.sampling != standard:
            self.report.detail(f"the model's own: {describe(standard)}")

    def _totals(self) -> dict[str, int]:
        """Steps of every stage over all batches."""
        limit = self.pipe.batch_limit(self.sampling.size, self.order.batch_size)
        batches = -(-len(self.mine) // limit)
        steps = {"prior": self.sampling.prior_steps, "decoder": self.sampling.decoder_steps}
        sizes = self.pipe.sizes[1:]
        steps |= {
            f"upsampler_{size}": count
            for size, count in zip(sizes, self.sampling.super_res_steps, strict=False)
        }
        return {stage: count * batches for stage, count in steps.items() if count is not None}

    def _save(self, picture: Picture) -> None:
        index = self.mine[picture.index]
        if self.order.keep is not None:
            if index != self.order.keep:
                return
            index = 0
        path, plan = self.order.plan.pictures[index], self.order.plan
        record = picture_record(self.pipe, self.order, self.sampling, picture)
        write(path, encode_png(picture.image, record), force=plan.force)
        now = time.monotonic()
        self.done.append(
            {
                "index": index,
                "path": str(path),
                "prompt": picture.prompt,
                "seed": picture.seed,
                "size": self.sampling.size,
                "seconds": round(now - self.since, 3),
            }
        )
        self.since = now
        self.report.line(str(path))


def picture_record(
    pipe: UnCLIPPipeline, order: Order, sampling: Sampling, picture: Picture
) -> PictureRecord:
    """All that it takes to make a picture again."""
    assert picture.seed is not None, "the command line always gives seeds"
    photo = order.photo
    return PictureRecord(
        verb="generate" if photo is None else "variations",
        prompt=picture.prompt,
        seed=picture.seed,
        model=pipe.record,
        sampling=sampling,
        machine=Machine(
            device=pipe.device.type,
            dtype=dtype_name(pipe.dtype),
            torch=torch.__version__,
            threads=torch.get_num_threads() if pipe.device.type == "cpu" else None,
            batch_size=picture.batch_size,
            batch_index=picture.batch_index,
        ),
        version=unclip.__version__,
        photo=photo and PhotoRecord(sha256=photo.sha256, fit=order.fit, strength=order.strength),
    )
