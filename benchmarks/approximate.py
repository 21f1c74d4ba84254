"""What each technique that changes pictures costs in quality, and what it saves.

    OMP_NUM_THREADS=1 python -m benchmarks.approximate --set DIR      # ten minutes of one core
    python -m benchmarks.approximate --page                           # the table, from the record

The pocket model, which is trained, answers the exam of the ablations (`benchmarks.ablations.exam`):
the judge tells each picture's caption from 99 others, and compares it with the true picture. Every
arm paints the same prompts with the same seeds, so it is also compared picture by picture with the
model's own settings: PSNR, and the cosine of the judge's features. Upsamplers enlarge true
pictures that were shrunk, and are compared with them. `--set` is what `unclip data illustrations`
built; drawings of one source are enough.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations.exam import FIRST_SEED, Exam, grade, write_exam
from benchmarks.ablations.results import write_json
from benchmarks.ablations.sweep import RECIPE, world_of
from benchmarks.pocket_page.markdown import table
from benchmarks.speed.machine import ROOT, commit, machine, versions
from unclip.config import to_dict
from unclip.errors import run_command
from unclip.evaluation.judge import Judge, load_judge
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.quality import describe
from upsamplers.degradation import reduce_size

RECORD = ROOT / "benchmarks" / "records" / "approximate.json"
PAGE = ROOT / "benchmarks" / "speed" / "approximate.md"
JUDGE = ROOT / "benchmarks" / "judge" / "weights"
BATCH = 8


@dataclass(frozen=True)
class Arm:
    """Settings that are tried."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


OWN = Arm("the model's own")
PAINTING = (
    OWN,
    Arm("the model's own, other seeds"),
    Arm("DDIM, 6 steps", {"num_inference_steps": 6}),
    Arm("DDIM, 4 steps", {"num_inference_steps": 4}),
    Arm("DPM++ 2M, 8 steps", {"sampler": "dpmpp_2m", "num_inference_steps": 8}),
    Arm("DPM++ 2M, 6 steps", {"sampler": "dpmpp_2m", "num_inference_steps": 6}),
    Arm("DPM++ 2M, 4 steps", {"sampler": "dpmpp_2m", "num_inference_steps": 4}),
    Arm("guided from 0.8 to 0.2 of the time", {"guidance_interval": (0.2, 0.8)}),
    Arm("guided from 1 to 0.3 of the time", {"guidance_interval": (0.3, 1.0)}),
    Arm("prior, 10 steps", {"prior_num_inference_steps": 10}),
    Arm("draft", {"quality": "draft"}),
    Arm("best", {"quality": "best"}),
)
ENLARGING = (
    OWN,
    Arm("3 steps", {"num_inference_steps": 3}),
    Arm("2 steps", {"num_inference_steps": 2}),
    Arm("3 steps from 0.5 of the time", {"num_inference_steps": 3, "start": 0.5}),
    Arm("2 steps from 0.5 of the time (draft)", {"num_inference_steps": 2, "start": 0.5}),
    Arm("2 steps from 0.25 of the time", {"num_inference_steps": 2, "start": 0.25}),
    Arm("1 step from 0.5 of the time", {"num_inference_steps": 1, "start": 0.5}),
)
WHOLE = (OWN, Arm("draft", {"quality": "draft"}), Arm("best", {"quality": "best"}))


def psnr(first: Tensor, second: Tensor) -> list[float]:
    """Of pictures in [-1, 1], in dB, picture by picture; 100 at most."""
    error = ((first - second) ** 2).mean(dim=(1, 2, 3)) / 4
    return (-10 * error.clamp(min=1e-10).log10()).tolist()


def timed(paint: Callable[[slice], Tensor], count: int, batch: int = BATCH) -> tuple[Tensor, float]:
    """Runs all pictures in batches; returns them and the CPU seconds that each took."""
    paint(slice(0, 1))  # what is done only once is not counted
    start = time.process_time()
    parts = [paint(slice(i, min(i + batch, count))) for i in range(0, count, batch)]
    return torch.cat(parts), (time.process_time() - start) / count


