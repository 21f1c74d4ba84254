"""What the text tower gives: an embedding, the tokens' states, and which tokens are text."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Features of a batch of prompts."""

    embed: Float[Tensor, "batch dim"]
    """CLIP's text embedding, not normalised."""
    hidden: Float[Tensor, "batch tokens width"]
    """Token states after the final norm."""
    mask: Bool[Tensor, "batch tokens"]
    """True from the start token to the end token, False on padding."""

    def __len__(self) -> int:
        return len(self.embed)

    def __getitem__(self, rows: slice) -> "TextFeatures":
        return TextFeatures(self.embed[rows], self.hidden[rows], self.mask[rows])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "TextFeatures":
        """Moves and converts; the mask stays boolean."""
        return TextFeatures(
            self.embed.to(device, dtype), self.hidden.to(device, dtype), self.mask.to(device)
        )

    def repeat_interleave(self, times: int) -> "TextFeatures":
        """Repeats every row, neighbours first."""
        return TextFeatures(
            self.embed.repeat_interleave(times, 0),
            self.hidden.repeat_interleave(times, 0),
            self.mask.repeat_interleave(times, 0),
        )

    @staticmethod
    def cat(parts: Sequence["TextFeatures"]) -> "TextFeatures":
        """Joins batches."""
        return TextFeatures(
            torch.cat([part.embed for part in parts]),
            torch.cat([part.hidden for part in parts]),
            torch.cat([part.mask for part in parts]),
        )
