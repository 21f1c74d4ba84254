"""`unclip eval`: how good a model is, by a judge that never saw it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclip.cli import eval_options, options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import CancelledError, CheckpointError, ConfigError, InputError

if TYPE_CHECKING:
    from unclip.evaluation.judge import Judge
    from unclip.evaluation.measure import Measured
    from unclip.evaluation.suite import World

JUDGE = Path(__file__).parents[2] / "benchmarks" / "judge" / "weights"
"""In a clone of the repository; the package carries no judge."""

OPTIONS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "prior_guidance_scale": "prior-guidance",
    "prior_num_inference_steps": "prior-steps",
    "super_res_num_inference_steps": "super-res-steps",
}
"""Settings whose option has another name."""

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
    data: eval_options.Data = None,
    num: eval_options.Num = None,
    seed: eval_options.Seed = None,
    features: eval_options.Features = None,
    feature_weights: eval_options.FeatureWeights = None,
    clip: eval_options.Clip = None,
    batch_size: eval_options.BatchSize = None,
    keep: eval_options.Keep = None,
    cache: eval_options.Cache = None,
    out: eval_options.Out = None,
    force: eval_options.Force = False,
    size: eval_options.Size = None,
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
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Measure a model: on the suite's fixed prompts, or with --data on captioned pictures."""
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
    asked = {
        "num": num,
        "seed": seed,
        "features": features,
        "feature_weights": feature_weights,
        "clip": clip,
        "batch_size": batch_size,
        "keep": keep,
        "cache": cache,
        "out": out,
        "force": force or None,
    }

    def suite(report: Report) -> None:
        _refuse(asked | settings, "is for --data DIR: give a folder of captioned pictures, too")
        _measure_suite(report, model, set_folder, judge_folder, short, device, dtype)

    def on_data(report: Report) -> None:
        given = {"set": set_folder, "judge": judge_folder, "short": short or None}
        _refuse(given, "is of the suite, and --data measures without it: give one of them")
        with interrupt_held():
            from unclip.cli.eval_data import Request, evaluate_on_data

        given = {name: value for name, value in asked.items() if value is not None}
        evaluate_on_data(
            report,
            Request(
                model=model, data=data or "", device=device, dtype=dtype, settings=settings, **given
            ),
        )

    work = suite if data is None else on_data
    return run("eval", work, as_json=as_json, verbose=verbose, launched=data is not None)


def _refuse(given: Mapping[str, object], reason: str) -> None:
    """Refuses the first option that is given and would be ignored."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{OPTIONS.get(name, name).replace('_', '-')} {reason}")


def _measure_suite(
    report: Report,
    model: str,
    set_folder: str | None,
    judge_folder: str | None,
    short: bool,
    device: str | None,
    dtype: str | None,
) -> None:
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
