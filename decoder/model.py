"""The decoder: a U-Net at 64x64 conditioned on CLIP (unCLIP, arXiv 2204.06125, section 2.1)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from decoder.conditioning import ClipConditioning
from decoder.config import DecoderConfig
from unclip.checkpoint import StageFolder, load_tensors
from unclip.config import from_dict, to_dict
from unclip.nn.spatial_attention import Context
from unclip.nn.unet import UNet


class Condition(NamedTuple):
    """What no sampling step changes: the addition to the time embedding, the context's keys and
    values."""

    embed: Float[Tensor, "batch temb"]
    context: Context


class Decoder(nn.Module):
    """Predicts the noise, x_start or v (and the variance) of a noised 64x64 picture."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conditioning = ClipConditioning(config)
        self.unet = UNet(config.unet)

    def forward(
        self,
        x_t: Float[Tensor, "batch channels height width"],
        t: Num[Tensor, " batch"],
        image_embed: Float[Tensor, "batch dim"],
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens text_width"],
        text_mask: Bool[Tensor, "batch tokens"],
        drop_image: Bool[Tensor, " batch"],
        drop_text: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch out height width"]:
        """Runs conditioning and network in one pass (training); see `condition` for sampling."""
        condition = self.condition(
            image_embed, text_embed, text_hidden, text_mask, drop_image, drop_text
        )
        modulations = self.unet.modulations(t, condition.embed)
        return self.unet(x_t, modulations, condition.context)

    def condition(
        self,
        image_embed: Float[Tensor, "batch dim"],
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens text_width"],
        text_mask: Bool[Tensor, "batch tokens"],
        drop_image: Bool[Tensor, " batch"],
        drop_text: Bool[Tensor, " batch"] | None = None,
    ) -> Condition:
        """Computes once what all sampling steps share."""
        projected = self.conditioning(
            image_embed, text_embed, text_hidden, text_mask, drop_image, drop_text
        )
        context = self.unet.context(projected.tokens, projected.mask)
        return Condition(projected.embed, context)


def to_stage(
    config: DecoderConfig, tensors: dict[str, Tensor], metadata: dict[str, object]
) -> StageFolder:
    """Returns what is written to disk; `metadata["clip"]` is the CLIP's fingerprint."""
    return StageFolder("decoder", to_dict(config), metadata, tensors, {})


def from_stage(folder: StageFolder, *, dtype: torch.dtype | None = torch.float32) -> Decoder:
    """Builds a decoder in evaluation mode from a stage folder's content.

    Args:
        dtype: of its weights; None keeps them as they are stored.
    """
    config = from_dict(DecoderConfig, folder.config, "decoder/config.json")
    with torch.device("meta"):
        decoder = Decoder(config)
    load_tensors(decoder, folder.tensors, "decoder/model.safetensors", dtype=dtype)
    return decoder.eval()
