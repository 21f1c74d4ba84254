"""Which pictures and captions an evaluation is taken over, and their pixels.

As COCO-30k is used: up to 30,000 pictures are drawn, and of each one of its captions; the model
paints the captions, and the pictures are the real ones that it is compared with.

Every resize is the rule of clean-fid (Parmar et al. 2022, arXiv 2104.11222): Pillow's bicubic,
which averages over what it leaves out, on 8 bits a channel.
"""

import hashlib
import io
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from unclip.data.images import read_folder
from unclip.data.pictures import DAMAGE
from unclip.data.samples import fit_square, open_picture
from unclip.errors import DataError, InputError
from unclip.evaluation.captioned.shards import Packed, find_shards, read_shards

LIMIT = 30_000
"""Pictures, where no number is given."""
THREADS = 8
"""That decode pictures; Pillow works without Python's lock."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A real picture and the caption that is painted."""

    path: Path
    """The picture's file, or the tar that it is in."""
    caption: str
    packed: Packed | None = None

    @property
    def name(self) -> str:
        """For people."""
        return str(self.path) if self.packed is None else f"{self.path}: {self.packed.name}"

    def content(self) -> bytes:
        """Reads the picture's file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                if self.packed is None:
                    return file.read()
                file.seek(self.packed.offset)
                return file.read(self.packed.size)
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {error.strerror or error}") from error


def choose_pairs(folder: str | Path, count: int | None, seed: int) -> list[Pair]:
    """Draws pictures of a captioned folder and a caption of each, in a shuffled order.

    The folder may hold tars of pictures instead (`unclip.evaluation.captioned.shards`). Fewer
    pictures of the same folder and seed are the first ones of more.

    Args:
        count: None is all of them, up to `LIMIT`.

    Raises:
        DataError: the folder has no captioned pictures, or fewer than `count`.
        InputError: `count` is less than two.
    """
    if count is not None and count < 2:
        raise InputError(f"--num is {count}, expected 2 or more pictures")
    root = Path(folder)
    shards = find_shards(root)
    records = read_shards(shards) if shards else read_folder(root)
    if len(records) < (count or 2):
        raise DataError(
            f"{folder} has {len(records)} captioned pictures, expected {count or 2} or more"
        )
    random.Random(f"pairs/{seed}").shuffle(records)
    pairs = []
    for place, record in enumerate(records[: LIMIT if count is None else count]):
        caption = random.Random(f"caption/{seed}/{place}").choice(record.captions)
        packed = record if isinstance(record, Packed) else None
        pairs.append(Pair(record.path, caption, packed))
    return pairs


def digest(pair: Pair) -> str:
    """SHA-256 of a picture's file, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    return hashlib.sha256(pair.content()).hexdigest()


def read_square(pair: Pair, size_px: int) -> Image.Image:
    """Reads a real picture as the model would paint it: its centre square, resized.

    Raises:
        DataError: it cannot be decoded.
    """
    content = pair.content()
    try:
        return fit_square(open_picture(io.BytesIO(content)), size_px)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read {pair.name} ({error}): take it out of the data, or mend it"
        ) from error


def read_squares(pairs: Sequence[Pair], size_px: int) -> list[Image.Image]:
    """Reads several real pictures at once.

    Raises:
        DataError: one cannot be decoded.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda pair: read_square(pair, size_px), pairs))


def stack(images: Sequence[Image.Image], size_px: int) -> UInt8[Tensor, "batch 3 size size"]:
    """Resizes square pictures to what a network takes."""
    side = (size_px, size_px)
    resized = (
        image if image.size == side else image.resize(side, Image.Resampling.BICUBIC)
        for image in images
    )
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in resized])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
