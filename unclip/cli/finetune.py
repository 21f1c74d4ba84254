"""`unclip finetune`: a stage of a model, trained further on pictures of one's own."""

import contextlib
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import DataError, InputError

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A model folder (Karlo's, too), owner/name on the hub, or pocket."
    ),
]
Pictures = Annotated[
    Path, typer.Argument(metavar="PICTURES", help="A folder of PNG, JPEG or WebP pictures.")
]
OutFolder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="The run; the same command goes on with it."),
]
Stage = Annotated[str, typer.Option(help="prior, decoder, or upsampler_256 and the like.")]
Lora = Annotated[
    bool,
    typer.Option(
        "--lora/--full",
        help="Train a small file of LoRA weights, or all weights of the stage to a new model.",
    ),
]
Rank = Annotated[int | None, typer.Option(help="Of the LoRA: 16 if not given.")]
Steps = Annotated[int, typer.Option(help="Training steps.")]
BatchSize = Annotated[int, typer.Option(help="Pictures a step.")]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Learning rate; if not given 3e-3 for LoRA and 3e-4 for all weights, of stages with "
        "100 million weights and more 2e-4 and 1e-5."
    ),
]
Caption = Annotated[
    str | None,
    typer.Option(
        help='Of pictures without a caption, "a photo of sks dog"; the folder\'s name if not given.'
    ),
]
ClipFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A CLIP to look with, where the model's has no image tower."),
]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]


def finetune(
    model: ModelName,
    pictures: Pictures,
    out: OutFolder,
    stage: Stage = "decoder",
    lora: Lora = True,
    rank: Rank = None,
    steps: Steps = 400,
    batch_size: BatchSize = 8,
    lr: Rate = None,
    caption: Caption = None,
    clip: ClipFolder = None,
    seed: Seed = 0,
    revision: options.Revision = None,
    local_files_only: options.LocalFilesOnly = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Train a stage further on a folder of your own pictures."""

    def work(report: Report) -> None:
        if rank is not None and not lora:
            raise InputError("--rank is of a LoRA: leave out --full, or --rank")
        if clip is not None and not lora:
            raise InputError("--clip can make a LoRA only: the model keeps its own CLIP")
        if not pictures.is_dir():
            raise DataError(f"{pictures} is no folder of pictures")
        with interrupt_held():
            import torch

            from unclip.cli.licences import tell_licence
            from unclip.pipeline import finetune as tuning
            from unclip.pipeline.folders import find_model
            from unclip.pipeline.index import read_index

        said = caption or _name_of(pictures)
        wish = tuning.Wish(
            stage=stage,
            pictures=pictures,
            caption=said,
            rank=(16 if rank is None else rank) if lora else None,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            clip=clip,
        )
        folder, source = find_model(model, revision=revision, local_files_only=local_files_only)
        name = (source or folder.resolve().name).rpartition("/")[2]
        base = tuning.base_folder(folder, name, out)
        tell_licence(report, source or name, read_index(base).licence)
        recipe = tuning.recipe(base, wish)
        path = tuning.write_recipe(recipe, out)
        report.note(f'pictures without a caption are called "{said}"')
        module, _ = tuning.module_of(recipe)
        report.note(f"several devices: accelerate launch -m {module} --config {path} --out {out}")
        with contextlib.redirect_stdout(sys.stderr):  # what the training says is no result
            tuning.train(recipe, out)
        made = tuning.result(base, recipe, stage, out)
        report.result |= {"path": str(made), "stage": stage, "steps": steps, "config": str(path)}
        use = f"--model {model} --lora {made}" if lora else f"--model {made}"
        report.note(f'now: unclip generate "{said}" {use}')
        report.line(str(made))

    return run("finetune", work, as_json=as_json, verbose=verbose)


def _name_of(folder: Path) -> str:
    """A folder's name as words."""
    return re.sub(r"[\W_]+", " ", folder.resolve().name).strip() or "a picture"
