"""Paints the captions of an evaluation, batch after batch, and keeps what is painted.

A batch is the same whatever the number of processes, and so are its numbers: batches, not pictures,
are dealt out. A kept picture's name tells its place and all that it depends on, so an evaluation
that was stopped goes on where it was, and one with other settings takes none of its pictures.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unclip.cli.eval_networks import Networks
from unclip.cli.outputs import Plan, write
from unclip.cli.pictures import Order, picture_record
from unclip.config import to_dict
from unclip.errors import CancelledError, InputError
from unclip.evaluation.captioned.extractors import Extractor
from unclip.evaluation.captioned.pairs import stack
from unclip.pipeline.devices import dtype_name
from unclip.pipeline.output import Picture
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.settings import Settings
from unclip.provenance.metadata import encode_png
from unclip.provenance.record import Sampling

THUMB_PX = 128


@dataclass
class Share:
    """What one process has to tell of its pictures."""

    places: list[int] = field(default_factory=list)
    features: dict[str, list[Tensor]] = field(default_factory=dict)
    """By network, a batch each."""
    embeds: list[Tensor] = field(default_factory=list)
    """What the prior made of the captions."""
    thumbs: dict[int, bytes] = field(default_factory=dict)
    """Small WebP pictures for the page, by place."""
    resumed: int = 0

    def see(self, networks: dict[str, Extractor], images: Sequence[Image.Image]) -> None:
        """Adds the features of pictures."""
        for key, network in networks.items():
            self.features.setdefault(key, []).append(see(network, images))


def see(network: Extractor, images: Sequence[Image.Image]) -> Tensor:
    """Returns the features of square pictures, (batch, dim)."""
    return network.see(stack(images, network.size_px))


def merged(shares: Sequence[Share], key: str | None, count: int) -> Tensor:
    """Puts the processes' rows in the order of their places.

    Args:
        key: of a network's features; None is the prior's embeddings.
    """
    found = None
    for share in shares:
        if share.places:
            rows = torch.cat(share.embeds if key is None else share.features[key])
            found = rows.new_empty(count, rows.shape[1]) if found is None else found
            found[share.places] = rows
    assert found is not None, "there are pictures"
    return found


class Painter:
    """Paints captions with fixed seeds."""

    def __init__(
        self,
        pipe: UnCLIPPipeline,
        captions: Sequence[str],
        seed: int,
        settings: Settings,
        keep: Path | None,
        stopped: Callable[[], int],
    ) -> None:
        """Takes what to paint.

        Args:
            seed: of the first picture; the next ones count up.
            keep: folder of the pictures; None keeps none.
            stopped: the number of the signal that came, or 0.

        Raises:
            InputError: a setting cannot be used, or the folder cannot be written.
        """
        if keep is not None:
            _make_folder(keep)
        self.pipe, self.captions, self.settings, self.keep = pipe, captions, settings, keep
        self.seeds = [seed + place for place in range(len(captions))]
        self.sampling: Sampling = pipe.settings(**settings)
        self.stopped = stopped
        self.painted = 0

    def share(
        self, batches: Sequence[range], networks: Networks, advance: Callable[[], None]
    ) -> Share:
        """Paints batches, or reads them where they are kept.

        Raises:
            CancelledError: a signal stopped it.
        """
        share = Share()
        for rows in batches:
            images, embeds = self.batch(rows)
            share.resumed += 0 if self.fresh else len(rows)
            share.places += rows
            share.see(networks.by_key, images)
            share.embeds.append(embeds)
            share.thumbs |= {place: thumb(image) for place, image in zip(rows, images, strict=True)}
            for _ in rows:
                advance()
            self.check()
        return share

    def batch(self, rows: range) -> tuple[list[Image.Image], Tensor]:
        """Returns a batch's pictures and what the prior made of its captions.

        Raises:
            CancelledError: a signal stopped it.
        """
        paths = self.paths(rows)
        kept = [self._kept(path) for path in paths]
        images = [image for image in kept if image is not None]
        self.fresh = len(images) < len(rows)
        if not self.fresh:
            return images, self._predict(rows)
        made: dict[int, Picture] = {}

        def note(picture: Picture) -> None:
            made[picture.index] = picture

        self.pipe(
            [self.captions[place] for place in rows],
            seed=[self.seeds[place] for place in rows],
            batch_size=len(rows),
            output_type=None,
            on_image=note,
            callback_on_step_end=self._step,
            **self.settings,
        )
        if len(made) < len(rows):
            self.check()
        pictures = [made[i] for i in range(len(rows))]
        for path, picture, before in zip(paths, pictures, kept, strict=True):
            if path is not None and before is None:
                write(path, encode_png(picture.image, self._record(picture)), force=True)
        self.painted += len(rows)
        return [picture.image for picture in pictures], torch.stack(
            [picture.image_embed for picture in pictures]
        )

    def paths(self, rows: range) -> list[Path | None]:
        """Where a batch's pictures are kept."""
        if self.keep is None:
            return [None] * len(rows)
        about = {
            "model": to_dict(self.pipe.record),
            "sampling": to_dict(self.sampling),
            "dtype": dtype_name(self.pipe.dtype),
            "prompts": [self.captions[place] for place in rows],
            "seeds": [self.seeds[place] for place in rows],
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        return [self.keep / f"{place:06d}-{key}.png" for place in rows]

    def check(self) -> None:
        """Ends the evaluation after a signal.

        Raises:
            CancelledError: there was one.
        """
        if number := self.stopped():
            kept = "none is kept (--keep DIR keeps them)"
            if self.keep is not None:
                kept = (
                    f"what was painted is kept in {self.keep}: the same command goes on from there"
                )
            error = CancelledError(f"stopped by a signal; {kept}")
            error.exit_code = 128 + number
            raise error

    def _kept(self, path: Path | None) -> Image.Image | None:
        """Reads a kept picture; None where there is none, or it is damaged and is painted again."""
        if path is None or not path.is_file():
            return None
        try:
            with Image.open(path, formats=("PNG",)) as image:
                image.load()
                side = self.sampling.size
                return image.convert("RGB") if image.size == (side, side) else None
        except (OSError, SyntaxError, ValueError):
            return None

    def _predict(self, rows: range) -> Tensor:
        """The prior's embeddings of a batch: those that it was painted from."""
        return (
            self.pipe.sample_prior(
                self.pipe.encode_text([self.captions[place] for place in rows]),
                num_inference_steps=self.sampling.prior_steps,
                guidance_scale=self.sampling.prior_guidance,
                seed=[self.seeds[place] for place in rows],
            )
            .float()
            .cpu()
        )

    def _step(self, pipe: UnCLIPPipeline, *_: Any) -> None:
        pipe._interrupt = bool(self.stopped())

    def _record(self, picture: Picture) -> Any:
        order = Order(plan=Plan((), None, False), seeds=())
        return picture_record(self.pipe, order, self.sampling, picture)


def _make_folder(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=keep):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--keep {keep} cannot be written: {reason}; choose another") from error


def thumb(image: Image.Image) -> bytes:
    """A small copy for the page, as WebP."""
    if max(image.size) > THUMB_PX:
        image = image.resize((THUMB_PX, THUMB_PX), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=85)
    return stream.getvalue()
