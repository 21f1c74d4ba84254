"""CLIP embeddings of a captioned set, shard by shard: what the prior is trained on.

Each shard gives one part, in the order of the shard, whole or not at all; whoever starts again goes
on with the shards that are not done. Processes share the shards out and write the same files as one
alone would.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unclip.data.captioned import Piece
from unclip.data.embedding_parts import (
    Rows,
    is_whole,
    part_numbers,
    read_part,
    write_manifest,
    write_part,
)
from unclip.data.embeddings import DTYPES, Making, Part, preprocessing
from unclip.data.pictures import DAMAGE
from unclip.data.samples import fit_square, open_picture, to_tensor
from unclip.data.tars import RawSample, Skips
from unclip.errors import ConfigError, DataError
from unclip.training.companions import FrozenClip

BATCH = 256
"""Pictures that CLIP sees at a time; fixed, so that no setting changes what is written."""


@dataclass(frozen=True)
class Embedding:
    """What is made of what, and where."""

    pieces: Sequence[Piece]
    out: Path
    clip: FrozenClip
    making: Making
    jobs: int = 1
    """Threads that decode pictures."""


class Seen(NamedTuple):
    """A picture that is ready for CLIP."""

    key: str
    captions: tuple[str, ...]
    image: Tensor


def plan(pieces: Sequence[Piece], out: Path, clip: FrozenClip, dtype: str, jobs: int) -> Embedding:
    """Compares what is asked for with what the folder holds.

    Raises:
        ConfigError: no such type of number, or the folder holds other embeddings.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype {dtype} cannot be used: choose {' or '.join(DTYPES)}")
    config = clip.clip.config
    if config.text_only:
        raise ConfigError("this CLIP has no image tower, it cannot embed pictures: choose another")
    making = Making(
        clip=clip.fingerprint,
        dim=config.embed_dim,
        dtype=dtype,
        preprocessing=preprocessing(config.image),
    )
    for number in part_numbers(out):
        found = read_part(out, number)
        if found is not None and found[0] != making:
            raise ConfigError(
                f"{out} holds {_told(found[0])}, now they are {_told(making)}: choose another "
                "folder or the same setting"
            )
        if number >= len(pieces):
            raise ConfigError(
                f"{out} holds part {number}, but there are {len(pieces)} shards: choose another "
                "folder, or all shards of this one"
            )
    return Embedding(pieces, out, clip, making, jobs)


def _told(making: Making) -> str:
    return f"{making.dtype} embeddings of the clip {making.clip} ({making.preprocessing})"


def embed_piece(work: Embedding, number: int, skips: Skips) -> Part | None:
    """Embeds a shard, unless that is done already: then it returns None.

    Raises:
        DataError: the shard is damaged, too many samples cannot be used, or nothing can be written.
    """
    piece, done = work.pieces[number], read_part(work.out, number)
    identity = piece.identity()
    if done is not None:
        part = done[1]
        if (part.shard, part.identity) == (piece.name, identity) and is_whole(work.out, part):
            return None
    before = skips.reasons.copy()
    rows = _rows(work, _seen(work, piece, skips))
    skipped = dict(sorted((skips.reasons - before).items()))
    return write_part(
        work.out,
        work.making,
        rows,
        number=number,
        shard=piece.name,
        identity=identity,
        skipped=skipped,
    )


def finish(work: Embedding) -> list[Part]:
    """Writes the manifest when all shards are done; returns the parts.

    Raises:
        DataError: a shard is not done, or there is no embedding at all.
    """
    found = [read_part(work.out, number) for number in range(len(work.pieces))]
    parts = [each[1] for each in found if each is not None]
    if len(parts) < len(found):
        lacking = [work.pieces[i].name for i, each in enumerate(found) if each is None]
        raise DataError(
            f"{len(lacking)} of {len(found)} shards are not embedded ({lacking[0]}): run it again"
        )
    if not any(part.count for part in parts):
        raise DataError(f"none of the samples in {len(parts)} shards can be used")
    write_manifest(work.out, work.making, parts)
    return parts


def _rows(work: Embedding, samples: Iterator[Seen]) -> Rows:
    keys: list[str] = []
    captions: list[tuple[str, ...]] = []
    images, texts = [], []
    while batch := list(islice(samples, BATCH)):
        keys += [each.key for each in batch]
        captions += [each.captions for each in batch]
        images.append(_numbers(work.clip.image(torch.stack([each.image for each in batch]))))
        texts.append(_numbers(work.clip.text([each.captions[0] for each in batch]).embed))
    nothing = np.empty((0, work.making.dim), np.float32)
    return Rows(
        keys, captions, np.concatenate([nothing, *images]), np.concatenate([nothing, *texts])
    )


def _numbers(embeds: Tensor) -> np.ndarray:
    return embeds.float().cpu().numpy()


def _seen(work: Embedding, piece: Piece, skips: Skips) -> Iterator[Seen]:
    """Decodes in threads, some pictures ahead, and gives them in their order."""
    size_px = work.clip.clip.config.image.image_size
    with ThreadPoolExecutor(work.jobs) as pool:
        raw = piece.samples(skips)
        ahead: list[tuple[RawSample, Future[Tensor | str]]] = []
        while True:
            ahead += [
                (sample, pool.submit(_decode, sample, size_px))
                for sample in islice(raw, BATCH - len(ahead))
            ]
            if not ahead:
                return
            sample, future = ahead.pop(0)
            image = future.result()
            if isinstance(image, str):
                skips.bad("picture cannot be decoded", f"{sample.key}: {image}")
                continue
            skips.good()
            yield Seen(sample.key, tuple(map(_plain, sample.captions)), image)


def _decode(sample: RawSample, size_px: int) -> Tensor | str:
    """Returns the picture in [-1, 1], or why there is none."""
    source = BytesIO(sample.image) if isinstance(sample.image, bytes) else sample.image
    try:
        return to_tensor(fit_square(open_picture(source, size_px), size_px))
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return str(error)


def _plain(caption: str) -> str:
    """Without what UTF-8 or the captions' own file has no place for."""
    return caption.encode("utf-8", "replace").decode().replace("\0", " ")
