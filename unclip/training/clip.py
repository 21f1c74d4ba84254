"""Trains CLIP with open_clip: `accelerate launch -m unclip.training.clip --config FILE --out DIR`.

The model and the contrastive loss are open_clip's, the vocabulary and the loop are ours. The global
batch is the set of negatives, so the features of all processes are gathered, with their gradients:
without those the gradient of several processes would be wrong.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from accelerate import PartialState
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import softplus

from unclip.checkpoint import StageFolder, save_stage
from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import prepare_images
from unclip.clip.files import build_clip, clip_to_stage
from unclip.clip.tokenize import Tokenizer, load_merges, open_clip_merges
from unclip.clip.weights import MAX_LOGIT_SCALE, from_open_clip
from unclip.config import INF, check_ranges
from unclip.errors import ConfigError
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run
from unclip.training.pictures import Source, open_pictures
from unclip.training.settings import TrainConfig

NEGATIVES_EVERY = 4
"""One caption in so many has a false twin, if hard negatives are asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRun:
    """One training run."""

    images: Source
    """Folder of captioned pictures, or scenes."""
    merges: str | None = None
    """File of byte-pair merges (`unclip.training.vocabulary`); None takes CLIP's own."""
    hard_negatives: float = 0.0
    """Weight of the loss that tells a picture's caption from the same words about another one."""
    model: CLIPConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        check_ranges(self, "", hard_negatives=(0, INF))
        if self.hard_negatives and isinstance(self.images, str):
            raise ConfigError("hard_negatives need scenes: a folder's captions have no false twins")
        if self.train.accumulation != 1:
            raise ConfigError(
                f"train.accumulation is {self.train.accumulation}, expected 1: pictures are told "
                "apart within one pass, so use more processes or a smaller batch"
            )


class ClipStage:
    """What the one training loop needs to know of CLIP."""

    name = "clip"
    channels_last = False
    trained_on: Mapping[str, str] = {}

    def __init__(self, config: ClipRun) -> None:
        self.config = config
        text = config.model.text
        self.merges = open_clip_merges() if config.merges is None else load_merges(config.merges)
        self.tokenizer = Tokenizer(self.merges, text.vocab_size, text.context_length, text.clean)
        seed = data_seed(config.train.seed, self.name)
        if config.model.text_only:
            raise ConfigError(
                "clip: model.text_only is of models that others made: set it to false"
            )
        size_px = config.model.image.image_size
        self.pictures = open_pictures(config.images, size_px=size_px, seed=seed)
        self.dataset = self.pictures.dataset
        self.model = open_clip.CLIP(**open_clip_config(config.model))
        self.criterion: open_clip.ClipLoss

    def prepare(self, device: torch.device) -> None:
        """Tells the loss of the other processes, and moves what paints."""
        self.pictures.prepare(device)
        world = PartialState()
        self.criterion = open_clip.ClipLoss(
            local_loss=True,
            gather_with_grad=True,
            rank=world.process_index,
            world_size=world.num_processes,
        )

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        """Scores every picture against every caption of the global batch."""
        self._clamp_scale()
        captions, wrong = list(batch["caption"]), []
        if self.config.hard_negatives:
            asked = captions_asked(len(captions))
            wrong = [i for i in asked if batch["negative"][i]]
        ids, _ = self.tokenizer(captions + [batch["negative"][i] for i in wrong])
        images = prepare_images(self.pictures.images(batch), self.config.model.image)
        image_embed, text_embed, scale = model(images, ids.to(images.device))

        # The logits are large: in bfloat16 they would be off by more than the loss.
        with torch.autocast(images.device.type, enabled=False):
            image_embed, scale = image_embed.float(), scale.float()
            text_embed, wrong_embed = text_embed.float().tensor_split([len(captions)])
            loss = self.criterion(image_embed, text_embed, scale)
            accuracy = retrieval_accuracy(image_embed.detach(), text_embed.detach())
            figures = {"accuracy": accuracy, "scale": scale.detach()}
            if self.config.hard_negatives:
                right, shown = text_embed[wrong], image_embed[wrong]
                told_apart, share = hard_negative_loss(shown, right, wrong_embed, scale)
                loss = loss + self.config.hard_negatives * told_apart
                figures["told_apart"] = share
        return {"loss": loss, **figures}

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder with the towers on our own transformer."""
        _, tensors = from_open_clip(state, open_clip_config(self.config.model))
        tensors["logit_scale"] = tensors["logit_scale"].clamp(max=MAX_LOGIT_SCALE)
        clip = build_clip(self.config.model, tensors, self.merges)
        config, tensors, extra = clip_to_stage(clip)
        save_stage(folder, StageFolder("clip", config, {}, tensors, extra))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """CLIP paints nothing."""
        return None

    @torch.no_grad()
    def _clamp_scale(self) -> None:
        # Radford et al. 2021, section 2.5: a scale above 100 makes training unstable.
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


def captions_asked(batch_size: int) -> range:
    """Which of a batch are told from a false caption: the text tower costs as much for those."""
    return range(0, batch_size, NEGATIVES_EVERY)


def hard_negative_loss(
    image_embed: Float[Tensor, "batch dim"],
    text_embed: Float[Tensor, "batch dim"],
    wrong_embed: Float[Tensor, "batch dim"],
    scale: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Scores each picture's caption against one that is wrong by its order alone.

    A batch holds no other picture that makes "a red cat and a blue dog" differ from "a blue cat and
    a red dog", so CLIP reads captions as bags of words unless it is asked (Yuksekgonul et al.
    2023). The loss is the cross-entropy of the pair, its mean over the pictures, 0 where there are
    none; the share of pairs that are told apart is not differentiable.
    """
    if not len(image_embed):
        return scale.new_zeros(()), scale.new_ones(())
    gap = ((text_embed - wrong_embed) * image_embed).sum(-1)
    return softplus(-scale * gap).mean(), (gap.detach() > 0).float().mean()


def open_clip_config(config: CLIPConfig) -> dict[str, Any]:
    """Says our configuration in open_clip's words."""
    text, image = config.text, config.image
    norm = {"eps": config.eps}
    return {
        "embed_dim": config.embed_dim,
        "quick_gelu": config.activation == "quick_gelu",
        "vision_cfg": {
            "layers": image.num_layers,
            "width": image.width,
            "head_width": image.width // image.num_heads,
            "mlp_ratio": _ratio(image.mlp_dim, image.width),
            "patch_size": image.patch_size,
            "image_size": image.image_size,
            "norm_kwargs": norm,
        },
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.num_heads,
            "layers": text.num_layers,
            "mlp_ratio": _ratio(text.mlp_dim, text.width),
            "norm_kwargs": norm,
        },
    }


def _ratio(mlp_dim: int, width: int) -> float:
    # open_clip multiplies by the width again and rounds down.
    return (mlp_dim + 0.5) / width


def retrieval_accuracy(image_embed: Tensor, text_embed: Tensor) -> Tensor:
    """Share of pictures to which no caption of this process's batch is closer than their own.

    A caption that occurs twice is right both times.
    """
    similarity = image_embed @ text_embed.T
    return (similarity.diagonal() > similarity.amax(dim=1) - 1e-5).float().mean()


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, ClipRun, ClipStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
