"""The options that several verbs share."""

from typing import Annotated

import typer

Count = Annotated[int, typer.Option("-n", help="Pictures of each prompt.")]
Seed = Annotated[
    int | None,
    typer.Option(help="Of the first picture; the next ones count up. Drawn if not given."),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE|DIR/",
        help="A PNG file (numbered if there are several), or a folder: an existing one, or with "
        "a slash at the end. By default this folder, named by prompt and seed.",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(help="Side in pixels: 64, 256 or 1024; the model's largest if not given."),
]
Steps = Annotated[int | None, typer.Option(help="Sampling steps of the decoder.")]
Guidance = Annotated[
    float | None, typer.Option(help="How closely the decoder follows its conditions; 1 is plain.")
]
PriorGuidance = Annotated[
    float | None, typer.Option(help="How closely the prior follows the prompt; 1 is plain.")
]
Quality = Annotated[
    str | None,
    typer.Option(
        help="draft (several times faster), standard (the model's own) or best (twice the steps): "
        "a set of the settings below; those that are given win."
    ),
]
Sampler = Annotated[
    str | None, typer.Option(help="Of the decoder: ddpm, ddim or dpmpp_2m (for few steps).")
]
GuidanceInterval = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH", help="Fractions of the time between which the decoder is guided."
    ),
]
PriorSteps = Annotated[int | None, typer.Option(help="Sampling steps of the prior.")]
SuperResSteps = Annotated[int | None, typer.Option(help="Sampling steps of each upsampler.")]
SuperResSampler = Annotated[str | None, typer.Option(help="Of the upsamplers, as --sampler.")]
SuperResStart = Annotated[
    float | None,
    typer.Option(
        help="Fraction of the time, above 0 to 1, at which the upsamplers begin from the enlarged "
        "picture; 1 is from noise alone."
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="DIR|HUB_ID", help="A model folder, owner/name on the hub, or the bundled pocket."
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Of a model on the hub: a branch, tag or commit.")
]
LocalFilesOnly = Annotated[
    bool,
    typer.Option("--local-files-only", help="Take a model of the hub from the cache, or fail."),
]
UpsamplerFolder = Annotated[
    str | None,
    typer.Option(
        "--upsampler",
        metavar="DIR",
        help="Goes on to a --size that the model does not paint; pocket's if not given.",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:SCALE]",
        help="LoRA weights for a stage of the model, counted once or SCALE times; may be repeated.",
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cuda, cuda:1, mps or cpu; the fastest if not given.")
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32 (default on a CPU), bfloat16 (default on a GPU) or float16."),
]
LowMemory = Annotated[
    bool,
    typer.Option(
        "--low-memory",
        help="One network at a time on the device, one picture at a time: slower, and Karlo in "
        "float16 fits into 4 GB.",
    ),
]
Stored = Annotated[
    str | None,
    typer.Option(help="Store weights as float32, bfloat16 or float16; else as they are."),
]
Grid = Annotated[bool, typer.Option("--grid", help="Also write one sheet of all pictures.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
Details = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Tell how the stages are run; show the traceback of an error."
    ),
]
Fit = Annotated[
    str, typer.Option(help="What makes the picture square: crop, pad (white) or stretch.")
]
