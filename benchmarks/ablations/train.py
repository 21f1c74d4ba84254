"""Ablations by training: small decoders at equal cost, each choice beside the one baseline.

    python -m benchmarks.ablations.train --set DIR --clip DIR --judge DIR --out DIR [QUESTION ...]

The questions are `training.yaml`'s, the baseline is `decoder.yaml`. All arms have the same seed and
the same order of scenes, and the same FLOPs: a wider network gets fewer steps. A decoder alone is
measured, no prior: it paints fixed scenes from the embedding and the caption of the true picture.

An arm that is done is not done again; one that was stopped goes on. The rows of all questions whose
arms are done are in `rows.json`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.ablations.answers import Trial, answer, common_options
from benchmarks.ablations.arms import Bench, load_recipe, measure, run_of
from benchmarks.ablations.costs import count
from benchmarks.ablations.exam import write_exam
from benchmarks.ablations.questions import Arm, Question
from unclip.errors import ConfigError, run_command
from unclip.evaluation.judge import load_judge
from unclip.training.companions import FrozenClip
from unclip.training.pictures import SceneSource

TABLE = Path(__file__).parent / "training.yaml"


def prepare(options: argparse.Namespace) -> Bench:
    """Reads what all arms share and writes the exam, which is of the baseline's world.

    Raises:
        ConfigError: a setting of the recipe is wrong.
        CheckpointError: CLIP or the judge cannot be read.
        DataError: the set cannot be read, or is too small.
    """
    overrides = (f"clip={options.clip}", f"images.set={options.set}", *options.override)
    config = load_recipe(overrides)
    if not isinstance(config.images, SceneSource):
        raise ConfigError(f"images are the folder {config.images}, expected scenes of a set")
    clip, judge = FrozenClip(config.clip), load_judge(options.judge)
    clip.check_fit("decoder", config.model)
    clip.prepare(torch.device("cpu"))
    counts = {"seen": options.seen, "heldout": options.heldout}
    size_px = config.model.image_size
    exam = write_exam(options.set, config.images.world, judge, size_px, counts)
    pictures = config.train.steps * config.train.batch_size
    return Bench(
        out=options.out,
        overrides=overrides,
        clip=clip,
        judge=judge,
        exam=exam,
        budget=count(config, clip).training * pictures,
    )


def ablate(options: argparse.Namespace) -> str:
    """Answers the questions; returns the table of all that is measured."""
    bench = prepare(options)

    def plan(question: Question, arm: Arm) -> Trial:
        run = run_of(bench, question, arm)
        return Trial(kept=lambda: run.kept, measure=lambda: measure(bench, run))

    return answer(options, plan, bench.judge, bench.exam)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = common_options("python -m benchmarks.ablations.train", TABLE, seen=200, heldout=100)
    parser.add_argument("--clip", type=Path, required=True, help="stage folder of the CLIP")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    return run_command(lambda: ablate(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
