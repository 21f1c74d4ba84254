"""Another vocabulary than CLIP's own 49408: which ids its tokens have, what stands for the rest.

Hugging Face keeps it as `vocab.json`. CLIP's own follows from its merges and needs none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unclip.errors import CheckpointError, shown

START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens to ids.

    Raises:
        CheckpointError: an id is no number or stands twice, start, end or the unknown token are
            missing, or end of text has not the largest id, which is how it is found.
    """

    ids: Mapping[str, int]
    unknown: str
    """Stands for every character that is in no token."""

    def __post_init__(self) -> None:
        for token, number in self.ids.items():
            if not isinstance(token, str) or type(number) is not int or number < 0:
                raise CheckpointError(f"the vocabulary gives {shown(token)} no id")
        if len(set(self.ids.values())) < len(self.ids):
            raise CheckpointError("the vocabulary gives two tokens one id")
        for token in (START, END, self.unknown):
            if token not in self.ids:
                raise CheckpointError(f"the vocabulary has no token {shown(token)}")
        if self.ids[END] != max(self.ids.values()):
            raise CheckpointError(
                f"the vocabulary's {END} has not the largest id, expected it last"
            )

    def to_bytes(self) -> bytes:
        """Writes it for a stage folder."""
        return json.dumps({"ids": dict(self.ids), "unknown": self.unknown}).encode("utf-8")

    @staticmethod
    def from_bytes(content: bytes) -> "Vocabulary":
        """Reads what `to_bytes` wrote.

        Raises:
            CheckpointError: it is no vocabulary.
        """
        try:
            about: Any = json.loads(content)
            ids, unknown = about["ids"], about["unknown"]
            if not isinstance(ids, dict) or not isinstance(unknown, str):
                raise TypeError("it has no ids or no unknown token")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"vocabulary.json is no vocabulary: {error}") from error
        return Vocabulary(ids, unknown)
