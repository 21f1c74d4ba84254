"""`unclip data embed` and `unclip data stats`: CLIP embeddings of a captioned set, and their
whitening; the prior is trained on them."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.processes import Processes, joined, shares, this_process
from unclip.cli.report import Advance, Report, run

Shards = Annotated[
    Path,
    typer.Argument(
        metavar="SHARDS",
        help="A folder of WebDataset tars, of captioned pictures, or of embeddings in "
        "clip-retrieval's layout; or one tar.",
    ),
]
Target = Annotated[Path, typer.Argument(metavar="DST", help="The embeddings' folder.")]
ClipModel = Annotated[
    str,
    typer.Option(
        "--clip", metavar="MODEL", help="A CLIP's folder, or a model's whose CLIP is taken."
    ),
]
Stored = Annotated[str, typer.Option(help="Numbers are stored as float16 or float32.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Threads that decode pictures; all processors.")
]


def embed(
    shards: Shards,
    dst: Target,
    clip: ClipModel,
    dtype: Stored = "float16",
    device: options.Device = None,
    jobs: Jobs = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Embed a captioned set with CLIP, shard by shard; again goes on where it stopped."""

    def work(report: Report) -> None:
        processes = this_process()
        with joined(processes):
            _embed(report, processes, shards, dst, clip, dtype, device, jobs)

    return run("data embed", work, as_json=as_json, verbose=verbose, launched=True)


def _embed(
    report: Report,
    processes: Processes,
    shards: Path,
    dst: Path,
    clip: str,
    dtype: str,
    device: str | None,
    jobs: int | None,
) -> None:
    with interrupt_held():
        from unclip.data.captioned import pieces_of
        from unclip.data.embeddings import manifest_of
        from unclip.data.tars import Skips
        from unclip.pipeline.devices import choose_device
        from unclip.training.companions import FrozenClip
        from unclip.training.embed import embed_piece, finish, plan

    pieces = pieces_of(shards)
    companion = FrozenClip(_clip_folder(clip))
    task = plan(pieces, dst, companion, dtype, jobs or _threads())
    companion.prepare(choose_device(device, local_rank=processes.local_rank))
    mine = processes.share_of(len(pieces))

    def share(advance: Advance) -> int:
        """Embeds this process's shards; returns how many were not done yet."""
        skips, renewed = Skips(), 0
        for number in mine:
            renewed += embed_piece(task, number, skips) is not None
            advance("shards")
        return renewed

    with report.progress({"shards": len(mine)}) as advance:
        renewed = shares(processes, lambda: share(advance))
    if processes.first:
        _tell(report, dst, manifest_of(task.making, finish(task)), sum(renewed))


def _tell(report: Report, dst: Path, manifest: dict[str, Any], renewed: int) -> None:
    total, making = len(manifest["parts"]), manifest["making"]
    names = ("id", "count", "skipped")
    report.result |= {"path": str(dst), **{name: manifest[name] for name in names}, **making}
    report.result |= {"shards": total, "shards_embedded_now": renewed}
    report.note(
        f"{manifest['count']:,} embeddings of {making['dim']} {making['dtype']} numbers from "
        f"{total} shards, {renewed} of them now, by the clip {making['clip']}"
    )
    for reason, count in manifest["skipped"].items():
        report.note(f"skipped: {count:,} x {reason}")
    report.line(str(dst))


def stats(dst: Target, as_json: options.Json = False, verbose: options.Verbose = False) -> int:
    """Measure the whitening of embeddings: their mean and standard deviation, in one pass."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.data.embeddings import EmbeddingFolder
            from unclip.data.whitening import STATS, measure

        folder = EmbeddingFolder(dst)
        with report.progress({"parts": len(folder.parts)}) as advance:
            found = measure(folder, lambda: advance("parts"))
        path = str(dst / STATS)
        report.result |= {"path": path, "embeddings": folder.id, "count": found.count}
        mean, std = float(abs(found.mean).mean()), float(found.std().mean())
        report.note(
            f"{found.count:,} embeddings: dimensions have a mean of {mean:.4g} (without sign) and "
            f"a standard deviation of {std:.4g}, on average"
        )
        report.line(path)

    return run("data stats", work, as_json=as_json, verbose=verbose)


def _clip_folder(name: str) -> Path:
    """A CLIP's own folder, or the one within a model's.

    Raises:
        CheckpointError: there is no such model.
    """
    from unclip.checkpoint import CONFIG
    from unclip.pipeline.folders import find_model
    from unclip.pipeline.index import read_index

    if (Path(name) / CONFIG).is_file():
        return Path(name)
    folder, _ = find_model(name)
    return folder / read_index(folder).clip


def _threads() -> int:
    """Processors that this process may use, shared with those launched beside it."""
    tells = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if tells else os.cpu_count() or 1
    return max(1, count // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
