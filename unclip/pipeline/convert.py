"""`unclip convert`: a model in any layout, written in ours or in diffusers'.

All is checked before anything is written; then a tensor at a time is read, converted and written,
so that memory is enough for any model.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unclip.checkpoint import WEIGHTS, write_description, write_manifest
from unclip.clip.encoder import fingerprint
from unclip.errors import CheckpointError, ConfigError
from unclip.karlo.build import Networks, make_empty
from unclip.karlo.expressible import check_expressible, lost
from unclip.karlo.load import is_karlo, open_karlo
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.karlo.to_diffusers import Writing, tensor_counts, write_diffusers
from unclip.mapped import LazyTensor
from unclip.pipeline.destination import check_free, whole_folder
from unclip.pipeline.folders import CARD, index_of, model_card, open_model
from unclip.pipeline.index import check_name, write_index
from unclip.safetensors_writer import stored_bytes, write_safetensors

Layout = Literal["unclip", "diffusers"]
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
LEGAL = re.compile(r"(LICEN[CS]E|NOTICE|COPYING)([._-].*)?", re.IGNORECASE)
"""Files that go wherever the weights go."""
MAX_LEGAL_BYTES = 1_000_000


@dataclass(frozen=True)
class Source:
    """A model to be converted, open and checked."""

    folder: Path
    model: OpenModel
    networks: Networks

    def bytes_as(self, dtype: torch.dtype | None) -> int:
        """Bytes of all tensors in another precision."""
        refs = (ref for stage in self.model.all() for ref in stage.tensors.values())
        return sum(stored_bytes(ref, dtype) for ref in refs)

    def files(self, layout: Layout) -> dict[str, int]:
        """How many tensors each folder of weights will have."""
        if layout == "unclip":
            folders = index_of(self.model).folders()
            sizes = [len(stage.tensors) for stage in self.model.all()]
            return dict(zip(folders, sizes, strict=True))
        return tensor_counts(self.model)


def open_source(folder: Path, name: str | None = None) -> Source:
    """Opens a model in any layout and compares it with its networks; no tensor is read.

    Args:
        name: the model's, for the layouts that do not say one; None takes the folder's.

    Raises:
        CheckpointError: it is missing, damaged or foreign.
        ConfigError: a configuration asks for what our networks do not do.
    """
    model = open_karlo(folder, name) if is_karlo(folder) else open_model(folder)
    return Source(folder, model, make_empty(model))


def convert(
    source: Source,
    destination: Path,
    layout: Layout,
    *,
    writing: Writing | None = None,
    force: bool = False,
) -> list[str]:
    """Writes a model; returns what the other layout does not say, a line each.

    Args:
        force: an older model in `destination` may be replaced. Other files are kept.

    Raises:
        ConfigError: our layout was to be split into shards.
        CheckpointError: the layout has no place for a feature of the model, a number is too large
            for the precision, or the folder cannot be written; nothing is left then.
    """
    writing = writing or Writing()
    if layout == "unclip" and writing.shard_bytes is not None:
        raise ConfigError("our layout has one file a stage: leave --shard-size out")
    if layout == "diffusers":
        check_expressible(source.networks, source.model.name)
    check_name(source.model.name)
    _check_apart(source.folder, destination)
    check_free(destination, replace=force)
    with whole_folder(destination, replace=force) as place:
        _copy_texts(source.folder, place)
        if layout == "diffusers":
            write_diffusers(place, source.model, source.networks, writing)
        else:
            _write_ours(place, source, writing)
        (place / CARD).write_text(model_card(source.model), encoding="utf-8")
    return lost(source.model, source.networks) if layout == "diffusers" else []


def parse_bytes(text: str) -> int:
    """Reads a size: `2GB`, `500 MB`, `1.5GiB`.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]i?B|)", text.strip(), re.IGNORECASE)
    size = round(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise ConfigError(f"{text!r} is no size of a file: write 2GB or 500MB")
    return size


def _check_apart(source: Path, destination: Path) -> None:
    one, other = source.resolve(), destination.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise CheckpointError(
            f"{destination} and {source} lie in each other: choose a folder apart from the source"
        )


def _copy_texts(source: Path, place: Path) -> None:
    """Copies the licence's text, which goes with the weights."""
    for path in sorted(source.iterdir()):
        if LEGAL.fullmatch(path.name) and path.is_file():
            if path.stat().st_size > MAX_LEGAL_BYTES:
                raise CheckpointError(f"{path} is no licence's text: it is larger than 1 MB")
            shutil.copyfile(path, place / path.name)


def _write_ours(place: Path, source: Source, writing: Writing) -> None:
    """Writes a stage folder for each stage, and the index."""
    model = _fingerprinted(source.model, source.networks)
    index = index_of(model)
    for folder, stage in zip(index.folders(), model.all(), strict=True):
        (place / folder).mkdir()
        write_description(place / folder, stage.stage, stage.config, stage.metadata, stage.extra)
        digest = write_safetensors(
            place / folder / WEIGHTS,
            stage.tensors,
            dtype=writing.dtype,
            progress=_labelled(writing.progress, folder),
        )
        write_manifest(place / folder, {WEIGHTS: digest})
    write_index(place, index)


def _labelled(progress: Callable[[str], None], folder: str) -> Callable[[str], None]:
    return lambda name: progress(f"{folder}/{name}")


def _fingerprinted(model: OpenModel, networks: Networks) -> OpenModel:
    """Gives CLIP its name, and the prior and the decoder that of their CLIP, where the layout it
    came from has no such thing."""
    if "fingerprint" in model.clip.config:
        return model
    clip = networks.clip
    name = fingerprint(clip.config, clip.tokenizer, _one_by_one(model.clip.tensors))

    def of_clip(stage: OpenStage) -> OpenStage:
        return replace(stage, metadata={**stage.metadata, "clip": name})

    return replace(
        model,
        clip=replace(model.clip, config={**model.clip.config, "fingerprint": name}),
        prior=None if model.prior is None else of_clip(model.prior),
        decoder=of_clip(model.decoder),
    )


def _one_by_one(tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, Tensor]]:
    for name, ref in sorted(tensors.items()):
        yield name, ref.load()
        ref.release()
