"""`unclip generate`: pictures from prompts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.processes import this_process
from unclip.cli.report import Report, run
from unclip.cli.request import Request, fulfil
from unclip.errors import InputError
from unclip.pipeline.requests import check_count, printable

Prompts = Annotated[
    list[str] | None, typer.Argument(metavar="PROMPT...", help="What to paint, in quotes.")
]
PromptFile = Annotated[
    str | None,
    typer.Option("--prompts", metavar="FILE|-", help="A prompt a line; - reads them from stdin."),
]


def generate(
    prompt: Prompts = None,
    count: options.Count = 1,
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
    prior_guidance: options.PriorGuidance = None,
    prior_steps: options.PriorSteps = None,
    model: options.Model = "pocket",
    revision: options.Revision = None,
    local_files_only: options.LocalFilesOnly = False,
    upsampler: options.UpsamplerFolder = None,
    lora: options.Lora = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    low_memory: options.LowMemory = False,
    grid: options.Grid = False,
    prompts: PromptFile = None,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Details = False,
) -> int:
    """Make pictures from prompts."""

    def work(report: Report) -> None:
        settings = {
            "size": size,
            "quality": quality,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "guidance_interval": guidance_interval,
            "sampler": sampler,
            "prior_guidance_scale": prior_guidance,
            "prior_num_inference_steps": prior_steps,
            "super_res_num_inference_steps": super_res_steps,
            "super_res_sampler": super_res_sampler,
            "super_res_start": super_res_start,
        }
        texts = read_prompts(prompt or [], prompts, alone=this_process().world == 1)
        check_count(count * len(texts))
        rows = [text for text in texts for _ in range(count)]
        request = Request(
            labels=rows,
            prompts=rows,
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

    return run("generate", work, as_json=as_json, verbose=verbose, launched=True)


def read_prompts(given: list[str], file: str | None, *, alone: bool) -> list[str]:
    """Returns the prompts of the command line, or of a file: one a line, empty lines left out.

    Raises:
        InputError: there is none, both are given, or the file cannot be read as text.
    """
    if given and file is not None:
        raise InputError("got prompts and --prompts: give one of them")
    if file is None:
        if not given:
            raise InputError('got no prompt: unclip generate "a red apple", or --prompts FILE')
        if any(not prompt.strip() for prompt in given):
            raise InputError('got an empty prompt: unclip generate "a red apple"')
        return [printable(prompt) for prompt in given]
    if file == "-" and not alone:
        raise InputError("--prompts - can feed one process only: give a file")
    if file == "-" and sys.stdin is None:
        raise InputError("--prompts -: there is no standard input")
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # Not splitlines: a prompt may hold a Unicode line separator.
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"--prompts {file} is no UTF-8 text: save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read --prompts {file}: {reason}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise InputError(f"--prompts {file} holds no prompt: write one a line")
    return found
