"""Trains CLIP with open_clip: `accelerate launch -m unclip.training.clip --config configs/pocket/clip.yaml`.

The model in training and its loss are open_clip's; what is written is ours, for the other stages.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.loss import ClipLoss
from PIL import Image
from torch import Tensor, nn

from unclip.checkpoint import StageFolder, save_stage
from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP, prepare_pixels
from unclip.clip.files import clip_to_stage
from unclip.clip.tokenize import Tokenizer, openai_merges
from unclip.clip.weights import from_open_clip
from unclip.data.images import CaptionedImages
from unclip.training.draws import Draws
from unclip.training.entry import run
from unclip.training.settings import TrainConfig

MAX_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRun:
    """One training run."""

    images: str
    """Folder of captioned pictures."""
    model: CLIPConfig
    train: TrainConfig


class OpenClipModel(nn.Module):
    """open_clip's CLIP; calling it embeds both sides, so that DDP sees the whole forward pass."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        text, image = config.text, config.image
        self.clip = open_clip.CLIP(
            embed_dim=config.embed_dim,
            quick_gelu=config.activation == "quick_gelu",
            vision_cfg=open_clip.CLIPVisionCfg(
                layers=image.num_layers,
                width=image.width,
                head_width=image.width // image.num_heads,
                mlp_ratio=image.mlp_dim / image.width,
                patch_size=image.patch_size,
                image_size=image.image_size,
            ),
            text_cfg=open_clip.CLIPTextCfg(
                context_length=text.context_length,
                vocab_size=text.vocab_size,
                width=text.width,
                heads=text.num_heads,
                layers=text.num_layers,
                mlp_ratio=text.mlp_dim / text.width,
            ),
        )

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns normalised image and text embeddings and the (clamped) scale of their products."""
        image = self.clip.encode_image(pixels, normalize=True)
        text = self.clip.encode_text(ids, normalize=True)
        return image, text, self.clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()


class ClipStage:
    """What the one training loop needs to know of CLIP."""

    name = "clip"
    channels_last = False

    def __init__(self, config: ClipRun) -> None:
        self.config = config
        shape = config.model.text
        self.tokenizer = Tokenizer(openai_merges(), shape.vocab_size, shape.context_length)
        self.dataset = CaptionedImages(config.images, config.model.image.image_size)
        torch.manual_seed(config.train.seed)
        self.model = OpenClipModel(config.model)
        self.contrast: ClipLoss

    def prepare(self, device: torch.device) -> None:
        """Builds the loss for the world as it is; gathering with gradients keeps it exact."""
        rank, world_size = 0, 1
        if torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.contrast = ClipLoss(
            local_loss=True, gather_with_grad=True, rank=rank, world_size=world_size
        )

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        """Contrasts every picture with every caption of the global batch."""
        pixels = prepare_pixels(batch["image"], self.config.model.image)
        ids, _ = self.tokenizer(batch["caption"])
        image, text, scale = model(pixels, ids.to(pixels.device))
        loss = self.contrast(image.float(), text.float(), scale.float())
        assert isinstance(loss, Tensor)
        matches = (image @ text.T).argmax(dim=1)
        accuracy = (matches == torch.arange(len(matches), device=matches.device)).float().mean()
        return {"loss": loss, "accuracy": accuracy, "scale": scale.detach()}

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes the averaged weights under our names, with the tokenizer's merges."""
        renamed = from_open_clip({k.removeprefix("clip."): v for k, v in state.items()})
        clip = CLIP(self.config.model, self.tokenizer)
        clip.load_state_dict(renamed)
        config, tensors, extra = clip_to_stage(clip)
        save_stage(folder, StageFolder("clip", config, {}, tensors, extra))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """CLIP paints nothing."""
        return None


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, ClipRun, ClipStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
