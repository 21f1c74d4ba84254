"""CLIP (Radford et al. 2021, arXiv 2103.00020): both towers on the house's transformer.

open_clip trains it and costs seconds to import; at generation time this is all that is needed.
"""

import hashlib
import json
import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from unclip.clip.config import CLIPConfig, ImageConfig
from unclip.clip.features import TextFeatures
from unclip.clip.tokenize import Tokenizer
from unclip.config import to_dict
from unclip.errors import ConfigError, InputError
from unclip.nn.transformer import TransformerBlock, run_blocks


class TextTower(nn.Module):
    """Token and position embeddings, causal blocks, final norm, projection at the end token."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        text = config.text
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.position_embedding = nn.Parameter(torch.randn(text.context_length, text.width) * 0.01)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                text.width,
                text.num_heads,
                mlp_dim=text.mlp_dim,
                activation=config.activation,
                eps=config.eps,
            )
            for _ in range(text.num_layers)
        )
        self.final_norm = nn.LayerNorm(text.width, eps=config.eps)
        self.projection = nn.Linear(text.width, config.embed_dim, bias=False)

    def forward(
        self, ids: Int[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch tokens width"]]:
        """Returns the embedding and the token states.

        The end token has the largest id, so its place is where the ids peak. Padding comes after it
        and is never seen, since the tower is causal.
        """
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        x = self.final_norm(run_blocks(self.blocks, x, causal=True))
        at_end = x[torch.arange(len(x), device=x.device), ids.argmax(dim=1)]
        return self.projection(at_end), x


class ImageTower(nn.Module):
    """Patches with a class token, blocks, norm and projection of the class token."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        image = config.image
        patches = (image.image_size // image.patch_size) ** 2
        self.patch_embedding = nn.Conv2d(
            3, image.width, image.patch_size, stride=image.patch_size, bias=False
        )
        self.class_embedding = nn.Parameter(torch.randn(image.width) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(patches + 1, image.width) * 0.02)
        self.pre_norm = nn.LayerNorm(image.width, eps=config.eps)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                image.width,
                image.num_heads,
                mlp_dim=image.mlp_dim,
                activation=config.activation,
                eps=config.eps,
            )
            for _ in range(image.num_layers)
        )
        self.post_norm = nn.LayerNorm(image.width, eps=config.eps)
        self.projection = nn.Linear(image.width, config.embed_dim, bias=False)

    def forward(self, pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Embeds normalised pictures of the tower's size."""
        patches = rearrange(self.patch_embedding(pixels), "b c h w -> b (h w) c")
        first = self.class_embedding.expand(len(pixels), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.position_embedding
        x = run_blocks(self.blocks, self.pre_norm(x))
        return self.projection(self.post_norm(x[:, 0]))


class CLIP(nn.Module):
    """Embeds prompts and pictures in one space."""

    def __init__(self, config: CLIPConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        if tokenizer.vocab_size != config.text.vocab_size:
            raise ConfigError(
                f"clip: the tokenizer has {tokenizer.vocab_size} entries, the text tower "
                f"{config.text.vocab_size}"
            )
        self.config, self.tokenizer = config, tokenizer
        self.text = TextTower(config)
        self.image = ImageTower(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Embeds prompts; words that do not fit into the context are cut off."""
        ids, mask = self.tokenizer(prompts)
        device = self.logit_scale.device
        return self.encode_tokens(ids.to(device), mask.to(device))

    def encode_tokens(
        self, ids: Int[Tensor, "batch tokens"], mask: Bool[Tensor, "batch tokens"]
    ) -> TextFeatures:
        """Embeds token ids, padded with 0 after the end token."""
        embed, hidden = self.text(ids)
        return TextFeatures(embed, hidden, mask)

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Embeds pictures in [-1, 1] of any size, not normalised.

        The shorter side is resized to the tower's (bicubic, antialiased) and the centre is cropped.
        """
        pixels = prepare_pixels(images.float(), self.config.image)
        return self.image(pixels.to(self.logit_scale.dtype))

    def classify(
        self, image: Float[Tensor, "batch 3 height width"], labels: Sequence[str]
    ) -> Float[Tensor, "batch labels"]:
        """Returns how probable each label is for each picture in [-1, 1]; rows sum to 1.

        Raises:
            InputError: there are no labels.
        """
        if not labels:
            raise InputError("classify needs at least one label")
        pictures = normalize(self.encode_image(image), dim=1)
        words = normalize(self.encode_text(labels).embed, dim=1)
        return (self.logit_scale.exp() * pictures @ words.T).softmax(dim=1)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any weight, the shape, or the vocabulary.

        Stages store it as the CLIP they were trained on. Weights count rounded to float16, as they
        may be stored.
        """
        digest = hashlib.sha256(json.dumps(to_dict(self.config), sort_keys=True).encode())
        digest.update(self.tokenizer.merges_text().encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def prepare_pixels(
    images: Float[Tensor, "batch 3 height width"], config: ImageConfig
) -> Float[Tensor, "batch 3 size size"]:
    """Resizes, crops and normalises pictures in [-1, 1] for the image tower."""
    size = config.image_size
    height, width = images.shape[-2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        resized = (max(size, round(height * scale)), max(size, round(width * scale)))
        images = interpolate(images, resized, mode="bicubic", antialias=True).clamp(-1, 1)
        top, left = (resized[0] - size) // 2, (resized[1] - size) // 2
        images = images[..., top : top + size, left : left + size]
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    return (images * 0.5 + 0.5 - mean) / std
