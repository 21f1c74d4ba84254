"""`unclip variations`: pictures like a picture, without any prompt."""

from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.report import Report, run
from unclip.cli.request import Request, fulfil
from unclip.pipeline.requests import check_count

PhotoPath = Annotated[str, typer.Argument(metavar="PHOTO", help="A PNG, JPEG or WebP picture.")]
Strength = Annotated[
    str | None,
    typer.Option(
        help="How far from it: 0 to 1, subtle (0.25, the default) or strong (0.6); a model without "
        "a prior can do 0 alone."
    ),
]


def variations(
    photo: PhotoPath,
    count: options.Count = 1,
    strength: Strength = None,
    fit: options.Fit = "crop",
    seed: options.Seed = None,
    out: options.Out = None,
    size: options.Size = None,
    quality: options.Quality = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    guidance_interval: options.GuidanceInterval = None,
    sampler: options.Sampler = None,
    super_res_steps: options.SuperResSteps = None,
    super_res_sampler: options.SuperResSampler = None,
    super_res_start: options.SuperResStart = None,
    model: options.Model = "pocket",
    revision: options.Revision = None,
    local_files_only: options.LocalFilesOnly = False,
    upsampler: options.UpsamplerFolder = None,
    lora: options.Lora = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    low_memory: options.LowMemory = False,
    grid: options.Grid = False,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Details = False,
) -> int:
    """Make pictures that are like a picture."""

    def work(report: Report) -> None:
        settings = {
            "size": size,
            "quality": quality,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "guidance_interval": guidance_interval,
            "sampler": sampler,
            "super_res_num_inference_steps": super_res_steps,
            "super_res_sampler": super_res_sampler,
            "super_res_start": super_res_start,
        }
        check_count(count)
        request = Request(
            labels=[f"{Path(photo).stem} variation"] * count,
            photo=photo,
            strength=strength,
            fit=fit,
            seed=seed,
            out=out,
            grid=grid,
            force=force,
            model=model,
            revision=revision,
            local_files_only=local_files_only,
            upsampler=upsampler,
            loras=lora or (),
            device=device,
            dtype=dtype,
            low_memory=low_memory,
            settings=settings,
        )
        fulfil(report, request)

    return run("variations", work, as_json=as_json, verbose=verbose, launched=True)
