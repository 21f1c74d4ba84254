"""The models of the paper and of Karlo: every file loads, and says its published and counted size.

A counted size is that of the network as it is built, on the meta device.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from decoder.config import DecoderRun
from decoder.model import Decoder
from prior.autoregressive import AutoregressivePrior
from prior.autoregressive_config import AutoregressiveRun
from prior.config import PriorRun
from prior.model import Prior
from unclip.config import load_config
from unclip.nn.initialise import NoFirstWeights
from upsamplers.config import UpsamplerRun
from upsamplers.model import Upsampler

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES: dict[str, tuple[type, Callable[[Any], nn.Module]]] = {
    "prior": (PriorRun, Prior),
    "prior_autoregressive": (AutoregressiveRun, AutoregressivePrior),
    "decoder": (DecoderRun, Decoder),
    "upsampler_256": (UpsamplerRun, Upsampler),
    "upsampler_1024": (UpsamplerRun, Upsampler),
}
# Published: arXiv 2204.06125, Table 3; kakaobrain/karlo, README. Counted: here.
SIZES = {
    "paper/prior": ("1B", 1_225_925_632),
    "paper/prior_autoregressive": ("1B", 2_019_852_800),
    "paper/decoder": ("3.5B", 3_461_462_534),
    "paper/upsampler_256": ("700M", 729_702_083),
    "paper/upsampler_1024": ("300M", 282_059_139),
    "karlo/prior": ("1B", 1_022_028_544),
    "karlo/decoder": ("900M", 893_318_086),
    "karlo/upsampler_256": ("700M", 691_579_523),
}


def test_there_is_a_size_for_every_file() -> None:
    files = [*(CONFIGS / "paper").glob("*.yaml"), *(CONFIGS / "karlo").glob("*.yaml")]
    assert {f"{file.parent.name}/{file.stem}" for file in files} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_file_says_the_published_and_the_counted_size(name: str) -> None:
    published, counted = SIZES[name]
    path = CONFIGS / f"{name}.yaml"
    config_cls, build = STAGES[path.stem]
    config = load_config(config_cls, path)
    with NoFirstWeights(), torch.device("meta"):
        network = build(config.model)
    assert sum(p.numel() for p in network.parameters()) == counted

    text = path.read_text(encoding="utf-8")
    said = re.search(r"^# Published: (\S+) parameters\. Counted: ([\d,]+)\.$", text, re.MULTILINE)
    assert said is not None
    assert said.groups() == (published, f"{counted:,}")
    assert re.search(r"^# Why: \S", text, re.MULTILINE)


def test_the_figures_of_table_3_are_in_the_files() -> None:
    table = {
        "prior": (600_000, 4096, 1.1e-4, (0.9, 0.96), 1e-6, 6e-2, 0.9999),
        "prior_autoregressive": (1_000_000, 4096, 1.6e-4, (0.9, 0.91), 1e-10, 4e-2, 0.999),
        "decoder": (800_000, 2048, 1.2e-4, (0.9, 0.999), 1e-8, 0.0, 0.9999),
        "upsampler_256": (1_000_000, 1024, 1.2e-4, (0.9, 0.999), 1e-8, 0.0, 0.9999),
        "upsampler_1024": (1_000_000, 512, 1e-4, (0.9, 0.999), 1e-8, 0.0, 0.9999),
    }
    for stage, values in table.items():
        train = load_config(STAGES[stage][0], CONFIGS / "paper" / f"{stage}.yaml").train
        told = (train.steps, train.batch_size, train.lr, train.betas, train.eps)
        assert (*told, train.weight_decay) == values[:-1], stage
        # A decay of d has the standard deviation 1 / (1 - d), ours is a share of all steps.
        std_steps = train.ema_final * train.steps
        assert std_steps == pytest.approx(1 / (1 - values[-1]), rel=0.01), stage
