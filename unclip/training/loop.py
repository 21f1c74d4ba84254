"""The one training loop: every stage brings a model, data and a loss, and knows no device or rank.

Accelerate gives the launch, the device, DDP, autocast, accumulation and gathering. The order of the
data, the learning rate, the average and the checkpoints are ours, because they must survive a kill
at any instant and a change of the number of processes.
"""

import gc
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from unclip.errors import CheckpointError, ConfigError, TrainingDivergedError
from unclip.nn.attention import set_attention_backend
from unclip.training.data import Patience, PositionBatches, make_loader, to_device
from unclip.training.draws import Draws, seed_layers
from unclip.training.ema import Ema, put_weights, track_name, without_weights
from unclip.training.folder import REQUEUE, claim
from unclip.training.lost import telling
from unclip.training.optim import clip_gradients, learning_rate, make_optimizer, set_learning_rate
from unclip.training.parts import whole
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.sharding import let_go, prepare_model
from unclip.training.snapshots import forget_snapshots_after, write_snapshot
from unclip.training.stage import Stage
from unclip.training.start import start_from
from unclip.training.state import Checkpoints, checkpoint_folders
from unclip.training.stopping import TrainingSignal
from unclip.training.tracking import Meter, Tracker
from unclip.training.world import Ranks, held_by_first, is_emulated, make_accelerator, totals


