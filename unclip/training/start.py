"""Begins a run from the weights of another: what fits is taken, the rest begins anew."""

from pathlib import Path

import torch
from torch import nn

from unclip.checkpoint import load_stage
from unclip.clip.names import to_open_clip
from unclip.errors import ConfigError


@torch.no_grad()
def start_from(model: nn.Module, folder: Path) -> str:
    """Copies the tensors of a stage folder that the model has by the same name and shape; returns
    what was taken and what begins anew, in one line.

    So a stage goes on after a change of what it hangs on (another CLIP) or of its own shape.

    Raises:
        CheckpointError: it is no stage folder, or a damaged one.
        ConfigError: nothing of it fits.
    """
    stage, own = load_stage(folder), model.state_dict()
    # CLIP is trained as open_clip's model, and kept as ours.
    found = to_open_clip(stage.tensors) if stage.stage == "clip" else stage.tensors
    taken = [name for name in own if name in found and found[name].shape == own[name].shape]
    if not taken:
        raise ConfigError(
            f"train.start_from {folder}: none of its {len(found)} tensors fits this model, "
            "expected a stage of the same kind"
        )
    for name in taken:
        own[name].copy_(found[name])
    anew = [name for name in own if name not in taken]
    listed = f": {', '.join(anew[:3])}{', ...' if len(anew) > 3 else ''}" if anew else ""
    return f"{len(taken)} tensors begin from {folder}, {len(anew)} anew{listed}"
