"""How a run begins: its model, optimiser, averages and data, fresh or as a checkpoint has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from unclip.errors import ConfigError
from unclip.training.data import PositionBatches
from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.sharding import prepare_model
from unclip.training.showing import Showing
from unclip.training.snapshots import forget_snapshots_after
from unclip.training.sources import DataSource, open_source
from unclip.training.stage import Stage
from unclip.training.start import start_from
from unclip.training.state import Checkpoints, checkpoint_folders
from unclip.training.world import Ranks, is_emulated


@dataclass(frozen=True)
class Begun:
    """A run that can take its next step."""

    model: nn.Module
    """What is called: the stage's model, or what has it in parts or beside others."""
    state: TrainState
    checkpoints: Checkpoints
    batches: PositionBatches
    source: DataSource
    showing: Showing
    notes: tuple[str, ...]
    """What the user should know of it, a line each."""


def begin(
    stage: Stage,
    config: TrainConfig,
    out: Path,
    run_config: Mapping[str, Any],
    accelerator: Accelerator,
    resume: int | None,
) -> Begun:
    """Makes a run that stands at its first step, or where a checkpoint of `out` has it.

    Args:
        resume: the step of the checkpoint; None is the newest whole one.

    Raises:
        ConfigError: the run is past its last step, or a setting cannot be had here.
        CheckpointError: no checkpoint that is there can be used, or there is no room for one.
        DataError: the data cannot be read, or do not fit the checkpoint.
    """
    notes = []
    if config.start_from is not None and not checkpoint_folders(out / "checkpoints"):
        notes.append(start_from(stage.model, Path(config.start_from)))
    model = _placed(stage, accelerator.device)
    showing = Showing(stage, config, out, accelerator)
    called = prepare_model(model, config, accelerator)
    optimizer = make_optimizer(model, config)
    state = TrainState(model, Ema(model, config.ema_stds), optimizer, Progress())

    about = {
        "world_size": accelerator.num_processes,
        "config": dict(run_config),
        "trained_on": dict(stage.trained_on),
    }
    ranks = Ranks.of(accelerator)
    checkpoints = Checkpoints(out / "checkpoints", config.keep, about, ranks)
    resumed = (
        checkpoints.load_newest(state) if resume is None else checkpoints.load_step(state, resume)
    )
    step = state.progress.step
    if step > config.steps:
        raise ConfigError(
            f"{out} is at step {step}, past train.steps {config.steps}: choose more steps, or "
            "another --out"
        )
    if step < config.steps:
        checkpoints.check_room(state)
    if accelerator.is_main_process:
        forget_snapshots_after(out, step)

    batches = PositionBatches(len(stage.dataset), config, step, ranks.rank, ranks.size)
    source = open_source(stage.dataset, batches, config, checkpoints.data)
    notes += [note for note in (resumed, *source.notes) if note is not None]
    notes += _told(model, config, accelerator, step)
    return Begun(called, state, checkpoints, batches, source, showing, tuple(notes))


def _placed(stage: Stage, device: torch.device) -> nn.Module:
    """Puts a stage's model, and what belongs to it, on the device."""
    model = stage.model.to(device).train()
    if stage.channels_last and device.type != "cpu":
        # On a CPU group norm costs several times more so (benchmarks/cpu_training.py).
        model = model.to(memory_format=torch.channels_last)
    stage.prepare(device)
    return model


def _told(model: nn.Module, config: TrainConfig, accelerator: Accelerator, step: int) -> list[str]:
    size = sum(p.numel() for p in model.parameters())
    where = f"{accelerator.num_processes} x {accelerator.device.type}, {config.precision}"
    told = [f"{size:,} parameters on {where}, from step {step}"]
    if is_emulated(config, accelerator.device):
        told.append(
            "this CPU has no bf16 instructions: --set train.precision=float32 is much faster"
        )
    return told
