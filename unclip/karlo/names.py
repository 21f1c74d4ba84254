"""The names of Kakao Brain's own files."""

import re

ORIGINAL = {
    "prior": re.compile(r"prior-ckpt-.*\.ckpt"),
    "decoder": re.compile(r"decoder-ckpt-.*\.ckpt"),
    "upsampler": re.compile(r"improved-sr-ckpt-.*\.ckpt"),
    "clip": re.compile(r"ViT-L-14\.pt"),
    "statistics": re.compile(r"ViT-L-14_stats\.th"),
}
"""What each file holds, by the form of its name."""
