"""`unclip data`: building the data that models are trained on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.data_embed import embed, stats
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run

app = typer.Typer(help="Build the data that models are trained on.")

OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The set's folder.")]
Tiers = Annotated[
    str,
    typer.Option(
        help="Licences: A permissive, B attribution, C share-alike and copyleft. What ships is "
        "trained on A and B only."
    ),
]
Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME", help="Only this one; repeatable.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where packages are kept (0.7 GB); ~/.cache/unclip/packages by default."
    ),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes that render; one for each processor.")
]
Replace = Annotated[
    bool, typer.Option("--force", help="Replace a set that has more sources than this one.")
]


@app.callback()
def _group() -> None:
    pass


@app.command()
def illustrations(
    out: OutFolder,
    tiers: Tiers = "AB",
    source: Sources = None,
    cache: Cache = None,
    jobs: Jobs = None,
    force: Replace = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Build the captioned drawings from openly licensed npm and Debian packages."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.data.drawings.build import build
            from unclip.data.drawings.catalogue import choose
            from unclip.data.drawings.fetch import fetch
            from unclip.data.drawings.folder import check_target

        chosen = choose(tiers, source or [])
        check_target(out, {one.name for one in chosen}, replace=force)
        packages = cache or Path.home() / ".cache" / "unclip" / "packages"
        report.note(f"fetching packages into {packages}")
        fetched = fetch(chosen, packages, report)
        summary = build(
            out,
            fetched.sources,
            packages,
            report,
            jobs=jobs or _processors(),
            versions=fetched.versions,
            unpinned=fetched.unpinned,
        )
        report.result |= {"path": str(out), **summary.figures()}
        report.result |= {"packages": fetched.versions, "missing": fetched.missing}
        for line in summary.lines():
            report.note(line)
        report.line(str(out))

    return run("data illustrations", work, as_json=as_json, verbose=verbose)


@app.command()
def shards(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="Folder of captioned pictures, or scenes:NUM of the pocket world."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the shards.")],
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PX",
            help="Make the shorter side of larger pictures so small, as JPEG; none is enlarged. "
            "Without it all are kept as they are.",
        ),
    ] = None,
    per_shard: Annotated[int, typer.Option(min=1, help="Pictures in a shard.")] = 10_000,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that write; one for each processor.")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Write captioned pictures as shards (WebDataset tars as img2dataset makes them) to train on.

    The same command again goes on with the shards that are missing.
    """

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.data.shards.index import energon, write_index
            from unclip.data.shards.sources import open_originals
            from unclip.data.shards.write import write_shards

        energon()
        written = write_shards(
            open_originals(source, size),
            out,
            size_px=size,
            per_shard=per_shard,
            jobs=jobs or _processors(),
            tell=report.note,
        )
        if written.kept:
            report.note(f"{written.kept} of {written.shards} shards were there already")
        for reason, count in written.faults.most_common():
            report.note(f"left out: {count} x {reason} (the .parquet files say which)")
        indexed = write_index(out, jobs or _processors())
        report.result |= {"path": str(out), "shards": written.shards, "samples": indexed.samples}
        report.result |= {"left_out": dict(written.faults)}
        report.line(f"{indexed.samples} pictures in {written.shards} shards: {out}")

    return run("data shards", work, as_json=as_json, verbose=verbose)


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of *.tar shards.")],
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that read; one for each processor.")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Index a folder of shards that others made (img2dataset, say), so that stages train on it."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.data.shards.index import write_index

        indexed = write_index(folder, jobs or _processors())
        for line in indexed.warnings():
            report.note(f"warning: {line}")
        report.result |= {"path": str(folder), "shards": indexed.shards}
        report.result |= {"samples": indexed.samples, "cut_off": indexed.cut_off}
        report.result |= {"unreadable": indexed.unreadable}
        report.line(f"{indexed.samples} samples in {indexed.shards} shards: {folder}")

    return run("data index", work, as_json=as_json, verbose=verbose)


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    tells = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if tells else os.cpu_count() or 1


for _verb in (embed, stats):
    app.command()(_verb)
