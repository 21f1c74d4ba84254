"""The diffusion prior: a causal transformer that predicts a CLIP image embedding.

It reads [text tokens, text embedding, time, noised image embedding, query] and answers at the query
(unCLIP, arXiv 2204.06125, section 2.2). The text comes first and attention is causal, so all that
depends on the text or the time alone is run before sampling begins (`prior.steps`).
Parameter names are those of diffusers' PriorTransformer.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from prior.config import PriorConfig
from prior.packing import packed_mask
from unclip.checkpoint import StageFolder, load_tensors
from unclip.clip.features import TextFeatures
from unclip.config import from_dict, to_dict
from unclip.nn.embeddings import TimestepEmbedding, sinusoid
from unclip.nn.transformer import TransformerBlock, run_blocks

EXTRA_TOKENS = 4  # text embedding, time, noised image embedding, query
DRAW_TOKENS = 3  # those after the text embedding: every noised draw has its own


class Prior(nn.Module):
    """Predicts x_start in whitened CLIP space; `clip_mean` and `clip_std` undo the whitening."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_heads * config.head_dim
        self.time_embedding = TimestepEmbedding(width, width)
        self.proj_in = nn.Linear(config.embed_dim, width)
        self.embedding_proj = nn.Linear(config.embed_dim, width)
        self.encoder_hidden_states_proj = nn.Linear(config.text_width, width)
        length = config.context_length + EXTRA_TOKENS
        self.positional_embedding = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.prd_embedding = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, config.num_heads, config.head_dim)
            for _ in range(config.num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = nn.Linear(width, config.embed_dim)
        self.clip_mean: Tensor
        self.clip_std: Tensor
        self.register_buffer("clip_mean", torch.zeros(1, config.embed_dim))
        self.register_buffer("clip_std", torch.ones(1, config.embed_dim))

    def forward(
        self,
        x_t: Float[Tensor, "rows dim"],
        t: Num[Tensor, " rows"],
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens width"],
        text_mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "rows dim"]:
        """Predicts the whitened x_start from whitened x_t, in one pass over all tokens
        (training).

        With more rows than texts each text is for so many neighbouring rows, and is run once for
        them: their tokens stand one draw after the other, and no draw sees another (`packed_mask`).
        """
        draws = len(x_t) // len(text_embed)
        prefix, prefix_mask = self._prefix_tokens(text_embed, text_hidden, text_mask)
        time = self._time(t)[:, None] + self.positional_embedding[:, -3:-2]
        own = torch.cat([time, self.new_tokens(x_t)], dim=1)  # (rows, 3, width)
        own = rearrange(own, "(b k) n w -> b (k n) w", k=draws)
        mask = packed_mask(prefix_mask, draws, DRAW_TOKENS)
        tokens = run_blocks(
            self.transformer_blocks, torch.cat([prefix, own], dim=1), mask=mask[:, None]
        )
        own = rearrange(tokens[:, prefix.shape[1] :], "b (k n) w -> (b k) n w", k=draws)
        return self.answer(own)

    def prefixes(self, text: TextFeatures) -> list[Float[Tensor, "_ width"]]:
        """Returns each text's own tokens, without padding, before the transformer."""
        text = text.to(dtype=self.proj_in.weight.dtype)
        tokens, mask = self._prefix_tokens(text.embed, text.hidden, text.mask)
        return [row[valid] for row, valid in zip(tokens, mask, strict=True)]

    def time_tokens(self, times: Sequence[int]) -> Float[Tensor, "times width"]:
        """Returns the token of each time, before the transformer."""
        t = torch.tensor(times, device=self.proj_in.weight.device)
        return self._time(t) + self.positional_embedding[0, -3]

    def new_tokens(self, x_t: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 2 width"]:
        """Returns the tokens that stand after the time: the noised embedding and the query."""
        query = self.prd_embedding[:, 0].expand(len(x_t), -1)
        tokens = torch.stack([self.proj_in(x_t), query], dim=1)
        return tokens + self.positional_embedding[:, -2:]

    def answer(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch dim"]:
        """Reads the prediction from the last token after the transformer, the query."""
        return self.proj_to_clip_embeddings(self.norm_out(tokens[:, -1]))

    def whiten(self, image_embed: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Gives every dimension mean 0 and standard deviation 1 over the training pictures."""
        return (image_embed - self.clip_mean) / self.clip_std

    def unwhiten(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Undoes `whiten`."""
        return x * self.clip_std + self.clip_mean

    def _prefix_tokens(
        self, text_embed: Tensor, text_hidden: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = torch.cat(
            [
                self.encoder_hidden_states_proj(text_hidden),
                self.embedding_proj(text_embed)[:, None],
            ],
            dim=1,
        )
        mask = nn.functional.pad(text_mask, (0, 1), value=True)
        return tokens + self.positional_embedding[:, : tokens.shape[1]], mask

    def _time(self, t: Tensor) -> Tensor:
        wave = sinusoid(t, self.proj_in.out_features)
        return self.time_embedding(wave.to(self.proj_in.weight.dtype))


def to_stage(
    config: PriorConfig, tensors: dict[str, Tensor], metadata: dict[str, object]
) -> StageFolder:
    """Returns what is written to disk; `metadata["clip"]` is the CLIP's fingerprint."""
    return StageFolder("prior", to_dict(config), metadata, tensors, {})


def from_stage(folder: StageFolder, *, dtype: torch.dtype | None = torch.float32) -> Prior:
    """Builds a prior in evaluation mode from a stage folder's content.

    Args:
        dtype: of its weights; None keeps them as they are stored.
    """
    config = from_dict(PriorConfig, folder.config, "prior/config.json")
    with torch.device("meta"):
        prior = Prior(config)
    load_tensors(prior, folder.tensors, "prior/model.safetensors", dtype=dtype)
    return prior.eval()
