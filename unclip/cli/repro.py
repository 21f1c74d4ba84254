"""`unclip repro`: makes a picture again from what its file says, and compares."""

import os
from pathlib import Path
from typing import Annotated

import typer

from unclip import __version__
from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.outputs import plan
from unclip.cli.report import Report, run
from unclip.errors import CheckpointError, InputError

File = Annotated[str, typer.Argument(metavar="FILE", help="A PNG that unclip made.")]
ModelOption = Annotated[
    str | None,
    typer.Option(metavar="DIR|HUB_ID", help="The model that made it, if it is a folder of yours."),
]
PhotoOption = Annotated[
    str | None, typer.Option(metavar="PHOTO", help="For a variation: the picture it was made of.")
]


LoraOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="LoRA weights that it was made with; their scales are its own."
    ),
]


def repro(
    file: File,
    out: options.Out = None,
    model: ModelOption = None,
    image: PhotoOption = None,
    upsampler: options.UpsamplerFolder = None,
    lora: LoraOption = None,
    device: options.Device = None,
    force: options.Force = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Make a picture again, and compare."""

    def work(report: Report) -> None:
        from unclip.provenance.metadata import read_record

        record = read_record(file)
        name = model or record.model.source
        made_with = f"{file} was made with the model {record.model.name} ({record.model.hash})"
        if name is None:
            raise InputError(f"{made_with}, which is no public one: pass its folder as --model")
        if record.photo is not None and image is None:
            raise InputError(f"{file} is a variation: pass the picture it was made of as --image")
        target = out or str(Path(file).with_name(f"{Path(file).stem}-repro.png"))
        files = plan(target, [record.prompt or "variation"], [record.seed], grid=False, force=force)
        files.check([0])
        if any(os.path.exists(path) and os.path.samefile(file, path) for path in files.pictures):
            raise InputError(f"--out {target} is the picture itself: choose another")
        if record.version != __version__:
            report.note(f"made by unclip {record.version}, this is {__version__}: it may differ")

        # From here on it takes PyTorch.
        with interrupt_held():
            from unclip.cli.pictures import enlarge, load
            from unclip.cli.remake import recorded_loras, remake
            from unclip.pipeline.folders import POCKET
            from unclip.pipeline.hub import is_hub_id

        if model is None and name != POCKET and not is_hub_id(name):
            raise InputError(f"{file} holds a record that is damaged: its model is no public one")
        loras = recorded_loras(record, file, lora or ())
        where, dtype = device or record.machine.device, record.machine.dtype
        pipe = load(report, name, where, dtype, loras=loras)
        if pipe.record.hash != record.model.hash:
            other = f"{pipe.record.name} ({pipe.record.hash})"
            raise CheckpointError(f"{made_with}, this is {other}: pass that one as --model")
        if record.model.upsampler is not None or upsampler is not None:
            pipe = enlarge(report, pipe, record.sampling.size, upsampler)
            if pipe.record.upsampler != record.model.upsampler:
                raise CheckpointError(
                    f"{file} was enlarged by the upsampler {record.model.upsampler}, this is "
                    f"{pipe.record.upsampler}: pass that one as --upsampler"
                )
        remake(report, pipe, record, file, files, image)

    return run("repro", work, as_json=as_json, verbose=verbose)
