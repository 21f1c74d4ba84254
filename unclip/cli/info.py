"""`unclip info`: what a picture says of itself, or what a model is made of."""

import os
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

from unclip.cli import options
from unclip.cli.interrupts import interrupt_held
from unclip.cli.report import Report, run
from unclip.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")

Target = Annotated[
    str, typer.Argument(metavar="FILE|MODEL", help="A picture, a model folder, a hub id or pocket.")
]


def info(
    target: Target,
    revision: options.Revision = None,
    local_files_only: options.LocalFilesOnly = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Tell how a picture was made, or what a model is made of."""

    def work(report: Report) -> None:
        path = Path(target)
        is_picture = os.path.isfile(path) or path.suffix.lower() in PICTURES
        if is_picture and (revision is not None or local_files_only):
            raise InputError(f"{target} is a picture: --revision is for models of the hub")
        facts = (
            _picture(target) if is_picture else _model(report, target, revision, local_files_only)
        )
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


def _model(
    report: Report, name: str, revision: str | None, local_files_only: bool
) -> dict[str, Any]:
    with interrupt_held():
        from unclip.cli.licences import tell_licence
        from unclip.karlo.identity import folder_hash
        from unclip.karlo.load import is_karlo, open_karlo
        from unclip.pipeline.folders import find_model, read_model
        from unclip.pipeline.memory import PRECISIONS, weight_bytes

    folder, source = find_model(name, revision=revision, local_files_only=local_files_only)
    licence = None
    if is_karlo(folder):
        model = open_karlo(folder, None if source is None else source.rpartition("/")[2])
        digest, licence = folder_hash(folder), model.licence
        tell_licence(report, source or model.name, licence)
    else:
        model = read_model(folder)
        digest = model.hash
    stages = [_stage(stage) for stage in model.all()]
    for stage in stages:
        stage["memory"] = {dtype: weight_bytes(stage, dtype) for dtype in PRECISIONS}
    sizes = [model.decoder.config["image_size"]]
    sizes += [stage.config["image_size"] for stage in model.upsamplers]
    about = {"name": model.name, "hash": digest, "source": source, "sizes": sizes}
    return {
        "model": about | {"licence": licence},
        "parameters": sum(stage["parameters"] for stage in stages),
        "bytes": sum(stage["bytes"] for stage in stages),
        "memory": {d: sum(stage["memory"][d] for stage in stages) for d in PRECISIONS},
        "stages": stages,
    }


def _stage(stage: Any) -> dict[str, Any]:
    """What a stage is made of, whether its tensors were read or not."""
    tensors = stage.tensors.values()
    return {
        "stage": stage.stage,
        "parameters": sum(prod(tensor.shape) for tensor in tensors),
        "bytes": sum(prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        "trained": stage.metadata,
        "config": stage.config,
    }


def _memory(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size / 1e6:,.1f} MB in {dtype}" for dtype, size in sizes.items())


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
                    f"{stage['bytes']:,} bytes, {', '.join(stage['dtypes'])}; "
                    f"{_memory(stage['memory'])}"
                )
        elif key == "memory":
            report.line(f"{indent}memory: {_memory(value)}")
        else:
            report.line(f"{indent}{key}: {'none' if value is None else value}")
