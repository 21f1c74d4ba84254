"""`unclip eval`: how good a model is, by a judge that never saw it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import CancelledError, CheckpointError, ConfigError

if TYPE_CHECKING:
    from unclip.evaluation.judge import Judge
    from unclip.evaluation.measure import Measured
    from unclip.evaluation.suite import World

JUDGE = Path(__file__).parents[2] / "benchmarks" / "judge" / "weights"
"""In a clone of the repository; the package carries no judge."""

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model folder, owner/name on the hub, or pocket."),
]
Set = Annotated[
    str | None,
    typer.Option(
        "--set",
        metavar="DIR",
        help="The set that `unclip data illustrations` builds: for all "
        "that is held out, counts, left and right, KID and FID.",
    ),
]
JudgeFolder = Annotated[
    str | None,
    typer.Option("--judge", metavar="DIR", help="By default benchmarks/judge/weights."),
]
Short = Annotated[bool, typer.Option("--short", help="About a hundred pictures and one score.")]


def evaluate(
    model: Model = "pocket",
    set_folder: Set = None,
    judge_folder: JudgeFolder = None,
    short: Short = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Measure a model on fixed prompts and seeds; each figure beside that of real pictures."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.evaluation.judge import load_judge
            from unclip.evaluation.report import as_data, table

        folder = Path(judge_folder) if judge_folder is not None else JUDGE
        if judge_folder is None and not folder.is_dir():
            raise CheckpointError(
                f"there is no judge in {folder}: pass --judge DIR, or run this in a clone of the "
                "repository (python -m benchmarks.judge.make trains one)"
            )
        judge = load_judge(folder)
        world = _world(set_folder)
        measured = _measure(report, model, judge, world, short, device, dtype)
        for line in table(measured.figures):
            report.line(line)
        data = as_data(measured)
        report.line(f"score {data['score']:.4f} (mean of all shares over their ceilings)")
        report.result |= data

    return run("eval", work, as_json=as_json, verbose=verbose)


def _world(folder: str | None) -> "World":
    with interrupt_held():
        from unclip.evaluation.built import BuiltWorld
        from unclip.evaluation.bundled import BundledWorld

    return BundledWorld() if folder is None else BuiltWorld(Path(folder))


def _measure(
    report: Report,
    model: str,
    judge: "Judge",
    world: "World",
    short: bool,
    device: str | None,
    dtype: str | None,
) -> "Measured":
    with interrupt_held():
        from unclip.cli.pictures import load
        from unclip.evaluation.measure import lay_out, measure
        from unclip.evaluation.suite import FULL, SHORT
        from unclip.pipeline.artist import PipelineArtist
        from unclip.training.signals import StopSignal

    pipe = load(report, model, device, dtype)
    if judge.name == pipe.clip.fingerprint():
        raise ConfigError(
            f"the judge is this model's own CLIP ({judge.name}): give one that it never saw"
        )
    judge.clip.to(pipe.device)
    work = lay_out(world, SHORT if short else FULL, pipe.sizes)
    report.note(f"measuring on {world.name}, judge {judge.name}")
    if work.left_out:
        report.note(f"left out: {'; '.join(work.left_out)}")
    with StopSignal() as stop, report.progress(work.totals) as advance:

        def check() -> None:
            if stop.received:
                error = CancelledError("stopped by a signal; figures need all pictures, none kept")
                error.exit_code = 128 + stop.received
                raise error

        def count(group: str) -> None:
            advance(group)
            check()

        return measure(PipelineArtist(pipe, check=check), judge, world, work, count)
