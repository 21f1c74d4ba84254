"""`unclip plan`: what a training run will take, before it is begun."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of a training run.")]
Gpus = Annotated[int, typer.Option(help="How many GPUs.")]
GpuName = Annotated[str, typer.Option("--gpu", help="a100, h100, h200 or mi300x.")]
Mfu = Annotated[
    float | None,
    typer.Option(
        help="Share of the GPU's peak that training reaches; 0.40 for priors, 0.30 for U-Nets."
    ),
]
Price = Annotated[float | None, typer.Option(help="Dollars of a GPU-hour, for the cost.")]
Images = Annotated[float, typer.Option(help="Samples of the data set; the paper's has 250e6.")]
Disk = Annotated[float, typer.Option(help="GB/s that one node writes to storage.")]
TextTokens = Annotated[
    int, typer.Option(help="Tokens of a caption, for stages whose file does not say.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides, like train.accumulation=4."),
]


def plan(
    config: Config,
    gpus: Gpus = 8,
    gpu: GpuName = "h100",
    mfu: Mfu = None,
    price: Price = None,
    images: Images = 250e6,
    disk: Disk = 2.0,
    text_tokens: TextTokens = 77,
    overrides: Sets = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Tell what a training run takes: memory, days, storage."""

    def work(report: Report) -> None:
        with interrupt_held():
            from unclip.planning.gpus import find_gpu
            from unclip.planning.kinds import open_run
            from unclip.planning.plan import MFU, Means, check_means, make_plan, part_of
            from unclip.planning.text import lines

        kind = find_gpu(gpu)
        opened = open_run(config, overrides or (), text_tokens)
        means = Means(
            gpu=kind,
            gpus=gpus,
            mfu=MFU[opened.kind] if mfu is None else mfu,
            price=price,
            images=images,
            disk=disk * 1e9,
        )
        check_means(means)
        part_of(opened.train, gpus)  # what does not divide is told before anything is counted
        report.note(f"counting a step of {opened.parameters:,} parameters; large ones take minutes")
        made = make_plan(opened, means)
        report.result |= {"config": str(config), "means": asdict(means), "plan": _plain(made)}
        for line in lines(made, means):
            report.line(line)

    return run("plan", work, as_json=as_json, verbose=verbose)


def _plain(made: Any) -> dict[str, Any]:
    """A plan for JSON, with each option's total and the name of the best."""
    plain = asdict(made)
    for option, told in zip(made.options, plain["options"], strict=True):
        told["memory"]["total"] = option.memory.total
    return plain | {"best": None if made.best is None else made.best.name}