def painting(pipe: UnCLIPPipeline, judge: Judge, exam: Exam) -> Iterator[dict[str, Any]]:
    """Pictures of 64 px from prompts."""
    prompts = [case.prompt for case in exam.cases]
    own = None
    for arm in PAINTING:
        shift = 50_000 if arm.name.endswith("other seeds") else 0
        settings = {"size": pipe.sizes[0], **arm.settings}

        def paint(part: slice, settings: Any = settings, shift: int = shift) -> Tensor:
            seeds = [seed + shift for seed in exam.seeds[part]]
            made = pipe(prompts[part], seed=seeds, output_type="pt", batch_size=BATCH, **settings)
            return made.images * 2 - 1

        images, seconds = timed(paint, len(prompts))
        grades, features = grade(judge, exam, images), judge.see(images)
        if own is None:
            own = images, grades, features
        yield {
            "name": arm.name,
            "does": describe(pipe.settings(**settings)),
            "cpu_seconds": seconds,
            "psnr": psnr(images, own[0]),
            "alike": (features * own[2]).sum(dim=1).tolist(),
            "grades": to_dict(grades),
            "figures": {k: to_dict(v) for k, v in grades.figures(own[1]).items()},
        }


def enlarging(pipe: UnCLIPPipeline, judge: Judge, true: Tensor) -> Iterator[dict[str, Any]]:
    """True pictures of 256 px, shrunk to 64 and enlarged again."""
    small, own = reduce_size(true, 4), None
    for arm in ENLARGING:

        def paint(part: slice, arm: Arm = arm) -> Tensor:
            seeds = [FIRST_SEED + index for index in range(part.start, part.stop)]
            return pipe.upsample(small[part], seed=seeds, **arm.settings)

        images, seconds = timed(paint, len(true))
        own = images if own is None else own
        features = judge.see(images)
        yield {
            "name": arm.name,
            "cpu_seconds": seconds,
            "psnr": psnr(images, own),
            "psnr_true": psnr(images, true),
            "alike": (features * judge.see(own)).sum(dim=1).tolist(),
            "alike_true": (features * judge.see(true)).sum(dim=1).tolist(),
        }


def whole(pipe: UnCLIPPipeline, judge: Judge, exam: Exam, count: int) -> Iterator[dict[str, Any]]:
    """The presets at the largest size, as `unclip generate` paints by itself."""
    prompts, own = [case.prompt for case in exam.cases[:count]], None
    for arm in WHOLE:

        def paint(part: slice, arm: Arm = arm) -> Tensor:
            made = pipe(prompts[part], seed=exam.seeds[part], output_type="pt", **arm.settings)
            return made.images * 2 - 1

        images, seconds = timed(paint, count, batch=1)
        own = images if own is None else own
        features = judge.see(images)
        yield {
            "name": arm.name,
            "does": describe(pipe.settings(**arm.settings)),
            "cpu_seconds": seconds,
            "psnr": psnr(images, own),
            "alike": (features * judge.see(own)).sum(dim=1).tolist(),
        }


def _line(row: dict[str, Any]) -> str:
    return f"{row['name']:40} {row['cpu_seconds']:.3f} s  {_mean(row['psnr']):.1f} dB"


def run(options: argparse.Namespace) -> str:
    """Measures all arms and writes the record and the table."""
    pipe, judge = UnCLIPPipeline.from_pretrained(options.model), load_judge(options.judge)
    world = world_of(RECIPE)
    counts = {"seen": options.seen, "heldout": options.heldout}
    exam = write_exam(options.set, world, judge, pipe.sizes[0], counts)
    large = write_exam(options.set, world, judge, pipe.sizes[1], {"seen": options.enlarged})
    record: dict[str, Any] = {
        "machine": to_dict(machine(torch.device("cpu"))),
        "versions": dict(versions()),
        "commit": commit(),
        "model": to_dict(pipe.record),
        "judge": judge.name,
        "prompts": [case.prompt for case in exam.cases],
        "real": {k: to_dict(v) for k, v in grade(judge, exam, exam.truth).figures().items()},
    }
    parts = {
        "painting": painting(pipe, judge, exam),
        "enlarging": enlarging(pipe, judge, large.truth),
        "whole": whole(pipe, judge, exam, options.whole),
    }
    for part, rows in parts.items():
        record[part] = []
        for row in rows:
            print(_line(row), flush=True)
            record[part].append(row)
    write_json(options.record, record)
    return write_page(options.record, options.table)


