"""`unclip variations`: pictures like a picture, without any prompt."""

from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.outputs import plan
from unclip.cli.report import Report, run
from unclip.pipeline.requests import check_count, check_seeds, draw_seed

PhotoPath = Annotated[str, typer.Argument(metavar="PHOTO", help="A PNG, JPEG or WebP picture.")]
Strength = Annotated[
    str,
    typer.Option(help="How far from it: 0 to 1, subtle (0.25) or strong (0.6)."),
]


def variations(
    photo: PhotoPath,
    count: options.Count = 1,
    strength: Strength = "subtle",
    fit: options.Fit = "crop",
    seed: options.Seed = None,
    out: options.Out = None,
    size: options.Size = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    model: options.Model = "pocket",
    device: options.Device = None,
    dtype: options.Dtype = None,
    grid: options.Grid = False,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Make pictures that are like a picture."""

    def work(report: Report) -> None:
        check_count(count)
        first = draw_seed() if seed is None else seed
        seeds = [first + i for i in range(count)]
        check_seeds(seeds)

        # From here on it takes PyTorch.
        from unclip.cli.pictures import Order, load, make
        from unclip.pipeline.photos import fit_square, read_photo
        from unclip.pipeline.settings import Settings
        from unclip.pipeline.variations import parse_strength

        amount = parse_strength(strength)
        source = read_photo(photo)
        fit_square(source.image, fit)
        label = f"{Path(photo).stem} variation"
        files = plan(out, [label] * count, seeds, grid=grid, force=force)
        files.check(range(count))
        pipe = load(report, model, device, dtype)
        report.result |= {"strength": amount}
        settings = Settings(size=size, num_inference_steps=steps, guidance_scale=guidance)
        order = Order(
            plan=files, seeds=seeds, photo=source, strength=amount, fit=fit, settings=settings
        )
        make(report, pipe, order)

    return run("variations", work, as_json=as_json, verbose=verbose)
