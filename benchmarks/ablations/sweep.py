"""Ablations without training: an assembled model sampled otherwise.

    python -m benchmarks.ablations.sweep --model pocket --set DIR --judge DIR --out DIR [QUESTION]

The questions are `sweeps.yaml`'s: guidance, samplers, steps, candidates, bits. Every arm
paints the same prompts with the same seeds, from nothing but the prompt, as a user does. Prompts
are of the world that `--recipe` trains on. An arm that is done is not done again; arms of equal
settings are one.
"""

import argparse
import copy
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml

from benchmarks.ablations.answers import Trial, answer, common_options
from benchmarks.ablations.exam import Exam, grade, write_exam
from benchmarks.ablations.questions import Arm, Question
from benchmarks.ablations.results import Result, keep_result, kept_result
from benchmarks.ablations.storage import Storage, stored
from decoder.config import DecoderRun, DecoderSampling
from prior.config import PriorSampling
from prior.model import Prior
from unclip.config import from_dict, load_config, to_dict
from unclip.data.composer.world import WorldSettings
from unclip.errors import ConfigError, run_command
from unclip.evaluation.judge import Judge, load_judge
from unclip.pipeline.artist import PipelineArtist
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.stages import needed_prior
from unclip.training.pictures import SceneSource

TABLE = Path(__file__).parent / "sweeps.yaml"
RECIPE = Path(__file__).parents[2] / "configs" / "pocket" / "decoder.yaml"
BATCH = 8
"""Pictures painted at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How prior and decoder are sampled, and how they are stored."""

    prior: PriorSampling
    decoder: DecoderSampling
    weights: Storage = field(default_factory=Storage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all arms share."""

    out: Path
    pipe: UnCLIPPipeline
    judge: Judge
    exam: Exam

    def settings(self, arm: Arm) -> Settings:
        """Returns the model's own settings but for the arm's.

        Raises:
            ConfigError: there is no such setting, or it has no such value.
        """
        own = Settings(
            prior=_diffusion_prior(self.pipe).config.sampling,
            decoder=self.pipe.decoder.config.sampling,
        )
        data = to_dict(own)
        for override in arm.set:
            key, _, value = override.partition("=")
            stage, _, name = key.partition(".")
            data.setdefault(stage, {})[name] = yaml.safe_load(value)
        return from_dict(Settings, data, f"the arm {arm.name}")

    def kept(self, settings: Settings) -> Result | None:
        """The result of these settings, if they were measured before."""
        return kept_result(self._path(settings), self._about(settings))

    def measure(self, settings: Settings) -> None:
        """Paints the exam with these settings and has it judged."""
        artist = PipelineArtist(sampled(self.pipe, settings))
        prompts, seeds = [case.prompt for case in self.exam.cases], self.exam.seeds
        artist.paint(prompts[:1], seeds[:1])  # what is done only once is not counted
        start = time.process_time()
        parts = [
            artist.paint(prompts[i : i + BATCH], seeds[i : i + BATCH])
            for i in range(0, len(prompts), BATCH)
        ]
        seconds = (time.process_time() - start) / len(prompts)
        grades = grade(self.judge, self.exam, torch.cat(parts))
        num_bytes = sum(
            settings.weights.num_bytes(part)
            for part in (needed_prior(self.pipe.model), self.pipe.decoder)
        )
        cost = {"cpu_seconds_a_picture": seconds, "prior_and_decoder_mb": num_bytes / 1e6}
        result = Result(grades=grades, cost=cost)
        keep_result(self._path(settings), self._about(settings), result)

    def _path(self, settings: Settings) -> Path:
        text = json.dumps(to_dict(settings), sort_keys=True)
        return self.out / "arms" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"

    def _about(self, settings: Settings) -> dict[str, object]:
        return {
            "settings": to_dict(settings),
            "model": self.pipe.record.hash,
            "judge": self.judge.name,
            "prompts": [case.prompt for case in self.exam.cases],
        }


def sampled(pipe: UnCLIPPipeline, settings: Settings) -> UnCLIPPipeline:
    """Returns the same networks with other defaults, stored so, and without upsamplers."""
    own = _diffusion_prior(pipe)
    prior = copy.copy(stored(own, settings.weights))
    decoder = copy.copy(stored(pipe.decoder, settings.weights))
    prior.config = replace(own.config, sampling=settings.prior)
    decoder.config = replace(pipe.decoder.config, sampling=settings.decoder)
    return UnCLIPPipeline(pipe.clip, prior, decoder, record=pipe.record)


def _diffusion_prior(pipe: UnCLIPPipeline) -> Prior:
    prior = needed_prior(pipe.model)
    if not isinstance(prior, Prior):
        raise ConfigError("the sweep is of a diffusion prior: this model has an autoregressive one")
    return prior


def world_of(recipe: Path) -> WorldSettings:
    """Reads the world that a recipe trains on.

    Raises:
        ConfigError: it cannot be read, or its pictures are no scenes.
    """
    images = load_config(DecoderRun, recipe).images
    if not isinstance(images, SceneSource):
        raise ConfigError(f"{recipe}: images are a folder, expected scenes of a set")
    return images.world


def prepare(options: argparse.Namespace) -> Bench:
    """Reads what all arms share and writes the exam.

    Raises:
        ConfigError: the judge is the model's own CLIP, or the recipe has no world.
        CheckpointError: the model or the judge cannot be read.
        DataError: the set cannot be read, or is too small.
    """
    pipe, judge = UnCLIPPipeline.from_pretrained(options.model), load_judge(options.judge)
    if judge.name == pipe.clip.fingerprint():
        raise ConfigError(f"the judge is this model's own CLIP ({judge.name}): give another one")
    counts = {"seen": options.seen, "heldout": options.heldout}
    exam = write_exam(options.set, world_of(options.recipe), judge, pipe.sizes[0], counts)
    return Bench(out=options.out, pipe=pipe, judge=judge, exam=exam)


def sweep(options: argparse.Namespace) -> str:
    """Answers the questions; returns the table of all that is measured."""
    bench = prepare(options)

    def plan(_: Question, arm: Arm) -> Trial:
        settings = bench.settings(arm)
        return Trial(kept=lambda: bench.kept(settings), measure=lambda: bench.measure(settings))

    return answer(options, plan, bench.judge, bench.exam)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = common_options("python -m benchmarks.ablations.sweep", TABLE, seen=70, heldout=30)
    parser.add_argument("--model", default="pocket", help="a model folder, or pocket")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="whose world is asked about")
    options = parser.parse_args(argv)
    return run_command(lambda: sweep(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
