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

from unclip.data.captioned import FolderPiece, Piece, TarPiece
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
from unclip.data.retrieval import RetrievalPiece
from unclip.data.samples import fit_square, open_picture, to_tensor
from unclip.data.tars import RawSample, Skips
from unclip.errors import ConfigError, DataError
from unclip.training.companions import FrozenClip

BATCH = 256
"""Pictures that CLIP sees at a time; fixed, so that no setting changes what is written."""
COMPARED = 256
SAME_COSINE = 0.999
"""Of a text embedding that another program computed with the same CLIP, and ours."""


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
        ConfigError: no such type of number, or the folder cannot be written or holds other
            embeddings.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype {dtype} cannot be used: choose {' or '.join(DTYPES)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}") from error
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
    if isinstance(piece, RetrievalPiece):
        rows = piece.rows(skips)
        check_texts(work.clip, rows, f"part {piece.number} of {piece.root}")
    else:
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


def check_texts(clip: FrozenClip, rows: Rows, where: str) -> None:
    """Compares text embeddings of another program's with what this CLIP says of the captions.

    Raises:
        DataError: they are of another CLIP, or normalised, or there is none to compare.
    """
    remedy = "embed the pictures themselves"
    if not rows.keys:
        raise DataError(f"{where} has no usable row that would show its CLIP: {remedy}")
    theirs = torch.from_numpy(rows.text_embeds[:COMPARED].astype(np.float32))
    captions = [_plain(captions[0]) for captions in rows.captions[:COMPARED]]
    ours = clip.text(captions).embed.float().cpu()
    if theirs.shape != ours.shape:
        raise DataError(
            f"{where} has embeddings of {theirs.shape[1]}, this CLIP's are of {ours.shape[1]}: "
            f"name the CLIP that made them, or {remedy}"
        )
    # float16 keeps a cosine to 1e-6; another program's attention in half precision to 1e-3.
    cosine = torch.nn.functional.cosine_similarity(theirs, ours)
    alike = float((cosine > SAME_COSINE).float().mean())
    if alike < 1:
        raise DataError(
            f"{where} is of another CLIP: of its first {len(cosine)} text embeddings {alike:.0%} "
            f"are what this one says of the captions: name the CLIP that made them, or {remedy}"
        )
    lengths = theirs.norm(dim=1) / ours.norm(dim=1)
    if not bool(((lengths - 1).abs() < 0.02).all()):
        raise DataError(
            f"{where} has embeddings of {float(lengths.mean()):.3g} times the length that this "
            f"CLIP's tower gives, which the decoder is trained on (clip-retrieval normalises): "
            f"{remedy}"
        )


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


def _seen(work: Embedding, piece: TarPiece | FolderPiece, skips: Skips) -> Iterator[Seen]:
    """Decodes in threads, some pictures ahead, and gives them in their order."""
    size_px = work.clip.clip.config.image.image_size
    pool = ThreadPoolExecutor(work.jobs)
    ahead: list[tuple[RawSample, Future[Tensor | str]]] = []
    raw = piece.samples(skips)
    try:
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
    finally:
        pool.shutdown(cancel_futures=True)


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
