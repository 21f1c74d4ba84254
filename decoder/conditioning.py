"""How CLIP's embeddings enter the decoder: into the time embedding and as context tokens.

unCLIP section 2.1: the image embedding is projected and added to the time embedding, and projected
to four extra tokens that stand before the text tokens. Parameter names are those of diffusers'
UnCLIPTextProjModel; the text's blocks and learned nulls are ours.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from decoder.config import DecoderConfig
from unclip.nn.transformer import TransformerBlock, run_blocks


class Conditioning(NamedTuple):
    """What the U-Net is told besides the time."""

    embed: Float[Tensor, "batch temb"]
    tokens: Float[Tensor, "batch tokens context"]
    mask: Bool[Tensor, "batch tokens"]


class ClipConditioning(nn.Module):
    """Projects CLIP's embeddings and token states; owns the learned nulls for guidance."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.num_image_tokens = config.num_image_tokens
        context_dim = config.unet.context_dim or 0
        temb_dim = 4 * config.unet.channels[0]
        self.learned_classifier_free_guidance_embeddings = nn.Parameter(
            torch.zeros(config.embed_dim)
        )
        self.embedding_proj = nn.Linear(config.embed_dim, temb_dim)
        self.clip_image_embeddings_project_to_time_embeddings = nn.Linear(
            config.embed_dim, temb_dim
        )
        self.clip_extra_context_tokens_proj = nn.Linear(
            config.embed_dim, config.num_image_tokens * context_dim
        )
        self.encoder_hidden_states_proj = nn.Linear(config.text_width, context_dim)
        self.text_blocks = nn.ModuleList(
            TransformerBlock(context_dim, config.text_heads) for _ in range(config.text_layers)
        )
        self.text_encoder_hidden_states_norm = nn.LayerNorm(context_dim)
        if config.learned_text_null:
            self.null_text_embed = nn.Parameter(torch.zeros(config.embed_dim))
            self.null_text_hidden = nn.Parameter(torch.zeros(config.text_width))

    def forward(
        self,
        image_embed: Float[Tensor, "batch dim"],
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch text_tokens text_width"],
        text_mask: Bool[Tensor, "batch text_tokens"],
        drop_image: Bool[Tensor, " batch"],
        drop_text: Bool[Tensor, " batch"] | None,
    ) -> Conditioning:
        """Projects the embeddings; a dropped row gets the learned null.

        `drop_text` is None for a model without a learned text null, whose null text is the empty
        prompt and comes in from outside.
        """
        null = self.learned_classifier_free_guidance_embeddings
        image_embed = torch.where(drop_image[:, None], null, image_embed)
        if drop_text is not None:
            text_embed = torch.where(drop_text[:, None], self.null_text_embed, text_embed)
            text_hidden = torch.where(drop_text[:, None, None], self.null_text_hidden, text_hidden)
            text_mask = torch.where(drop_text[:, None], _first_only(text_mask), text_mask)

        embed = self.embedding_proj(text_embed)
        embed = embed + self.clip_image_embeddings_project_to_time_embeddings(image_embed)

        # Channel-major, as Karlo's: element c * tokens + k is channel c of token k.
        image_tokens = rearrange(
            self.clip_extra_context_tokens_proj(image_embed),
            "b (c k) -> b k c",
            k=self.num_image_tokens,
        )
        # CLIP's states know their positions; these blocks look both ways (GLIDE).
        text_tokens = self.encoder_hidden_states_proj(text_hidden)
        text_tokens = run_blocks(self.text_blocks, text_tokens, mask=text_mask[:, None, None, :])
        text_tokens = self.text_encoder_hidden_states_norm(text_tokens)
        tokens = torch.cat([image_tokens, text_tokens], dim=1)
        mask = nn.functional.pad(text_mask, (self.num_image_tokens, 0), value=True)
        return Conditioning(embed, tokens, mask)


def _first_only(mask: Bool[Tensor, "batch tokens"]) -> Bool[Tensor, "batch tokens"]:
    """Marks the first token alone: the one learned token that stands for no text."""
    first = torch.zeros_like(mask)
    first[:, 0] = True
    return first
