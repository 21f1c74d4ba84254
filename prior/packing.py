"""Several noised draws after one text: who sees whom.

The prior is causal and its text comes first, so the text's states do not depend on what follows.
Its prefix is run once for all draws of a caption, each draw's tokens see the prefix and their own
draw alone, and every draw's answer is the one it would get by itself.
"""

import torch
from jaxtyping import Bool
from torch import Tensor


def packed_mask(
    prefix_mask: Bool[Tensor, "batch prefix"], draws: int, draw_tokens: int
) -> Bool[Tensor, "batch tokens tokens"]:
    """Says which token sees which: True at (query, key).

    The tokens are the prefix and `draws` groups of `draw_tokens`. Within the prefix and within a
    group attention is causal; a group sees the whole prefix and no other group.

    Args:
        prefix_mask: False on padding, which nothing sees.
    """
    device, prefix = prefix_mask.device, prefix_mask.shape[1]
    place = torch.arange(prefix + draws * draw_tokens, device=device)
    group = torch.where(place < prefix, -1, (place - prefix) // draw_tokens)
    same_or_prefix = (group[:, None] == group[None]) | (group[None] == -1)
    allowed = same_or_prefix & (place[None] <= place[:, None])
    valid = torch.nn.functional.pad(prefix_mask, (0, draws * draw_tokens), value=True)
    return allowed & valid[:, None]
