"""`unclip assemble`: trained stages joined to a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run

Parts = Annotated[
    list[str],
    typer.Argument(
        metavar="clip=DIR prior=DIR decoder=DIR upsamplers=DIR,DIR",
        help="Stage folders, or training runs, of which the averaged weights are taken.",
    ),
]
OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The model folder.")]
Name = Annotated[str | None, typer.Option(help="The model's name; the folder's if not given.")]


def assemble(
    parts: Parts,
    out: OutFolder,
    name: Name = None,
    dtype: options.Stored = None,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Join trained stages to a model folder."""

    def work(report: Report) -> None:
        with interrupt_held():
            import torch

            from unclip.pipeline.assemble import assemble as join
            from unclip.pipeline.assemble import parse_parts
            from unclip.pipeline.devices import choose_dtype

        found = parse_parts(parts)
        stored = None if dtype is None else choose_dtype(dtype, torch.device("cpu"))
        model = join(
            out,
            clip=found["clip"][0],
            prior=found["prior"][0],
            decoder=found["decoder"][0],
            upsamplers=found.get("upsamplers", []),
            name=name,
            dtype=stored,
            replace=force,
        )
        report.result |= {"path": str(out), "model": {"name": model.name, "hash": model.hash}}
        report.note(f"assembled the model {model.name} ({model.hash})")
        report.line(str(out))

    return run("assemble", work, as_json=as_json, verbose=verbose)
