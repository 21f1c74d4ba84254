"""LoRA weights of random numbers, for tests."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unclip.lora_file import weights_fingerprint, write_lora
from unclip.nn.lora import LoraConfig, LoraModel


def write_random(
    path: Path, stage: str, network: Any, name: str = "sks", **config: Any
) -> LoraModel:
    """Writes weights for a copy of `network`, loud enough to be seen; returns the wrapped copy."""
    base = type(network)(network.config)
    base.load_state_dict({key: value.float() for key, value in network.state_dict().items()})
    model = LoraModel(base.eval(), LoraConfig(rank=2, **config)).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            size = math.sqrt(parameter[0].numel())
            nn.init.normal_(parameter, std=1 / size, generator=generator)
    about = {"name": name, "base": weights_fingerprint(network.state_dict()), "base_name": "tiny"}
    write_lora(path, stage, LoraConfig(rank=2, **config), model.state_dict(), about)
    return model
