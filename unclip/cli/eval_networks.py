"""Which networks an evaluation compares pictures in, by what the user asked for."""

from dataclasses import dataclass
from pathlib import Path

import torch

from unclip.checkpoint import load_stage
from unclip.cli.report import Report
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_from_stage
from unclip.errors import CheckpointError, InputError
from unclip.evaluation.captioned.extractors import (
    NETWORKS,
    CLIPExtractor,
    Extractor,
    FidelityExtractor,
)
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.training.import_clip import HUGGING_FACE, OPEN_CLIP, read_clip

BIASED = (
    "compared in the model's own CLIP, which conditions it: a biased judge; give another one "
    "(--features DIR, --clip DIR) for figures to publish"
)


@dataclass(frozen=True, slots=True)
class Networks:
    """What pictures go through."""

    features: Extractor
    """For FID, KID, precision and recall."""
    reader: CLIPExtractor
    """For what takes captions."""
    own: CLIPExtractor | None
    """The model's own, for the prior's panel; None where it has no image tower."""

    @property
    def by_key(self) -> dict[str, Extractor]:
        """Each one once."""
        found: list[Extractor] = [self.features, self.reader]
        found += [self.own] if self.own is not None else []
        return {each.key: each for each in found}

    @property
    def biased(self) -> bool:
        """Whether a figure is taken by the CLIP that conditions the model."""
        own = self.own and self.own.key
        return own in (self.features.key, self.reader.key)


def choose_networks(
    report: Report,
    pipe: UnCLIPPipeline,
    features: str | None,
    weights: str | None,
    clip: str | None,
) -> Networks:
    """Loads them, and says where the judge is biased.

    Raises:
        InputError: weights are given for no network, or a CLIP is needed and not given.
        CheckpointError: a folder or file is missing, damaged, or of something else.
        BackendError: torch-fidelity is needed and not installed.
    """
    device = pipe.device
    own = None if pipe.clip.config.text_only else CLIPExtractor(pipe.clip)
    if weights is not None and features not in NETWORKS:
        raise InputError(f"--feature-weights is for --features {' or '.join(NETWORKS)}: give both")
    if own is None and (features is None or (features in NETWORKS and clip is None)):
        needed = "--features DIR" if features is None else "--clip DIR"
        raise InputError(f"this model's CLIP has no image tower: give another one as {needed}")
    chosen: Extractor | None = own
    if features in NETWORKS:
        chosen = FidelityExtractor(features, weights, device)
    elif features is not None:
        chosen = CLIPExtractor(load_clip(features, "--features", device))
    reader = chosen if clip is None and isinstance(chosen, CLIPExtractor) else own
    if clip is not None:
        reader = CLIPExtractor(load_clip(clip, "--clip", device))
    assert chosen is not None, "refused above"
    assert reader is not None, "refused above"
    networks = Networks(chosen, reader, own)
    if networks.biased:
        report.note(BIASED)
    if own is None:
        report.note("left out: the prior's panel (this model's CLIP has no image tower)")
    return networks


def load_clip(folder: str, option: str, device: torch.device) -> CLIP:
    """Reads a CLIP of ours (its stage, or a model that has one), of open_clip or of transformers.

    Raises:
        CheckpointError: the folder is none of these.
    """
    place = Path(folder)
    if not place.is_dir():
        names = f"{', '.join(NETWORKS)} or " if option == "--features" else ""
        raise CheckpointError(
            f"{option} is {folder}, which is no folder: give {names}the folder of a CLIP (ours, "
            "open_clip's or transformers')"
        )
    if (place / "model_index.json").is_file() and (place / "clip").is_dir():
        place = place / "clip"
    if (
        any((place / names[0]).is_file() for names in (OPEN_CLIP, HUGGING_FACE))
        and not (place / "manifest.json").is_file()
    ):
        return read_clip(place).to(device)
    stage = load_stage(place, "clip")
    return clip_from_stage(stage.config, stage.tensors, stage.extra).to(device)
