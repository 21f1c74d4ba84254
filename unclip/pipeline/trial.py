"""The trial of one stage: the averaged weights of a checkpoint, joined with the other stages of a
model and measured by the short suite."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unclip.checkpoint import StageFolder, file_hash
from unclip.data.drawings.records import TABLE
from unclip.errors import CancelledError, CheckpointError, ConfigError
from unclip.evaluation.built import BuiltWorld
from unclip.evaluation.bundled import BundledWorld
from unclip.evaluation.judge import Judge, load_judge
from unclip.evaluation.measure import Measured, lay_out, measure
from unclip.evaluation.suite import SHORT, World
from unclip.pipeline.artist import PipelineArtist
from unclip.pipeline.devices import choose_device, choose_dtype
from unclip.pipeline.fit import check_fit
from unclip.pipeline.folders import ModelStages
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.registry import build
from unclip.training.ema import track_of
from unclip.training.signals import StopSignal
from unclip.training.state import read_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What candidates are measured with: figures of two trials do not compare."""

    model: ModelStages
    """The other stages; that of the candidate's kind is replaced by it."""
    judge: Judge
    world: World
    world_name: str
    """Names the world's pictures, wherever they lie."""
    device: torch.device

    def name(self, kind: str) -> str:
        """Names judge, world and the other stages, for candidates of a kind, in 16 digits."""
        digest = hashlib.sha256(f"{self.judge.name} {self.world_name}".encode())
        for stage in (self.model.clip, self.model.prior, self.model.decoder):
            if stage is not None and stage.stage != kind:
                digest.update(_weights_digest(stage))
        return digest.hexdigest()[:16]

    def measure(self, candidate: StageFolder, stop: StopSignal) -> Measured:
        """Measures the model with this stage in it by the short suite.

        Raises:
            CheckpointError: the stage does not fit the others (it was trained on another CLIP).
            CancelledError: a signal came.
        """
        model = _with(self.model, candidate)
        check_fit(model.clip, model.prior, model.decoder, ())
        pipe = UnCLIPPipeline(*build(model)).to(self.device, choose_dtype(None, self.device))
        work = lay_out(self.world, SHORT, pipe.sizes)
        artist = PipelineArtist(pipe, check=lambda: check(stop))
        return measure(artist, self.judge, self.world, work, lambda _: check(stop))


def open_trial(model: ModelStages, judge: Path, set_folder: Path | None) -> Trial:
    """Reads judge and world; a set has compositions that are held out, the bundled world has none.

    Raises:
        CheckpointError: there is no judge.
        ConfigError: the judge is the model's own CLIP.
        DataError: the folder is no built set.
    """
    device = choose_device()
    found = load_judge(judge)
    if found.name == model.clip.config.get("fingerprint"):
        raise ConfigError(
            f"the judge is this model's own CLIP ({found.name}): give one that it never saw"
        )
    found.clip.to(device)
    if set_folder is None:
        world, name = BundledWorld(), BundledWorld.name
    else:
        world, name = BuiltWorld(set_folder), file_hash(set_folder / TABLE)
    return Trial(model=model, judge=found, world=world, world_name=name, device=device)


def _with(model: ModelStages, stage: StageFolder) -> ModelStages:
    if stage.stage == "prior":
        return replace(model, prior=stage, upsamplers=())
    return replace(model, decoder=stage, upsamplers=())


def _weights_digest(stage: StageFolder) -> bytes:
    """Weights count rounded to float16, as they may be stored."""
    digest = hashlib.sha256(json.dumps(stage.config, sort_keys=True).encode())
    for name, tensor in sorted(stage.tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.to(torch.float16).contiguous().numpy().tobytes())
    return digest.digest()


def check(stop: StopSignal) -> None:
    """Raises CancelledError after a signal."""
    if stop.received:
        error = CancelledError("stopped by a signal; start it again and it goes on")
        error.exit_code = 128 + stop.received
        raise error


def averaged_stage(checkpoint: Path) -> tuple[int, StageFolder]:
    """Returns a checkpoint's step, and its averaged weights as a stage of a prior or decoder.

    Raises:
        CheckpointError: it is not whole (or was removed meanwhile), or of another stage.
    """
    tensors = read_checkpoint(checkpoint, "ema.")
    try:
        record = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        config, trained_on = record["config"], dict(record["trained_on"])
        kind = "decoder" if "image_dropout" in config else "prior"
        if "clip" not in config:
            raise CheckpointError(f"{checkpoint} is of no prior or decoder, which can be chosen")
        step, shape = int(record["step"]), config["model"]
        std = float(config["train"]["ema_final"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{checkpoint / 'state.json'} cannot be used: {error!r}") from error
    tensors = track_of(tensors, std)
    return step, StageFolder(kind, shape, trained_on, tensors)
