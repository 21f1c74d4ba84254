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

from unclip.errors import CheckpointError, TrainingDivergedError
from unclip.nn.attention import set_attention_backend
from unclip.training.begin import Begun, begin
from unclip.training.data import to_device
from unclip.training.draws import Draws, seed_layers
from unclip.training.folder import REQUEUE, claim
from unclip.training.lora import with_lora
from unclip.training.lost import telling
from unclip.training.optim import clip_gradients, learning_rate, set_learning_rate
from unclip.training.settings import TrainConfig
from unclip.training.sharding import let_go
from unclip.training.skipped import stop_if_too_many, tell_skipped
from unclip.training.stage import Stage
from unclip.training.stopping import TrainingSignal
from unclip.training.tracking import Meter, Tracker
from unclip.training.world import Ranks, held_by_first, make_accelerator, totals


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
    stage, config = with_lora(stage, config)
    set_attention_backend(config.attention)
    accelerator = make_accelerator(config)
    ranks = Ranks.of(accelerator)
    with (
        TrainingSignal() as stop,
        telling(ranks),
        held_by_first(ranks, claim(out, dict(run_config))),
    ):
        trainer = Trainer(
            stage,
            config,
            out,
            accelerator,
            begin(stage, config, out, run_config, accelerator, resume),
        )
        try:
            trainer.run(stop)
            trainer.finish()
        finally:
            trainer.close()
        accelerator.end_training()
        let_go(trainer.state.model)
    is_done = trainer.is_done()
    del trainer, stage
    gc.collect()  # what is sharded lies in cycles, and holds the process group's threads
    if not is_done:
        stop.exit_if_asked()


class Trainer:
    """A run in progress."""

    def __init__(
        self, stage: Stage, config: TrainConfig, out: Path, accelerator: Accelerator, begun: Begun
    ) -> None:
        self.stage, self.config, self.out, self.accelerator = stage, config, out, accelerator
        self.model, self.state, self.checkpoints = begun.model, begun.state, begun.checkpoints
        self.batches, self.source, self.showing = begun.batches, begun.source, begun.showing
        self.progress = self.state.progress
        self.saved_at = time.monotonic()
        self.skipped_told = self.progress.skipped
        self.meter = Meter(accelerator, config.batch_size)
        silent = not accelerator.is_main_process
        self.tracker = Tracker(out, stage.name, config.steps, self.progress.step, silent=silent)
        for note in begun.notes:
            self.tracker.say(note)

    def run(self, stop: TrainingSignal) -> None:
        """Steps until the end or a signal."""
        config, accelerator = self.config, self.accelerator
        state, progress = self.state, self.progress
        stopping = False
        while progress.step < config.steps and not stopping:
            rate = learning_rate(config, progress.step, progress.warm_since)
            set_learning_rate(state.optimizer, rate)
            figures, skipped = self._backward()
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
                state.optimizer.step()
                state.ema.update(state.model, progress.step + 1)
                self.meter.add({**figures, "grad_norm": norm})
            state.optimizer.zero_grad(set_to_none=True)
            progress.advance(updated=not refused, skipped=unusable)
            stop_if_too_many(progress, config, self.source.faults)
            self._tell_failure(self.checkpoints.proceed(written, failed))
            self._report(late=late > 0)
            stopping = stop.agree(signals > 0)

    def _backward(self) -> tuple[dict[str, Tensor], int]:
        """Forward and backward over this process's parts; mean figures, and samples skipped."""
        config, stage, accelerator = self.config, self.stage, self.accelerator
        parts, skipped = [], 0
        for part in range(config.accumulation):
            batch = self.source.batch()
            skipped += int(batch["skipped"].sum())
            positions = self.batches.positions(self.progress.step, part)
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
            if self.progress.skipped > self.skipped_told:
                self.skipped_told = self.progress.skipped
                tell_skipped(self.accelerator, self.source.faults, self.tracker)
        if step == config.steps:
            return
        with self.meter.paused():
            if step % config.save_every == 0 or late:
                self._tell_failure(self.checkpoints.begin(self.state, self.source.state()))
                self.saved_at = time.monotonic()
            if step % config.ema_every == 0:
                self.showing.snapshot(self.state.ema, step, self.tracker)
            if step % config.sheet_every == 0:
                self.showing.paint(self.state.ema, step, self.tracker)

    def is_done(self) -> bool:
        """Says whether the last step is done."""
        return self.progress.step >= self.config.steps

    def finish(self) -> None:
        """Saves what is not saved yet, and exports the stage when its last step is done."""
        self._tell_failure(self.checkpoints.wait())
        self.checkpoints.save(self.state, self.source.state())
        ema, step = self.state.ema, self.progress.step
        if self.is_done():
            self.showing.snapshot(ema, step, self.tracker)
            final = self.showing.export(ema, step, self.tracker)
            self.tracker.say(f"finished: {final}")
        else:
            if self.accelerator.is_main_process:
                (self.out / REQUEUE).write_text(f"{step}\n", encoding="utf-8")
            self.tracker.say(f"stopped, saved at {step}; the same command goes on")
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Ends what loads and what records."""
        self.source.close()
        self.tracker.close()
