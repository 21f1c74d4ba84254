"""The one training loop: every stage brings a model, data and a loss, and knows no device or rank.

Accelerate gives the launch, the device, DDP, autocast, accumulation and gathering. The order of the
data, the learning rate, the average and the checkpoints are ours, because they must survive a kill
at any instant and a change of the number of processes.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from unclip.errors import CheckpointError, ConfigError
from unclip.nn.attention import set_attention_backend
from unclip.training.data import PositionBatches, make_loader, to_device
from unclip.training.draws import Draws, seed_layers
from unclip.training.ema import Ema, put_weights, track_name, without_weights
from unclip.training.folder import claim
from unclip.training.optim import learning_rate, make_optimizer, set_learning_rate
from unclip.training.settings import TrainConfig
from unclip.training.sharding import whole
from unclip.training.signals import StopSignal
from unclip.training.snapshots import forget_snapshots_after, write_snapshot
from unclip.training.stage import Stage
from unclip.training.start import start_from
from unclip.training.state import Checkpoints, Progress, TrainState, checkpoint_folders
from unclip.training.tracking import Meter, Tracker
from unclip.training.world import is_emulated, make_accelerator, totals


def train(stage: Stage, config: TrainConfig, out: Path, run_config: Mapping[str, Any]) -> None:
    """Trains to `config.steps`, resuming from the newest whole checkpoint below `out`.

    Writes `checkpoints/`, `samples/`, `log.jsonl`, `tensorboard/`, and at the end the stage folder
    `final/`. `run_config`, the whole resolved configuration, is kept in every checkpoint.

    Raises:
        ConfigError: the processes are not those of the launch or do not divide the batch, or
            another job trains in `out`.
        BackendError: `config.attention` cannot be had here.
        TrainingDivergedError: too many steps in a row were not finite.
        SystemExit: with 128 + its number after SIGTERM or SIGINT, when all is saved.
    """
    set_attention_backend(config.attention)
    accelerator = make_accelerator(config)
    mine = claim(out, dict(run_config)) if accelerator.is_main_process else nullcontext()
    with mine, StopSignal() as stop:
        trainer = Trainer(stage, config, out, run_config, accelerator)
        try:
            trainer.run(stop)
            trainer.finish()
        finally:
            trainer.tracker.close()
        accelerator.end_training()
    stop.exit_if_asked()


class Trainer:
    """A run in progress: what is trained, how, and how far it is."""

    def __init__(
        self,
        stage: Stage,
        config: TrainConfig,
        out: Path,
        run_config: Mapping[str, Any],
        accelerator: Accelerator,
    ) -> None:
        self.stage, self.config, self.out, self.accelerator = stage, config, out, accelerator

        # The model, its average and its optimiser: fresh, or as the newest checkpoint has them.
        begun = None
        if config.start_from is not None and not checkpoint_folders(out / "checkpoints"):
            begun = start_from(stage.model, Path(config.start_from))
        model = stage.model.to(accelerator.device).train()
        if stage.channels_last and accelerator.device.type != "cpu":
            # On a CPU group norm costs several times more so (benchmarks/cpu_training.py).
            model = model.to(memory_format=torch.channels_last)
        stage.prepare(accelerator.device)
        self.progress, self.ema = Progress(), Ema(model, config.ema_stds)
        self.shown = without_weights(model)
        self.optimizer = make_optimizer(model, config)
        self.state = TrainState(model, self.ema, self.optimizer, self.progress)
        about = {
            "world_size": accelerator.num_processes,
            "config": dict(run_config),
            "trained_on": dict(stage.trained_on),
        }
        self.checkpoints = Checkpoints(out / "checkpoints", config.keep, about)
        self.checkpoints.load_newest(self.state)
        if self.progress.step > config.steps:
            raise ConfigError(
                f"{out} is at step {self.progress.step}, past train.steps {config.steps}: choose "
                "more steps, or another --out"
            )
        if accelerator.is_main_process:
            forget_snapshots_after(out, self.progress.step)
        self.model = accelerator.prepare_model(model)

        self.meter = Meter(accelerator, config.batch_size)
        silent = not accelerator.is_main_process
        self.tracker = Tracker(out, stage.name, config.steps, self.progress.step, silent=silent)
        if begun is not None:
            self.tracker.say(begun)
        size = sum(p.numel() for p in model.parameters())
        where = f"{accelerator.num_processes} x {accelerator.device.type}, {config.precision}"
        self.tracker.say(f"{size:,} parameters on {where}, from step {self.progress.step}")
        if is_emulated(config, accelerator.device):
            self.tracker.say(
                "this CPU has no bf16 instructions: --set train.precision=float32 is much faster"
            )

    def run(self, stop: StopSignal) -> None:
        """Steps until the end or a signal."""
        config, progress, accelerator = self.config, self.progress, self.accelerator
        rank, world_size = accelerator.process_index, accelerator.num_processes
        dataset = self.stage.dataset
        batches = PositionBatches(len(dataset), config, progress.step, rank, world_size)
        samples = iter(make_loader(dataset, batches, config.num_workers))
        stopping = False
        while progress.step < config.steps and not stopping:
            rate = learning_rate(config, progress.step, progress.warm_since)
            set_learning_rate(self.optimizer, rate)
            figures, skipped = self._backward(batches, samples)
            norm = accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            assert norm is not None, "the gradients are not sharded"

            # A gradient that is not finite on any process reaches the weights on none.
            bad = ~(torch.isfinite(figures["loss"]) & torch.isfinite(norm))
            refused, unusable, signals = totals(accelerator, bad, skipped, stop.received > 0)
            if refused:
                self.tracker.say(progress.refuse(config))
            else:
                self.optimizer.step()
                self.ema.update(self.state.model, progress.step + 1)
                self.meter.add({**figures, "grad_norm": norm})
            self.optimizer.zero_grad(set_to_none=True)
            progress.advance(updated=not refused, skipped=int(unusable))
            self._report()
            stopping = stop.agree(signals > 0)

    def _backward(
        self, batches: PositionBatches, samples: Iterator[dict[str, Any]]
    ) -> tuple[dict[str, Tensor], int]:
        """Forward and backward over this process's parts; mean figures, and samples skipped."""
        config, stage, accelerator = self.config, self.stage, self.accelerator
        parts, skipped = [], 0
        for part in range(config.accumulation):
            batch = next(samples)
            skipped += int(batch["skipped"].sum())
            positions = batches.positions(self.progress.step, part)
            draws = Draws(config.seed, stage.name, positions, accelerator.device)
            seed_layers(config.seed, stage.name, positions)
            with accelerator.accumulate(self.model):
                with accelerator.autocast():
                    values = stage.loss(self.model, to_device(batch, accelerator.device), draws)
                accelerator.backward(values["loss"])
            parts.append({name: value.detach() for name, value in values.items()})
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        return means, skipped

    def _report(self) -> None:
        """Logs, saves and paints when it is time."""
        config, step = self.config, self.progress.step
        self.meter.count()
        if step % config.log_every == 0 or step == config.steps:
            rate = learning_rate(config, step - 1, self.progress.warm_since)
            figures = {**self.meter.read(), "lr": rate}
            self.tracker.log(step, {**figures, **self.progress.left_out()})
        if step == config.steps:
            return
        with self.meter.paused():
            if step % config.save_every == 0 and self.accelerator.is_main_process:
                try:
                    self.checkpoints.save(self.state)
                except CheckpointError as error:
                    self.tracker.say(f"warning: {error}; training goes on, older ones are kept")
            if step % config.ema_every == 0:
                self._snapshot()
            if step % config.sheet_every == 0:
                self._paint(self._average(config.ema_final, self.accelerator.device))

    def finish(self) -> None:
        """Saves what is not saved yet, and exports the stage when its last step is done."""
        step, done = self.progress.step, self.progress.step >= self.config.steps
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.state)
        if done:
            self._snapshot()
            averages = self._average(self.config.ema_final, self.accelerator.device)
            if self.accelerator.is_main_process:
                self.stage.export(self.out / "final", averages)
            self._paint(averages)
        self.tracker.say(f"finished: {self.out / 'final'}" if done else f"stopped, saved at {step}")
        self.accelerator.wait_for_everyone()

    def _average(self, std: float, device: torch.device | None = None) -> dict[str, Tensor]:
        """One of the averages, whole, on the main process; all processes call it."""
        keep = self.accelerator.is_main_process
        return whole(self.ema.tracks[track_name(std)], keep=keep, device=device)

    def _snapshot(self) -> None:
        """Writes all averages of this step; a full disk costs a length, not the run."""
        for std in self.config.ema_stds:
            averages = self._average(std)
            if not self.accelerator.is_main_process:
                continue
            try:
                write_snapshot(self.out, self.stage, std, self.progress.step, averages)
            except CheckpointError as error:
                self.tracker.say(f"warning: {error}; training goes on")

    def _paint(self, averages: dict[str, Tensor]) -> None:
        if not self.accelerator.is_main_process:
            return
        shown = put_weights(self.shown, averages)
        with torch.inference_mode():
            sheet = self.stage.sheet(shown)
        if sheet is not None:
            self.tracker.sheet(self.progress.step, sheet)
