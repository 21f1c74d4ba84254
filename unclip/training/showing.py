"""What a run shows of its averages: snapshots, sample sheets, and at the end the stage folder."""

from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from unclip.errors import CheckpointError
from unclip.training.ema import Ema, put_weights, track_name, without_weights
from unclip.training.parts import whole
from unclip.training.settings import TrainConfig
from unclip.training.snapshots import write_snapshot
from unclip.training.stage import Stage
from unclip.training.tracking import Tracker


class Showing:
    """Puts averages together from their parts, and hands them on; all processes call the same.

    It is made before the model is shared out, of which it keeps a copy without weights.
    """

    def __init__(
        self, stage: Stage, config: TrainConfig, out: Path, accelerator: Accelerator
    ) -> None:
        self.stage, self.config, self.out = stage, config, out
        self.is_main, self.device = accelerator.is_main_process, accelerator.device
        self._model = without_weights(stage.model)

    def snapshot(self, ema: Ema, step: int, tracker: Tracker) -> None:
        """Writes all averages of a step; a full disk costs a length, not the run."""
        for std in self.config.ema_stds:
            averages = self._average(ema, std, None)
            if not self.is_main:
                continue
            try:
                write_snapshot(self.out, self.stage, std, step, averages)
            except CheckpointError as error:
                tracker.say(f"warning: {error}; training goes on")

    def paint(self, ema: Ema, step: int, tracker: Tracker) -> None:
        """Paints a sample sheet with the average that `final/` is made of."""
        self._paint(self._average(ema, self.config.ema_final, self.device), step, tracker)

    def export(self, ema: Ema, step: int, tracker: Tracker) -> Path:
        """Writes the stage folder `final/`, and paints with the same weights; returns its path.

        Raises:
            CheckpointError: it cannot be written.
        """
        averages = self._average(ema, self.config.ema_final, self.device)
        final = self.out / "final"
        if self.is_main:
            self.stage.export(final, averages)
        self._paint(averages, step, tracker)
        return final

    def _paint(self, averages: dict[str, Tensor], step: int, tracker: Tracker) -> None:
        if not self.is_main:
            return
        with torch.inference_mode():
            sheet = self.stage.sheet(put_weights(self._model, averages))
        if sheet is not None:
            tracker.sheet(step, sheet)

    def _average(self, ema: Ema, std: float, device: torch.device | None) -> dict[str, Tensor]:
        return whole(ema.tracks[track_name(std)], keep=self.is_main, device=device)
