"""Options of `unclip eval --data` alone; how the model paints is asked for as of `generate`."""

from typing import Annotated

import typer

PANEL = "Captioned pictures (--data)"

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="A folder of captioned pictures of your own: FID, KID, precision, recall, CLIP score, "
        "R-precision and the prior's panel.",
        rich_help_panel=PANEL,
    ),
]
Num = Annotated[
    int | None,
    typer.Option("--num", help="Pictures; all, up to 30,000, if not given.", rich_help_panel=PANEL),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Draws pictures, captions and noise; 0 if not given.", rich_help_panel=PANEL),
]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="CLIP_DIR|inception|vgg16",
        help="What pictures are compared in; the model's own CLIP if not given.",
        rich_help_panel=PANEL,
    ),
]
FeatureWeights = Annotated[
    str | None,
    typer.Option(
        "--feature-weights",
        metavar="FILE",
        help="Of --features inception or vgg16, as torch-fidelity publishes them.",
        rich_help_panel=PANEL,
    ),
]
Clip = Annotated[
    str | None,
    typer.Option(
        "--clip",
        metavar="CLIP_DIR",
        help="Reads captions for CLIP score and R-precision; that of --features if not given.",
        rich_help_panel=PANEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Pictures painted at a time; numbers hang on it by rounding.",
        rich_help_panel=PANEL,
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="DIR",
        help="Keep what is painted here, and go on from it.",
        rich_help_panel=PANEL,
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Features of real pictures; ~/.cache/unclip/evaluation if not given.",
        rich_help_panel=PANEL,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Gets figures.json and report.html; eval-NAME if not given.",
        rich_help_panel=PANEL,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels; the largest that the model paints up to 256 if not given.",
        rich_help_panel=PANEL,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Overwrite an earlier report.", rich_help_panel=PANEL),
]
