"""The one training loop: every stage brings a model, data and a loss, and knows of no device or rank.

Accelerate gives the launch, the device, DDP, autocast, accumulation and gathering. The order of the data,
the learning rate, the average and the checkpoints are ours, because they must survive a kill at any
instant and a change of the number of processes.
"""

import os
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from PIL import Image
from torch import Tensor, nn

from unclip.errors import ConfigError, TrainingDivergedError
from unclip.training.data import MapDataset, PositionBatches, make_loader
from unclip.training.draws import Draws
from unclip.training.ema import Ema
from unclip.training.optim import learning_rate, make_optimizer, set_learning_rate
from unclip.training.settings import TrainConfig
from unclip.training.signals import StopSignal
from unclip.training.state import Progress, TrainState, load_newest, save_checkpoint
from unclip.training.tracking import Tracker


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    name: str
    """Part of the key of every random draw."""
    channels_last: bool
    """The model is convolutional and runs faster with channels last in memory."""
    model: Any
    dataset: MapDataset

    def prepare(self, device: torch.device) -> None:
        """Moves frozen companions to the device; the model is there already."""

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        """Returns scalars; `loss` is minimised, the rest is logged. `model` is called, not unwrapped."""
        ...

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes the averaged weights as a stage folder."""

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """Paints samples with the averaged weights."""


def train(stage: Stage, config: TrainConfig, out: Path) -> None:
    """Trains to `config.steps`, resuming from the newest whole checkpoint below `out`.

    Writes `checkpoints/`, `samples/`, `log.jsonl`, `tensorboard/`, and at the end the stage folder `final/`.

    Raises:
        ConfigError: the processes are not those of the launch, or do not divide the batch.
        TrainingDivergedError: too many steps in a row were not finite.
    """
    accelerator = make_accelerator(config)
    torch.manual_seed(config.seed)  # dropout's alone; noise and data have their own
    model = stage.model.to(accelerator.device)
    if stage.channels_last:
        model = model.to(memory_format=torch.channels_last)
    stage.prepare(accelerator.device)
    ema = Ema(model, config.ema_decay)
    state = TrainState(model, ema, make_optimizer(model, config), Progress())
    resumed = load_newest(out / "checkpoints", state)
    wrapped = accelerator.prepare_model(model)

    tracker = None
    if accelerator.is_main_process:
        tracker = Tracker(out, stage.name, config.steps, state.progress.step)
        tracker.say(f"resuming from {resumed.name}" if resumed else f"{_count(model)} parameters")
    with StopSignal() as stop:
        _run(stage, config, out, accelerator, wrapped, state, tracker, stop)
        finished = state.progress.step >= config.steps
        if accelerator.is_main_process:
            save_checkpoint(out / "checkpoints", state, config.keep)
            if finished:
                stage.export(out / "final", ema.average.state_dict())
    if tracker is not None:
        tracker.say(f"finished: {out / 'final'}" if finished else f"stopped at {state.progress.step}")
        tracker.close()
    accelerator.wait_for_everyone()
    stop.exit_if_asked()


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Builds the Accelerator and refuses a world that is not the one it was launched for."""
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.accumulation, sync_with_dataloader=False
        ),
        cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise ConfigError(
            f"launched as {launched} processes, but this one sees {accelerator.num_processes}: on a "
            "machine without GPU launch with ACCELERATE_USE_CPU=true accelerate launch --multi_gpu"
        )
    return accelerator


def _run(
    stage: Stage,
    config: TrainConfig,
    out: Path,
    accelerator: Accelerator,
    wrapped: nn.Module,
    state: TrainState,
    tracker: Tracker | None,
    stop: StopSignal,
) -> None:
    """Steps until the end or a signal."""
    progress = state.progress
    rank, world = accelerator.process_index, accelerator.num_processes
    batches = PositionBatches(len(stage.dataset), config, progress.step, rank, world)
    samples = iter(make_loader(stage.dataset, batches, config.num_workers))
    meter = Meter(accelerator, config)
    while progress.step < config.steps and not stop.agreed(accelerator):
        set_learning_rate(state.optimizer, learning_rate(config, progress.step))

        # Forward and backward over the parts of this process.
        parts = []
        for part in range(config.accumulation):
            batch = _to_device(next(samples), accelerator.device)
            positions = batches.positions(progress.step, part)
            draws = Draws(config.seed, stage.name, positions, accelerator.device)
            with accelerator.accumulate(wrapped), accelerator.autocast():
                values = stage.loss(wrapped, batch, draws)
                accelerator.backward(values["loss"])
            parts.append({name: value.detach() for name, value in values.items()})
            progress.skipped += int(batch["skipped"].sum())

        # A gradient that is not finite on any process reaches the weights on none.
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip_norm)
        assert norm is not None
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        if _all_finite(accelerator, means["loss"], norm):
            state.optimizer.step()
            progress.nonfinite = 0
            state.ema.update(state.model, progress.step + 1)
            meter.add({**means, "grad_norm": norm})
        else:
            progress.nonfinite += 1
            _check_divergence(stage, config, progress)
        state.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        _report(stage, config, out, accelerator, state, tracker, meter)


def _report(
    stage: Stage,
    config: TrainConfig,
    out: Path,
    accelerator: Accelerator,
    state: TrainState,
    tracker: Tracker | None,
    meter: "Meter",
) -> None:
    """Logs, saves and paints when it is time."""
    step = state.progress.step
    if step % config.log_every == 0:
        figures = meter.means()
        if tracker is not None:
            tracker.log(step, figures | {"skipped": state.progress.skipped})
    if step % config.save_every == 0 and step < config.steps and accelerator.is_main_process:
        save_checkpoint(out / "checkpoints", state, config.keep)
    if tracker is not None and (step % config.sheet_every == 0 or step == config.steps):
        with torch.inference_mode():
            sheet = stage.sheet(state.ema.average)
        if sheet is not None:
            tracker.sheet(step, sheet)


class Meter:
    """Means of the figures since they were last read, kept on the device."""

    def __init__(self, accelerator: Accelerator, config: TrainConfig) -> None:
        self.accelerator, self.config = accelerator, config
        self._restart()

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds a step's figures."""
        self.steps.append(values)

    def means(self) -> dict[str, float]:
        """Returns the means over steps and processes, the learning rate's place and images a second."""
        seconds = time.monotonic() - self.since
        figures = {}
        if self.steps:
            names = list(self.steps[0])
            table = torch.stack([torch.stack([s[n].float() for n in names]) for s in self.steps])
            means = self.accelerator.reduce(table.mean(0), "mean")
            figures = dict(zip(names, means.tolist(), strict=True))
        figures["images_per_second"] = len(self.steps) * self.config.batch_size / seconds
        self._restart()
        return figures

    def _restart(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.since = time.monotonic()


def _all_finite(accelerator: Accelerator, loss: Tensor, norm: Tensor) -> bool:
    finite = (torch.isfinite(loss) & torch.isfinite(norm)).float()
    return bool(accelerator.reduce(finite, "sum") == accelerator.num_processes)


def _check_divergence(stage: Stage, config: TrainConfig, progress: Progress) -> None:
    if progress.nonfinite >= config.max_nonfinite:
        raise TrainingDivergedError(
            f"{stage.name}: {progress.nonfinite} steps in a row up to step {progress.step + 1} had a loss "
            "or gradient that is not finite; the weights are those of the last finite step. "
            "Lower train.lr or look at the data"
        )


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def _count(model: nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()):,}"
