"""The diffusion prior: a causal transformer that predicts a CLIP image embedding.

It reads [text tokens, text embedding, time, noised image embedding, query] and answers at the query
(unCLIP, arXiv 2204.06125, section 2.2). The text comes first and attention is causal, so all that
depends on the text alone is run once a picture (`prepare`); a sampling step runs three tokens.
Parameter names are those of diffusers' PriorTransformer.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from prior.config import PriorConfig
from unclip.checkpoint import StageFolder, load_tensors
from unclip.clip.features import TextFeatures
from unclip.config import from_dict, to_dict
from unclip.nn.embeddings import TimestepEmbedding, sinusoid
from unclip.nn.transformer import KeyValues, TransformerBlock, extend, prefill, run_blocks

EXTRA_TOKENS = 4  # text embedding, time, noised image embedding, query


class Prefix(NamedTuple):
    """The text, run through the transformer once."""

    cache: list[KeyValues]
    mask: Bool[Tensor, "batch prefix"]

    def repeat(self, times: int) -> "Prefix":
        """Repeats every row `times` times, neighbours first."""
        cache = [KeyValues(*(x.repeat_interleave(times, 0) for x in layer)) for layer in self.cache]
        return Prefix(cache, self.mask.repeat_interleave(times, 0))

    def half(self) -> "Prefix":
        """Returns the first half of the rows: those with the condition."""
        rows = len(self.mask) // 2
        return Prefix([layer.first(rows) for layer in self.cache], self.mask[:rows])


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
        x_t: Float[Tensor, "batch dim"],
        t: Num[Tensor, " batch"],
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens width"],
        text_mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch dim"]:
        """Predicts the whitened x_start from whitened x_t, in one pass over all tokens
        (training)."""
        prefix, prefix_mask = self._prefix_tokens(text_embed, text_hidden, text_mask)
        tokens = torch.cat([prefix, self._step_tokens(x_t, t)], dim=1)
        mask = nn.functional.pad(prefix_mask, (0, EXTRA_TOKENS - 1), value=True)
        tokens = run_blocks(
            self.transformer_blocks, tokens, mask=mask[:, None, None, :], causal=True
        )
        return self._answer(tokens)

    def prepare(self, text: TextFeatures) -> Prefix:
        """Runs the text, which no step changes, through the transformer once."""
        tokens, mask = self._prefix_tokens(text.embed, text.hidden, text.mask)
        return Prefix(prefill(self.transformer_blocks, tokens, mask=mask), mask)

    def step(
        self, x_t: Float[Tensor, "batch dim"], t: Num[Tensor, " batch"], prefix: Prefix
    ) -> Float[Tensor, "batch dim"]:
        """Equals `forward`, with the text taken from `prefix`."""
        tokens = self._step_tokens(x_t, t)
        tokens = extend(self.transformer_blocks, tokens, prefix.cache, prefix_mask=prefix.mask)
        return self._answer(tokens)

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

    def _step_tokens(self, x_t: Tensor, t: Tensor) -> Tensor:
        width = self.proj_in.out_features
        time = self.time_embedding(sinusoid(t, width).to(x_t.dtype))
        query = self.prd_embedding[:, 0].expand(len(x_t), -1)
        tokens = torch.stack([time, self.proj_in(x_t), query], dim=1)  # (B, 3, W)
        return tokens + self.positional_embedding[:, -3:]

    def _answer(self, tokens: Tensor) -> Tensor:
        return self.proj_to_clip_embeddings(self.norm_out(tokens[:, -1]))


def to_stage(
    config: PriorConfig, tensors: dict[str, Tensor], metadata: dict[str, object]
) -> StageFolder:
    """Returns what is written to disk; `metadata["clip"]` is the CLIP's fingerprint."""
    return StageFolder("prior", to_dict(config), metadata, tensors, {})


def from_stage(folder: StageFolder) -> Prior:
    """Builds a prior in evaluation mode from a stage folder's content."""
    config = from_dict(PriorConfig, folder.config, "prior/config.json")
    with torch.device("meta"):
        prior = Prior(config)
    load_tensors(prior, folder.tensors, "prior/model.safetensors")
    return prior.eval()
