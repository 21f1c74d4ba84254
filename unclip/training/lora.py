"""A stage whose weights stay as they are while adapters beside them learn (`train.lora`)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from unclip.checkpoint import atomic_folder, check_tensors, load_stage
from unclip.errors import ConfigError
from unclip.lora_file import FILE, weights_fingerprint, write_lora
from unclip.nn.lora import LoraModel
from unclip.training.draws import Draws
from unclip.training.settings import TrainConfig
from unclip.training.stage import Stage


class LoraStage:
    """What the one training loop needs to know: another stage, seen through its adapters.

    The frozen weights are read from `train.start_from` at every start, and are in no checkpoint; a
    run never goes on beside others.
    """

    def __init__(self, stage: Stage, config: TrainConfig) -> None:
        """Loads the frozen weights.

        Raises:
            CheckpointError: `train.start_from` is no such stage, or damaged.
            ConfigError: the stage is CLIP, or it has none of the layers.
        """
        assert config.lora is not None, "the caller looked"
        assert config.start_from is not None, "the configuration says so"
        if stage.name == "clip":
            raise ConfigError("train.lora is for prior, decoder and upsamplers: train CLIP whole")
        self.stage, self.lora = stage, config.lora
        self.name, self.channels_last = stage.name, stage.channels_last
        folder = Path(config.start_from)
        base = load_stage(folder, self.name.partition("_")[0])
        check_tensors(stage.model, base.tensors, str(folder))
        stage.model.load_state_dict(base.tensors)
        fingerprint = weights_fingerprint(base.tensors)
        self.about = {"base": fingerprint, "base_name": folder.resolve().parent.name}
        self.trained_on: Mapping[str, str] = {**stage.trained_on, "base": fingerprint}
        self.model = LoraModel(stage.model, config.lora)
        self.dataset = stage.dataset

    def prepare(self, device: torch.device) -> None:
        """As the stage does."""
        self.stage.prepare(device)

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        """The stage's loss, of the network with its adapters."""
        return self.stage.loss(model, batch, draws)

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes the averaged adapters as one file in a folder."""
        with atomic_folder(folder) as place:
            about = {"name": folder.resolve().parent.name, **self.about}
            write_lora(place / FILE, self.name, self.lora, state, about)

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """Paints with the averaged adapters in the weights."""
        assert isinstance(model, LoraModel)
        with model.merged() as merged:
            return self.stage.sheet(merged)


def with_lora(stage: Stage, config: TrainConfig) -> tuple[Stage, TrainConfig]:
    """Returns what the loop trains: adapters, if the configuration asks for them."""
    if config.lora is None:
        return stage, config
    return LoraStage(stage, config), replace(config, start_from=None, lora=None)
