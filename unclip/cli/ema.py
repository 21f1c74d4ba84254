"""`unclip ema`: averages of another length, after the training."""

from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run

POOR = 0.05
"""From this error on, the average is another one than was asked for."""

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training run.")]
Std = Annotated[
    float,
    typer.Option(
        metavar="LENGTH",
        help="Standard deviation of the average's profile, as a share of the steps so far: 0.001 "
        "to 0.288.",
    ),
]
Step = Annotated[int | None, typer.Option(help="As of this step; the newest if not given.")]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="DIR", help="The stage folder; final-LENGTH in the run if not given."
    ),
]


def ema(
    folder: Run,
    std: Std,
    step: Step = None,
    out: OutFolder = None,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Make a stage of a run's averages, of any length."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.training.posthoc import reconstruct

        made = reconstruct(folder, std, step=step, out=out, force=force)
        for reason in made.left_out:
            report.note(f"left out: {reason}")
        report.result |= {
            "path": str(made.folder),
            "std": std,
            "step": made.step,
            "snapshots": made.num_snapshots,
            "error": made.fit.error,
        }
        report.note(
            f"the average of length {std:g} at step {made.step}, of {made.num_snapshots} "
            f"snapshots; their sum's profile is off by {made.fit.error:.2%}"
        )
        if made.fit.error > POOR:
            report.note(
                "warning: that is far off: such a length needs snapshots more often "
                "(train.ema_every), or averages nearer to it (train.ema_stds)"
            )
        report.line(str(made.folder))

    return run("ema", work, as_json=as_json, verbose=verbose)
