"""`unclip info`: what a picture says of itself, or what a model is made of."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run

PICTURES = (".png", ".jpg", ".jpeg", ".webp")

Target = Annotated[
    str, typer.Argument(metavar="FILE|MODEL", help="A picture, a model folder, a hub id or pocket.")
]


def info(target: Target, as_json: options.Json = False, verbose: options.Verbose = False) -> int:
    """Tell how a picture was made, or what a model is made of."""

    def work(report: Report) -> None:
        path = Path(target)
        is_picture = os.path.isfile(path) or path.suffix.lower() in PICTURES
        facts = _picture(target) if is_picture else _model(target)
        report.result |= facts
        _print(report, facts)

    return run("info", work, as_json=as_json, verbose=verbose)


def _picture(path: str) -> dict[str, Any]:
    from unclip.config import to_dict
    from unclip.provenance.metadata import read_picture_text

    text = read_picture_text(path)
    facts: dict[str, Any] = {
        "file": path,
        "format": text.format,
        "width": text.width,
        "height": text.height,
    }
    record = None if text.record is None else to_dict(text.record)
    return facts | {"record": record, "parameters": text.parameters}


def _model(name: str) -> dict[str, Any]:
    with interrupt_held():
        from unclip.pipeline.folders import find_model, read_model

    folder, source = find_model(name)
    model = read_model(folder)
    stages = []
    for stage in model.all():
        tensors = stage.tensors.values()
        stages.append(
            {
                "stage": stage.stage,
                "parameters": sum(tensor.numel() for tensor in tensors),
                "bytes": sum(tensor.nbytes for tensor in tensors),
                "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
                "trained": stage.metadata,
                "config": stage.config,
            }
        )
    sizes = [model.decoder.config["image_size"]]
    sizes += [stage.config["image_size"] for stage in model.upsamplers]
    return {
        "model": {"name": model.name, "hash": model.hash, "source": source, "sizes": sizes},
        "parameters": sum(stage["parameters"] for stage in stages),
        "bytes": sum(stage["bytes"] for stage in stages),
        "stages": stages,
    }


def _print(report: Report, facts: dict[str, Any], indent: str = "") -> None:
    """Prints facts as lines of key and value."""
    for key, value in facts.items():
        if isinstance(value, dict):
            report.line(f"{indent}{key}:")
            _print(report, value, indent + "  ")
        elif key == "stages":
            for stage in value:
                report.line(
                    f"{indent}{stage['stage']}: {stage['parameters']:,} parameters, "
                    f"{stage['bytes']:,} bytes, {', '.join(stage['dtypes'])}"
                )
        else:
            report.line(f"{indent}{key}: {'none' if value is None else value}")
