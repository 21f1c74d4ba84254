"""One arm: its run at the common budget, its training by the ordinary stage, its measuring."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ablations.costs import Cost, count
from benchmarks.ablations.exam import Exam, grade
from benchmarks.ablations.questions import Arm, Question
from benchmarks.ablations.results import Result, keep_result, kept_result, slug, write_json
from decoder.config import DecoderRun
from decoder.model import Decoder, from_stage
from decoder.sample import sample_images
from decoder.train import main as train_decoder
from unclip.checkpoint import load_stage
from unclip.config import load_config, to_dict
from unclip.diffusion.noise import SeededNoise
from unclip.errors import ConfigError, DataError
from unclip.evaluation.judge import Judge
from unclip.training.companions import FrozenClip
from unclip.training.folder import check_config
from unclip.training.state import checkpoint_folders

RECIPE = Path(__file__).parent / "decoder.yaml"
EQUAL = ("train.steps", "train.seed", "train.batch_size")
"""What no arm may have otherwise: the cost and the order of the pictures."""
BATCH = 16
"""Pictures painted at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all arms share."""

    out: Path
    overrides: tuple[str, ...]
    """Of the recipe, for the baseline and all arms."""
    clip: FrozenClip
    judge: Judge
    exam: Exam
    budget: int
    """FLOPs of an arm's training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The run of an arm."""

    folder: Path
    overrides: tuple[str, ...]
    config: DecoderRun
    cost: Cost
    about: Mapping[str, object]
    """What a result must be of to be this arm's."""

    @property
    def kept(self) -> Result | None:
        """The result of this arm, if it was measured before."""
        return kept_result(self.folder / "result.json", self.about)


def load_recipe(overrides: Sequence[str]) -> DecoderRun:
    """Reads the baseline's recipe with overrides.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    return load_config(DecoderRun, RECIPE, overrides)


def run_of(bench: Bench, question: Question, arm: Arm) -> Run:
    """Lays out an arm's run: steps for the budget, a folder; arms that change nothing share one.

    Raises:
        ConfigError: the arm changes what must be equal, or a key or value of it is wrong.
    """
    for override in arm.set:
        if override.partition("=")[0] in EQUAL:
            raise ConfigError(f"the arm {arm.name} sets {override}: all arms have that alike")
    overrides = (*bench.overrides, *arm.set)
    config = load_recipe(overrides)
    cost = count(config, bench.clip)
    steps = max(1, round(bench.budget / (cost.training * config.train.batch_size)))
    overrides = (*overrides, f"train.steps={steps}")
    config = load_recipe(overrides)
    return Run(
        folder=bench.out / "arms" / (slug(question.key, arm.name) if arm.set else "baseline"),
        overrides=overrides,
        config=config,
        cost=cost,
        about={
            "config": to_dict(config),
            "clip": bench.clip.fingerprint,
            "judge": bench.judge.name,
            "prompts": [case.prompt for case in bench.exam.cases],
        },
    )


def measure(bench: Bench, run: Run) -> Result:
    """Trains an arm as far as that is not done yet, paints the exam and has it judged.

    Raises:
        ConfigError: the folder holds another run, or one on another CLIP.
        DataError: the training ended early.
    """
    config, cost = run.config, run.cost
    seconds = _train(run)
    stage = load_stage(run.folder / "final", "decoder")
    if stage.metadata["clip"] != bench.clip.fingerprint:
        raise ConfigError(
            f"{run.folder} was trained on the CLIP {stage.metadata['clip']}, now it is "
            f"{bench.clip.fingerprint}: choose another --out"
        )
    images = paint(from_stage(stage), bench.clip, bench.exam, with_text=config.text_dropout < 1)
    pictures = config.train.steps * config.train.batch_size
    result = Result(
        grades=grade(bench.judge, bench.exam, images),
        cost={
            "cpu_seconds": seconds,
            "pictures": pictures,
            "gflops_forward": cost.forward / 1e9,
            "tflops_training": cost.training * pictures / 1e12,
            "parameters": cost.parameters,
        },
    )
    keep_result(run.folder / "result.json", run.about, result)
    return result


def _train(run: Run) -> float:
    """Trains an arm to its end; returns the CPU seconds that this took, over all its sittings.

    One that was killed took its seconds with it: its steps are counted like the others.
    """
    folder, steps = run.folder, run.config.train.steps
    check_config(folder, to_dict(run.config))
    path = folder / "seconds.json"
    spent = json.loads(path.read_text()) if path.is_file() else {"steps": 0, "seconds": 0.0}
    before, start = _step(folder), time.process_time()
    if before != steps or not (folder / "final").is_dir():
        arguments = ["--config", str(RECIPE), "--out", str(folder)]
        for override in run.overrides:
            arguments += ["--set", override]
        try:
            if train_decoder(arguments) != 0:
                raise DataError(f"the training in {folder} ended early, as said above")
        finally:  # a signal leaves this way, too, when all is saved
            spent["steps"] += _step(folder) - before
            spent["seconds"] += time.process_time() - start
            if folder.is_dir():
                write_json(path, spent)
    return spent["seconds"] * steps / max(1, spent["steps"])


def _step(folder: Path) -> int:
    found = checkpoint_folders(folder / "checkpoints")
    return int(found[-1].name.removeprefix("step_")) if found else 0


def paint(decoder: Decoder, clip: FrozenClip, exam: Exam, *, with_text: bool) -> Tensor:
    """Paints the exam's cases from the embeddings of their true pictures, and their captions."""
    prompts, truth, seeds = [case.prompt for case in exam.cases], exam.truth, exam.seeds
    parts = []
    for start in range(0, len(prompts), BATCH):
        rows = slice(start, start + BATCH)
        parts.append(
            sample_images(
                decoder,
                clip.image(truth[rows]),
                clip.text(prompts[rows]) if with_text else None,
                clip.null,
                noise=SeededNoise(seeds[rows], "decoder"),
            )
        )
    return torch.cat(parts)
