"""The autoregressive prior: a causal transformer that writes an image embedding as codes.

It reads [caption, text embedding, dot product, codes] and answers each code from those before it
(unCLIP, arXiv 2204.06125, section 2.2; the codes are `prior.codes`). The dot product of text and
image embedding is told first, so that at sampling a high one can be asked for.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from prior.autoregressive_config import AutoregressiveConfig
from prior.codes import Codes
from unclip.checkpoint import StageFolder, load_tensors
from unclip.config import from_dict, to_dict
from unclip.nn.transformer import TransformerBlock, run_blocks

TEXT_HEAD_DIM = 64


class AutoregressivePrior(nn.Module):
    """Predicts the codes of an image embedding; its buffers turn codes into embeddings."""

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_heads * config.head_dim
        caption = config.text_heads * TEXT_HEAD_DIM if config.text_layers else width
        self.encoder_hidden_states_proj = nn.Linear(config.text_width, caption)
        self.text_blocks = nn.ModuleList(
            TransformerBlock(caption, config.text_heads) for _ in range(config.text_layers)
        )
        if config.text_layers:
            self.text_norm = nn.LayerNorm(caption)
            self.text_proj = nn.Linear(caption, width)
        self.embedding_proj = nn.Linear(config.embed_dim, width)
        self.dot_embedding = nn.Embedding(config.num_buckets, width)
        self.code_embedding = nn.Embedding(config.num_buckets, width)
        length = config.prefix_length + config.num_codes - 1
        self.positional_embedding = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, config.num_heads, config.head_dim)
            for _ in range(config.num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, config.num_buckets)
        for table in (self.dot_embedding, self.code_embedding):
            nn.init.normal_(table.weight, std=0.02)

        self.clip_mean: Tensor
        self.clip_std: Tensor
        self.components: Tensor
        self.code_std: Tensor
        self.dot_edges: Tensor
        self.register_buffer("clip_mean", torch.zeros(1, config.embed_dim))
        self.register_buffer("clip_std", torch.ones(1, config.embed_dim))
        self.register_buffer("components", torch.eye(config.embed_dim)[:, : config.num_codes])
        self.register_buffer("code_std", torch.ones(config.num_codes))
        self.register_buffer("dot_edges", torch.zeros(config.num_buckets - 1))

    @property
    def codes(self) -> Codes:
        """What turns embeddings into codes and back."""
        return Codes(self.clip_mean[0].float(), self.components.float(), self.code_std.float())

    def forward(
        self,
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens text_width"],
        text_mask: Bool[Tensor, "batch tokens"],
        dot: Int[Tensor, " batch"],
        codes: Int[Tensor, "batch codes"],
    ) -> Float[Tensor, "batch codes buckets"]:
        """Returns the logits of every code given the true ones before it, in one pass
        (training)."""
        prefix, mask = self.prefix(text_embed, text_hidden, text_mask, dot)
        known = self.code_tokens(codes[:, :-1], first=0)
        mask = nn.functional.pad(mask, (0, known.shape[1]), value=True)
        tokens = torch.cat([prefix, known], dim=1)
        tokens = run_blocks(
            self.transformer_blocks, tokens, mask=mask[:, None, None, :], causal=True
        )
        return self.answer(tokens[:, prefix.shape[1] - 1 :])

    def prefix(
        self,
        text_embed: Float[Tensor, "batch dim"],
        text_hidden: Float[Tensor, "batch tokens text_width"],
        text_mask: Bool[Tensor, "batch tokens"],
        dot: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch prefix width"], Bool[Tensor, "batch prefix"]]:
        """Returns the tokens before the first code, and which of them there are."""
        caption = self.encoder_hidden_states_proj(text_hidden)
        if self.config.text_layers:
            caption = run_blocks(self.text_blocks, caption, mask=text_mask[:, None, None, :])
            caption = self.text_proj(self.text_norm(caption))
        rest = [self.embedding_proj(text_embed)[:, None], self.dot_embedding(dot)[:, None]]
        tokens = torch.cat([caption, *rest], dim=1)
        mask = nn.functional.pad(text_mask, (0, 2), value=True)
        return tokens + self.positional_embedding[:, : tokens.shape[1]], mask

    def code_tokens(
        self, codes: Int[Tensor, "batch some"], *, first: int
    ) -> Float[Tensor, "batch some width"]:
        """Returns the tokens of neighbouring codes, of which the number `first` is the first."""
        start = self.config.prefix_length + first
        positions = self.positional_embedding[:, start : start + codes.shape[1]]
        return self.code_embedding(codes) + positions

    def answer(
        self, tokens: Float[Tensor, "batch some width"]
    ) -> Float[Tensor, "batch some buckets"]:
        """Reads the logits of the code after each token."""
        return self.to_logits(self.norm_out(tokens))

    def encode(self, image_embed: Float[Tensor, "batch dim"]) -> Int[Tensor, "batch codes"]:
        """Turns embeddings into codes."""
        return self.codes.encode(image_embed, self.config.num_buckets)

    def decode(self, codes: Int[Tensor, "batch codes"]) -> Float[Tensor, "batch dim"]:
        """Turns codes into embeddings."""
        return self.codes.decode(codes, self.config.num_buckets)

    def whiten(self, image_embed: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Gives every dimension mean 0 and standard deviation 1 over the training pictures."""
        return (image_embed - self.clip_mean) / self.clip_std

    def unwhiten(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Undoes `whiten`."""
        return x * self.clip_std + self.clip_mean

    def dot_buckets(
        self, image_embed: Float[Tensor, "batch dim"], text_embed: Float[Tensor, "batch dim"]
    ) -> Int[Tensor, " batch"]:
        """Returns the buckets of the dot products."""
        return torch.bucketize((image_embed * text_embed).sum(1), self.dot_edges)


def to_stage(
    config: AutoregressiveConfig, tensors: dict[str, Tensor], metadata: dict[str, object]
) -> StageFolder:
    """Returns what is written to disk; `metadata["clip"]` is the CLIP's fingerprint."""
    return StageFolder("prior", to_dict(config), metadata, tensors, {})


def from_stage(
    folder: StageFolder, *, dtype: torch.dtype | None = torch.float32
) -> AutoregressivePrior:
    """Builds a prior in evaluation mode from a stage folder's content.

    Args:
        dtype: of its weights; None keeps them as they are stored.
    """
    config = from_dict(AutoregressiveConfig, folder.config, "prior/config.json")
    with torch.device("meta"):
        prior = AutoregressivePrior(config)
    load_tensors(prior, folder.tensors, "prior/model.safetensors", dtype=dtype)
    return prior.eval()
