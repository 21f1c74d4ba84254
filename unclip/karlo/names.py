"""The names of Kakao Brain's own files, and of the licence of Karlo's weights in any layout."""

from fnmatch import fnmatchcase

LICENCE = "creativeml-openrail-m"
"""Of Karlo's weights and of all that is made from them."""

PRIOR = "prior-ckpt-*.ckpt"
DECODER = "decoder-ckpt-*.ckpt"
UPSAMPLER = "improved-sr-ckpt-*.ckpt"
CLIP = "ViT-L-14.pt"
STATISTICS = "ViT-L-14_stats.th"


def is_original(name: str) -> bool:
    """Whether a file's name is that of one of Kakao Brain's."""
    return any(
        fnmatchcase(name, pattern) for pattern in (PRIOR, DECODER, UPSAMPLER, CLIP, STATISTICS)
    )