def train(
    stage: Stage,
    config: TrainConfig,
    out: Path,
    run_config: Mapping[str, Any],
    resume: int | None = None,
) -> None:
    """Trains to `config.steps`, going on from the newest whole checkpoint below `out`, or from that
    of the step `resume`.

    Writes `checkpoints/`, `samples/`, `log.jsonl`, `tensorboard/`, and at the end the stage folder
    `final/`. `run_config`, the whole resolved configuration, is kept in every checkpoint.

    Raises:
        ConfigError: the processes are not those of the launch or do not divide the batch, or
            another job trains in `out`.
        BackendError: `config.attention` cannot be had here.
        TrainingDivergedError: too many steps in a row were not finite.
        CheckpointError: no checkpoint that is there can be used, or the last one not be written.
        ProcessLostError: another process of the run is gone.
        SystemExit: with 85, or 130 after Ctrl-C, when a signal came before the last step and all is
            saved.
    """
    set_attention_backend(config.attention)
    accelerator = make_accelerator(config)
    ranks = Ranks.of(accelerator)
    with (
        TrainingSignal() as stop,
        telling(ranks),
        held_by_first(ranks, claim(out, dict(run_config))),
    ):
        trainer = Trainer(stage, config, out, run_config, accelerator, resume)
        try:
            trainer.run(stop)
            trainer.finish()
        finally:
            trainer.tracker.close()
        accelerator.end_training()
        let_go(trainer.state.model)
    is_done = trainer.is_done()
    del trainer, stage
    gc.collect()  # what is sharded lies in cycles, and holds the process group's threads
    if not is_done:
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
        resume: int | None,
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
        self.shown = without_weights(model)
        self.model = prepare_model(model, config, accelerator)
        self.progress, self.ema = Progress(), Ema(model, config.ema_stds)
        self.optimizer = make_optimizer(model, config)
        self.state = TrainState(model, self.ema, self.optimizer, self.progress)
        about = {
            "world_size": accelerator.num_processes,
            "config": dict(run_config),
            "trained_on": dict(stage.trained_on),
        }
        ranks = Ranks.of(accelerator)
        self.checkpoints = Checkpoints(out / "checkpoints", config.keep, about, ranks)
        if resume is None:
            resumed = self.checkpoints.load_newest(self.state)
        else:
            resumed = self.checkpoints.load_step(self.state, resume)
        if self.progress.step > config.steps:
            raise ConfigError(
                f"{out} is at step {self.progress.step}, past train.steps {config.steps}: choose "
                "more steps, or another --out"
            )
        if self.progress.step < config.steps:
            self.checkpoints.check_room(self.state)
        if accelerator.is_main_process:
            forget_snapshots_after(out, self.progress.step)
        self.saved_at = time.monotonic()

        self.meter = Meter(accelerator, config.batch_size)
        silent = not accelerator.is_main_process
        self.tracker = Tracker(out, stage.name, config.steps, self.progress.step, silent=silent)
        if begun is not None:
            self.tracker.say(begun)
        if resumed is not None:
            self.tracker.say(resumed)
        size = sum(p.numel() for p in model.parameters())
        where = f"{accelerator.num_processes} x {accelerator.device.type}, {config.precision}"
        self.tracker.say(f"{size:,} parameters on {where}, from step {self.progress.step}")
        if is_emulated(config, accelerator.device):
            self.tracker.say(
                "this CPU has no bf16 instructions: --set train.precision=float32 is much faster"
            )

    def run(self, stop: TrainingSignal) -> None:
        """Steps until the end or a signal."""
        config, progress, accelerator = self.config, self.progress, self.accelerator
        rank, world_size = accelerator.process_index, accelerator.num_processes
        dataset = self.stage.dataset
        batches = PositionBatches(len(dataset), config, progress.step, rank, world_size)
        loader = make_loader(dataset, batches, config.num_workers)
        samples = Patience(iter(loader), config.timeout_seconds, config.num_workers)
        stopping = False
        while progress.step < config.steps and not stopping:
            rate = learning_rate(config, progress.step, progress.warm_since)
            set_learning_rate(self.optimizer, rate)
            figures, skipped = self._backward(batches, samples)
            norm = clip_gradients(self.model.parameters(), config.clip_norm)

            # A gradient that is not finite on any process reaches the weights on none.
            bad = ~(torch.isfinite(figures["loss"]) & torch.isfinite(norm))
            sums = totals(
                accelerator,
                *(bad, skipped, stop.received > 0, self._is_late()),
                *self.checkpoints.standing(),
            )
            refused, unusable, signals, late, written, failed = map(int, sums)
            if refused:
                self._refuse()
            else:
                self.optimizer.step()
                self.ema.update(self.state.model, progress.step + 1)
                self.meter.add({**figures, "grad_norm": norm})
            self.optimizer.zero_grad(set_to_none=True)
            progress.advance(updated=not refused, skipped=unusable)
            self._tell_failure(self.checkpoints.proceed(written, failed))
            self._report(late=late > 0)
            stopping = stop.agree(signals > 0)

    def _backward(
        self, batches: PositionBatches, samples: Patience
    ) -> tuple[dict[str, Tensor], int]:
        """Forward and backward over this process's parts; mean figures, and samples skipped."""
        config, stage, accelerator = self.config, self.stage, self.accelerator
        parts, skipped = [], 0
        for part in range(config.accumulation):
            batch = samples.next()
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

    def _is_late(self) -> bool:
        """Says whether the first process's clock asks for a checkpoint."""
        minutes = self.config.save_minutes
        if minutes is None or not self.accelerator.is_main_process:
            return False
        return time.monotonic() - self.saved_at >= 60 * minutes

    def _refuse(self) -> None:
        try:
            self.tracker.say(self.progress.refuse(self.config))
        except TrainingDivergedError:
            self._tell_failure(self.checkpoints.wait())  # what is being written is still good
            raise

    def _tell_failure(self, error: CheckpointError | None) -> None:
        if error is not None:
            who = f"{self.stage.name}, process {self.accelerator.process_index}"
            what = f"warning: {error}; training goes on, older ones are kept"
            print(f"{who}: {what}", file=sys.stderr, flush=True)

    def _report(self, *, late: bool) -> None:
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
            if step % config.save_every == 0 or late:
                self._tell_failure(self.checkpoints.begin(self.state))
                self.saved_at = time.monotonic()
            if step % config.ema_every == 0:
                self._snapshot()
            if step % config.sheet_every == 0:
                self._paint(self._average(config.ema_final, self.accelerator.device))

    def is_done(self) -> bool:
        """Says whether the last step is done."""
        return self.progress.step >= self.config.steps

    def finish(self) -> None:
        """Saves what is not saved yet, and exports the stage when its last step is done."""
        self._tell_failure(self.checkpoints.wait())
        self.checkpoints.save(self.state)
        is_main = self.accelerator.is_main_process
        if self.is_done():
            self._snapshot()
            averages = self._average(self.config.ema_final, self.accelerator.device)
            if is_main:
                self.stage.export(self.out / "final", averages)
            self._paint(averages)
            self.tracker.say(f"finished: {self.out / 'final'}")
        else:
            if is_main:
                (self.out / REQUEUE).write_text(f"{self.progress.step}\n", encoding="utf-8")
            self.tracker.say(f"stopped, saved at {self.progress.step}; the same command goes on")
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
