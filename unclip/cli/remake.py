"""Making a picture again as it was made: same seed, same batch, same precision, same threads."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from unclip.cli.outputs import Plan
from unclip.cli.pictures import Order, make
from unclip.cli.report import Report
from unclip.errors import InputError
from unclip.lora_file import parse_lora, read_lora
from unclip.pipeline.generate import MAX_BATCH
from unclip.pipeline.photos import PhotoFile, read_photo
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.settings import Settings
from unclip.provenance.record import PictureRecord


def remake(
    report: Report,
    pipe: UnCLIPPipeline,
    record: PictureRecord,
    file: str,
    plan: Plan,
    photo: str | None,
) -> None:
    """Makes the picture of a record again, and compares it with its file.

    Rounding depends on the shape of a batch and on the number of threads, so both are the record's;
    what else was in the batch does not matter.

    Raises:
        InputError: the record is damaged, or `photo` is not the one it names.
    """
    machine = record.machine
    if not 0 <= machine.batch_index < machine.batch_size <= MAX_BATCH:
        raise InputError(f"{file} holds a record that is damaged: its batch makes no sense")
    if machine.threads is not None and 1 <= machine.threads <= 4 * (os.cpu_count() or 1):
        torch.set_num_threads(machine.threads)
    make(report, pipe, _order(record, plan, photo))
    difference = _difference(file, str(plan.pictures[0]))
    report.result |= {"equal": difference == 0, "max_difference": difference}
    report.note(
        f"equal to {file}, bit for bit"
        if difference == 0
        else f"differs from {file} by up to {difference} of 255: another machine or version made it"
    )


def recorded_loras(record: PictureRecord, file: str, given: Sequence[str]) -> list[str]:
    """Finds a picture's LoRAs among the files that are given; returns them with their scales.

    Raises:
        InputError: one is missing, one is given that it was not made with, or a scale is.
    """
    places = [parse_lora(text) for text in given]
    for text in given:
        if not os.path.exists(text):
            raise InputError(f"--lora {text}: the scale is the picture's own: leave it out")
    found = {read_lora(path).hash: path for path, _ in places}
    wanted = record.model.loras
    for lora in wanted:
        if lora.hash not in found:
            raise InputError(
                f"{file} was made with the LoRA {lora.name} ({lora.hash}): pass its file as --lora"
            )
    for digest, path in found.items():
        if digest not in {lora.hash for lora in wanted}:
            raise InputError(f"{file} was not made with the LoRA {path}: leave it out")
    return [f"{found[lora.hash]}:{lora.scale!r}" for lora in wanted]


def _order(record: PictureRecord, plan: Plan, photo: str | None) -> Order:
    """The record's batch, all of it filled with the one picture."""
    sampling, count = record.sampling, record.machine.batch_size
    settings = Settings(
        size=sampling.size,
        num_inference_steps=sampling.decoder_steps,
        guidance_scale=sampling.decoder_guidance,
        prior_num_inference_steps=sampling.prior_steps,
        prior_guidance_scale=sampling.prior_guidance,
        sampler=sampling.sampler,
        guidance_interval=sampling.guidance_interval,
        super_res_num_inference_steps=sampling.super_res_steps,
        # Older records have none: as the model has it.
        super_res_sampler=sampling.super_res_samplers or None,
        super_res_start=sampling.super_res_starts or None,
    )
    return Order(
        plan=plan,
        seeds=[record.seed] * count,
        prompts=None if record.prompt is None else [record.prompt] * count,
        photo=None if photo is None else _same_photo(record, photo),
        strength=record.photo.strength if record.photo else 0.0,
        fit=record.photo.fit if record.photo else "crop",
        settings=settings,
        batch_size=count,
        keep=record.machine.batch_index,
    )


def _same_photo(record: PictureRecord, path: str) -> PhotoFile:
    photo = read_photo(path)
    if record.photo is None:
        raise InputError("this picture was made from a prompt: leave out --image")
    if photo.sha256 != record.photo.sha256:
        raise InputError(f"{path} is another picture than the one that the variation was made of")
    return photo


def _difference(first: str, second: str) -> int:
    """The largest difference of two pictures, of 255; 255 where their sizes differ."""
    with Image.open(first) as one, Image.open(second) as two:
        if one.size != two.size:
            return 255
        a, b = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (one, two))
    return int(np.abs(a - b).max())