def write_page(record: Path, page: Path) -> str:
    """Writes the section of `docs/speed.md` from the record."""
    data = json.loads(record.read_text(encoding="utf-8"))
    page.write_text(make_page(data), encoding="utf-8")
    return f"wrote {page}"


def make_page(data: dict[str, Any]) -> str:
    """Returns the section, in Markdown."""
    count = len(data["prompts"])
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    real = data["real"]
    head = (
        f"Measured on the pocket model ({data['model']['hash']}), {data['machine']['name']}, "
        f"{data['machine']['threads']} thread(s), {versions}; commit {data['commit']}. *Found* is "
        "how often the judge tells a picture's caption from 99 others, *true* the cosine of its "
        "features to those of the true picture, *alike* that to the picture of the model's own "
        f"settings from the same seed. {count} prompts; real pictures are found "
        f"{_percent(real)} of the time. Another seed says how much of a difference is no "
        "loss but another picture. `python -m benchmarks.approximate` measures again."
    )
    base = data["painting"][0]
    gains = [
        [
            row["name"],
            f"{base['cpu_seconds'] / row['cpu_seconds']:.2f} ×",
            _percent(row["figures"]),
            f"{row['figures']['cosine']['value']:.3f}",
            _interval(row["figures"]["cosine_gain"]),
            f"{_mean(row['alike']):.3f}",
            f"{_mean(row['psnr']):.1f}",
        ]
        for row in data["painting"]
    ]
    return "\n\n".join(
        [
            head,
            "Pictures of 64 px from prompts (prior and decoder):",
            table(["setting", "faster", "found", "true", "change", "alike", "PSNR, dB"], gains),
            f"{len(data['enlarging'][0]['psnr'])} true pictures, shrunk to 64 px and enlarged to "
            "256 px:",
            _small_table(data["enlarging"], true=True),
            f"Whole pictures of 1024 px ({len(data['whole'][0]['psnr'])} prompts):",
            _small_table(data["whole"], true=False),
            *(f"`{row['name']}`: {row['does']}." for row in data["whole"][1:]),
            "",
        ]
    )


def _small_table(rows: Sequence[dict[str, Any]], *, true: bool) -> str:
    cells = []
    for row in rows:
        faster = rows[0]["cpu_seconds"] / row["cpu_seconds"]
        told = [f"{_mean(row['psnr_true']):.2f}", f"{_mean(row['alike_true']):.3f}"] if true else []
        alike = [f"{_mean(row['alike']):.3f}", f"{_mean(row['psnr']):.1f}"]
        cells.append([row["name"], f"{faster:.2f} ×", *told, *alike])
    more = ["PSNR to the true one, dB", "true"] if true else []
    return table(["setting", "faster", *more, "alike", "PSNR, dB"], cells)


def _percent(figures: dict[str, Any]) -> str:
    shares = [figures[name]["value"] for name in figures if name.startswith("retrieval")]
    return f"{100 * sum(shares) / len(shares):.0f} %"


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate")
    parser.add_argument("--set", type=Path, help="what unclip data illustrations built")
    parser.add_argument("--page", action="store_true", help="only write the table")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument("--seen", type=int, default=24)
    parser.add_argument("--heldout", type=int, default=12)
    parser.add_argument("--enlarged", type=int, default=12)
    parser.add_argument("--whole", type=int, default=2)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--out", type=Path, default=PAGE, dest="table")
    options = parser.parse_args(argv)
    if not options.page and options.set is None:
        parser.error("--set is missing: unclip data illustrations --out DIR builds one")
    if options.page:
        return run_command(lambda: write_page(options.record, options.table))
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
