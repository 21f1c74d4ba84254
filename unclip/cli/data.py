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


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    tells = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if tells else os.cpu_count() or 1


for _verb in (embed, stats):
    app.command()(_verb)
