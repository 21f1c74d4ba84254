"""CLIP: prompts and pictures into one space (Radford et al. 2021)."""

import hashlib
import json
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unclip.clip.config import CLIPConfig, ImageConfig
from unclip.clip.features import TextFeatures
from unclip.clip.tokenize import Tokenizer
from unclip.clip.towers import ImageTower, TextTower
from unclip.config import to_dict
from unclip.errors import ConfigError, InputError


class CLIP(nn.Module):
    """Both towers, the tokenizer, and the learned scale of their cosine."""

    def __init__(
        self, config: CLIPConfig, tokenizer: Tokenizer, *, fingerprint: str | None = None
    ) -> None:
        """Builds random weights.

        Args:
            fingerprint: the name that the weights to be loaded were saved under; None computes it.

        Raises:
            ConfigError: the tokenizer has another vocabulary or length than the text tower.
        """
        super().__init__()
        text = config.text
        if (tokenizer.vocab_size, tokenizer.context_length) != (
            text.vocab_size,
            text.context_length,
        ):
            raise ConfigError(
                f"the tokenizer has {tokenizer.vocab_size} tokens and prompts of "
                f"{tokenizer.context_length}, the text tower {text.vocab_size} and "
                f"{text.context_length}: build both from one configuration"
            )
        self.config = config
        self.tokenizer = tokenizer
        self.text = TextTower(config)
        if not config.text_only:
            self.image = ImageTower(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._fingerprint = fingerprint

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        """Encodes prompts; what does not fit into the context is cut."""
        ids, mask = self.tokenizer(prompts)
        device = self.logit_scale.device
        return self.encode_tokens(ids.to(device), mask.to(device))

    def encode_tokens(
        self, ids: Int[Tensor, "batch tokens"], mask: Bool[Tensor, "batch tokens"]
    ) -> TextFeatures:
        """Encodes token ids, padded with 0; `mask` is True from start to end of text.

        The mask is handed on, not used: the tower is causal and reads the end of text, which stands
        before all padding.
        """
        embed, hidden = self.text(ids)
        return TextFeatures(embed, hidden, mask)

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Encodes pictures in [-1, 1] of any size; the embeddings are not normalised.

        Raises:
            InputError: this CLIP has no image tower.
        """
        if self.config.text_only:
            raise InputError(
                "this model reads prompts alone, its CLIP has no image tower: take one of image "
                "variations, kakaobrain/karlo-v1-alpha-image-variations for instance"
            )
        weight = self.image.projection.weight
        images = prepare_images(images.to(weight.device), self.config.image)
        return self.image(images.to(weight.dtype))

    def classify(
        self, image: Float[Tensor, "batch 3 height width"], labels: Sequence[str]
    ) -> Float[Tensor, "batch labels"]:
        """Returns the probability of each label for each picture in [-1, 1]; rows sum to 1.

        Raises:
            InputError: there are no labels.
        """
        if not labels:
            raise InputError("classify got no labels: give one text or more")
        images = functional.normalize(self.encode_image(image).float(), dim=-1)
        texts = functional.normalize(self.encode_text(labels).embed.float(), dim=-1)
        return (self.logit_scale.float().exp() * images @ texts.T).softmax(dim=-1)

    def fingerprint(self) -> str:
        """Names shape, vocabulary and weights in 16 hexadecimal digits.

        The prior and the decoder keep the name of the CLIP they were trained on. Weights count
        rounded to float16, as they may be stored. A CLIP from a stage folder keeps the name that it
        was saved under, whatever it is cast to.
        """
        if self._fingerprint is not None:
            return self._fingerprint
        shape = to_dict(self.config)
        del shape["text_only"]  # the tensors' names tell
        del shape["text"]["clean"]  # which prompts become which ids; the ids mean the same
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
        digest.update(self.tokenizer.merges_file())
        digest.update(self.tokenizer.vocabulary_file() or b"")
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def prepare_images(
    images: Float[Tensor, "batch 3 height width"], config: ImageConfig
) -> Float[Tensor, "batch 3 size size"]:
    """Turns pictures in [-1, 1] into what the image tower was trained on, in float32.

    The shorter side is resized (bicubic, antialiased), the centre cropped, mean and std applied.
    """
    images, size = images.float(), config.image_size
    height, width = images.shape[-2:]
    if (height, width) != (size, size):
        short = min(height, width)
        target = (size * height // short, size * width // short)
        # Bicubic overshoots; a picture that goes through 8 bits would be cut there, too.
        images = functional.interpolate(images, target, mode="bicubic", antialias=True).clamp(-1, 1)
        top, left = (target[0] - size) // 2, (target[1] - size) // 2
        images = images[..., top : top + size, left : left + size]
    mean = torch.tensor(config.mean, device=images.device)[:, None, None]
    std = torch.tensor(config.std, device=images.device)[:, None, None]
    return ((images + 1) / 2 - mean) / std
