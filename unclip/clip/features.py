"""What CLIP says of a text: all that the prior and the decoder ever see of a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """A batch of encoded prompts."""

    embed: Float[Tensor, "batch dim"]
    """Pooled and projected, in the space shared with pictures; not normalised."""
    hidden: Float[Tensor, "batch tokens width"]
    """State of every token after the final norm."""
    mask: Bool[Tensor, "batch tokens"]
    """True from start to end of text, False on padding."""

    def __len__(self) -> int:
        return len(self.embed)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> "TextFeatures":
        """Selects rows; always a batch again."""
        return TextFeatures(self.embed[rows], self.hidden[rows], self.mask[rows])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "TextFeatures":
        """Moves to a device; `dtype` is of the floating-point parts."""
        return TextFeatures(
            self.embed.to(device=device, dtype=dtype),
            self.hidden.to(device=device, dtype=dtype),
            self.mask.to(device=device),
        )

    def repeat_interleave(self, times: int) -> "TextFeatures":
        """Repeats every row, copies side by side."""
        return TextFeatures(
            self.embed.repeat_interleave(times, 0),
            self.hidden.repeat_interleave(times, 0),
            self.mask.repeat_interleave(times, 0),
        )

    def for_rows(self, rows: int) -> "TextFeatures":
        """Returns itself where it has a row for each picture, else repeats its one row."""
        return self if len(self) == rows else self.repeat_interleave(rows)

    def replace(self, null: "TextFeatures", drop: Bool[Tensor, " batch"]) -> "TextFeatures":
        """Puts the one row of `null` (the empty prompt) in the place of the rows marked in
        `drop`."""
        return TextFeatures(
            torch.where(drop[:, None], null.embed, self.embed),
            torch.where(drop[:, None, None], null.hidden, self.hidden),
            torch.where(drop[:, None], null.mask, self.mask),
        )

    @staticmethod
    def cat(parts: Sequence["TextFeatures"]) -> "TextFeatures":
        """Joins batches row after row."""
        return TextFeatures(
            torch.cat([part.embed for part in parts]),
            torch.cat([part.hidden for part in parts]),
            torch.cat([part.mask for part in parts]),
        )
