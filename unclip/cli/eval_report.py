"""What an evaluation on captioned pictures tells: a table, figures.json and report.html."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unclip
from unclip.cli.eval_networks import BIASED, Networks
from unclip.cli.eval_paint import thumb
from unclip.cli.outputs import Plan, write
from unclip.cli.report import Report
from unclip.config import to_dict
from unclip.errors import InputError
from unclip.evaluation.captioned.matching import cosines
from unclip.evaluation.captioned.page import Shown, page
from unclip.evaluation.captioned.pairs import Pair, read_square
from unclip.evaluation.captioned.panel import Predicted, unrelated
from unclip.evaluation.captioned.plots import dots, histogram
from unclip.evaluation.captioned.reals import RULE
from unclip.evaluation.captioned.results import Results
from unclip.evaluation.report import table
from unclip.pipeline.devices import dtype_name
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.quality import describe
from unclip.provenance.record import Sampling

FIGURES, PAGE = "figures.json", "report.html"
SHEET, ENDS = 24, 8
"""Pairs on the first sheet, and on those of the best and worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """All that there is to tell."""

    results: Results
    pairs: Sequence[Pair]
    captions: Sequence[str]
    thumbs: dict[int, bytes]
    predicted: Predicted | None
    networks: Networks
    pipe: UnCLIPPipeline
    sampling: Sampling
    seed: int
    data: str
    """The folder's name."""
    batch_size: int
    resumed: int


def check_free(out: Path, *, force: bool) -> None:
    """Checks that the reports can be written, before any work is done.

    Raises:
        InputError: they are there already, or the folder cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file, expected a folder")
    Plan((out / FIGURES, out / PAGE), None, force).check((0, 1))


def tell(report: Report, told: Told, out: Path, *, force: bool) -> None:
    """Writes the files and prints the table.

    Raises:
        InputError: they cannot be written.
    """
    data = as_data(told)
    remarks = [*told.results.remarks, *([BIASED] if told.networks.biased else [])]
    text = page(
        f"{told.pipe.record.name} on {told.data}",
        told.results.figures,
        remarks,
        _plots(told),
        _sheets(told),
        _about(told),
    )
    write(out / FIGURES, (json.dumps(data, indent=1) + "\n").encode(), force=force)
    write(out / PAGE, text.encode(), force=force)
    # Printed last: a reader who leaves early must not cost what was found.
    for line in table(told.results.figures):
        report.line(line)
    for remark in told.results.remarks:
        report.note(f"note: {remark}")
    report.result |= data | {"report": str(out / PAGE)}
    report.line(str(out / PAGE))


def as_data(told: Told) -> dict[str, Any]:
    """Returns all figures and how they were taken, as plain data; shares in [0, 1]."""
    figures = {figure.key: to_dict(figure) for figure in told.results.figures}
    for values in figures.values():
        del values["key"], values["reals"]
    networks, record = told.networks, told.pipe.record
    return {
        "model": {"name": record.name, "hash": record.hash, "source": record.source},
        "data": {"folder": told.data, "pictures": len(told.pairs), "resize": RULE},
        "features": {"name": networks.features.name, "key": networks.features.key},
        "reader": {"name": networks.reader.name, "key": networks.reader.key},
        "biased": networks.biased,
        "seed": told.seed,
        "batch_size": told.batch_size,
        "sampling": to_dict(told.sampling),
        "dtype": dtype_name(told.pipe.dtype),
        "version": unclip.__version__,
        "resumed": told.resumed,
        "remarks": list(told.results.remarks),
        "figures": figures,
    }


def _plots(told: Told) -> list[str]:
    results = told.results
    shares = [figure for figure in results.figures if figure.unit == "share"]
    panel = [figure for figure in results.figures if figure.key.startswith("prior_")]
    plots = [
        histogram(
            "Cosine of picture and caption",
            {"painted": results.scores, "real": results.real_scores},
            told.networks.reader.name,
        ),
        dots("Shares", shares),
    ]
    if (found := told.predicted) is not None:
        own = cosines(found.prior, found.image)
        other = cosines(found.prior, unrelated(found.image))
        plots.append(dots("The prior's panel: cosines", panel))
        plots.append(
            histogram("The prior's embedding to pictures", {"own": own, "another": other}, "cosine")
        )
    return plots


def _sheets(told: Told) -> dict[str, list[Shown]]:
    scores = told.results.scores
    order = scores.argsort(descending=True).tolist()
    count = len(order)
    chosen = {"Drawn at random": list(range(min(SHEET, count)))}
    if count >= 4 * ENDS:
        chosen["Nearest to their captions"] = order[:ENDS]
        chosen["Farthest from their captions"] = order[-ENDS:]
    return {
        name: [_shown(told, place, scores) for place in places] for name, places in chosen.items()
    }


def _shown(told: Told, place: int, scores: Tensor) -> Shown:
    real = read_square(told.pairs[place], told.sampling.size)
    return Shown(told.captions[place], thumb(real), told.thumbs[place], float(scores[place]))


def _about(told: Told) -> dict[str, str]:
    record = told.pipe.record
    return {
        "model": f"{record.name} ({record.hash}), {dtype_name(told.pipe.dtype)}",
        "pictures": f"{len(told.pairs)} of {told.data}, seed {told.seed}",
        "sampling": f"{told.sampling.size} px; {describe(told.sampling)}",
        "FID, KID, precision, recall": told.networks.features.name,
        "CLIP score, R-precision": told.networks.reader.name,
        "resize": RULE,
        "intervals": "95 %: Wilson's for shares, the bootstrap's for means; KID's is where 95 % of "
        "its subsets lie, FID has none",
        "made by": f"unclip {unclip.__version__}, PyTorch {torch.__version__}",
    }
