"""CLIP's two towers on the transformer of `unclip.nn` (Radford et al. 2021, section 2.4)."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.nn.transformer import TransformerBlock, run_blocks


class TextTower(nn.Module):
    """Token ids to the states of all tokens, and the end-of-text state projected."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        text = config.text
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.position_embedding = nn.Parameter(torch.randn(text.context_length, text.width) * 0.01)
        self.blocks = _blocks(config, text)
        self.final_norm = nn.LayerNorm(text.width, eps=config.eps)
        self.projection = nn.Linear(text.width, config.embed_dim, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(
        self, ids: Int[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch tokens width"]]:
        """Returns the embedding, not normalised, and the token states after the final norm."""
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        hidden = self.final_norm(run_blocks(self.blocks, x, causal=True))
        # End of text has the largest id, so argmax finds it; of several, the first.
        rows = torch.arange(len(ids), device=ids.device)
        pooled = hidden[rows, ids.argmax(dim=1)]
        return self.projection(pooled), hidden


class ImageTower(nn.Module):
    """Normalised square pictures to embeddings: the class token's last state, projected."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        image = config.image
        patch = image.patch_size
        self.patch_embedding = nn.Conv2d(3, image.width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(image.width) * image.width**-0.5)
        tokens = 1 + (image.image_size // patch) ** 2
        self.position_embedding = nn.Parameter(torch.randn(tokens, image.width) * image.width**-0.5)
        self.pre_norm = nn.LayerNorm(image.width, eps=config.eps)
        self.blocks = _blocks(config, image)
        self.post_norm = nn.LayerNorm(image.width, eps=config.eps)
        self.projection = nn.Linear(image.width, config.embed_dim, bias=False)

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Returns embeddings, not normalised."""
        patches = rearrange(self.patch_embedding(images), "b d h w -> b (h w) d")
        first = self.class_embedding.expand(len(images), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.position_embedding  # (B, 1 + patches, W)
        x = run_blocks(self.blocks, self.pre_norm(x))
        return self.projection(self.post_norm(x[:, 0]))


def _blocks(config: CLIPConfig, tower: TextConfig | ImageConfig) -> nn.ModuleList:
    return nn.ModuleList(
        TransformerBlock(
            tower.width,
            tower.num_heads,
            mlp_dim=tower.mlp_dim,
            activation=config.activation,
            eps=config.eps,
        )
        for _ in range(tower.num_layers)
    )
