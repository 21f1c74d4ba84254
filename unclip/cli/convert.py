"""`unclip convert`: a model in any layout, written in ours or in diffusers'."""

from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import CancelledError, ConfigError

LAYOUTS = ("unclip", "diffusers")

Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="A model folder of ours, of diffusers' (Karlo), of Kakao's own files; a hub id, or "
        "pocket.",
    ),
]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")]
Layout = Annotated[
    str, typer.Option("--to", metavar="|".join(LAYOUTS), help="The layout to write.")
]
ShardSize = Annotated[
    str | None,
    typer.Option(help="Split larger files of diffusers' layout: 2GB, 500MB; else never."),
]


def convert(
    source: Source,
    destination: Destination,
    to: Layout,
    dtype: options.Stored = None,
    shard_size: ShardSize = None,
    force: options.Force = False,
    revision: options.Revision = None,
    local_files_only: options.LocalFilesOnly = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Convert a model to our layout or to diffusers', in little memory."""

    def work(report: Report) -> None:
        if to not in LAYOUTS:
            raise ConfigError(f"--to is {to!r}, expected {' or '.join(LAYOUTS)}")
        with interrupt_held():
            import torch

            from unclip.cli.licences import tell_licence
            from unclip.karlo.to_diffusers import Writing
            from unclip.pipeline.convert import convert as write
            from unclip.pipeline.convert import open_source, parse_bytes
            from unclip.pipeline.devices import choose_dtype
            from unclip.pipeline.folders import find_model
            from unclip.training.signals import StopSignal

        shard_bytes = None if shard_size is None else parse_bytes(shard_size)
        stored = None if dtype is None else choose_dtype(dtype, torch.device("cpu"))
        folder, name = find_model(source, revision=revision, local_files_only=local_files_only)
        opened = open_source(folder, None if name is None else name.rpartition("/")[2])
        tell_licence(report, name or opened.model.name, opened.model.licence)
        files = opened.files(to)
        with report.progress(files) as advance, StopSignal() as stop:

            def progress(tensor: str) -> None:
                if stop.received:
                    raise CancelledError("interrupted: nothing was written")
                advance(tensor.partition("/")[0])

            writing = Writing(stored, shard_bytes, progress)
            notes = write(opened, destination, to, writing=writing, force=force)
        for note in notes:
            report.note(f"not written, for diffusers has no place for it: {note}")
        report.result |= {
            "path": str(destination),
            "layout": to,
            "model": {"name": opened.model.name, "licence": opened.model.licence},
            "bytes": opened.bytes_as(stored),
            "lost": notes,
        }
        report.note(f"converted {opened.model.name}, {opened.bytes_as(stored):,} bytes of weights")
        report.line(str(destination))

    return run("convert", work, as_json=as_json, verbose=verbose)
