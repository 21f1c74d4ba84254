"""What is written into every picture: all that it takes to make it again. No paths, no users."""

from dataclasses import dataclass, field
from typing import Literal

from unclip.config import INF, check_ranges
from unclip.errors import ConfigError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the stages were run, every default resolved."""

    size: int
    """Side of the picture, in pixels."""
    prior_steps: int | None
    """None where no prior ran: variations take their embedding from a picture."""
    prior_guidance: float | None
    candidates: int | None
    """Embeddings that the prior drew, of which the best was kept."""
    decoder_steps: int
    decoder_guidance: float
    sampler: str
    """Of the decoder."""
    super_res_steps: tuple[int, ...]
    """Of each upsampler that ran, in order."""
    guidance_interval: tuple[float, float] | None = None
    """Fractions of the time outside of which the decoder was not guided; None where it was guided
    everywhere or nowhere, in older records as the model has it."""
    super_res_samplers: tuple[str, ...] = ()
    """Of each upsampler that ran; empty in older records: each its own."""
    super_res_starts: tuple[float, ...] = ()
    """Fraction of the time at which each upsampler began; empty in older records: all at 1."""

    def __post_init__(self) -> None:
        whole = dict.fromkeys(("size", "prior_steps", "candidates", "decoder_steps"), (1, INF))
        check_ranges(self, "sampling.", **whole)
        check_ranges(self, "sampling.", prior_guidance=(0, INF), decoder_guidance=(0, INF))
        if any(steps < 1 for steps in self.super_res_steps):
            raise ConfigError(
                f"sampling.super_res_steps is {self.super_res_steps}, expected 1 or more each"
            )
        for name in ("super_res_samplers", "super_res_starts"):
            if len(found := getattr(self, name)) not in (0, len(self.super_res_steps)):
                raise ConfigError(
                    f"sampling.{name} is {found}, expected one for each of "
                    f"{len(self.super_res_steps)} upsamplers"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraRecord:
    """LoRA weights that were merged into a stage."""

    name: str
    hash: str
    """Of the file."""
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecord:
    """Which weights."""

    name: str
    hash: str | None
    """Of all weights and configurations of the model folder."""
    source: str | None = None
    """Where anybody can get it: `pocket` or a hub id; None for a folder of the user's own."""
    upsampler: str | None = None
    """Hash of the upsamplers that went on where the model ends; None where none did."""
    loras: tuple[LoraRecord, ...] = ()
    """In the order in which they were merged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoRecord:
    """The picture that this one is a variation of."""

    sha256: str
    """Of its file."""
    fit: str
    strength: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where it ran, as far as the numbers depend on it."""

    device: str
    dtype: str
    torch: str
    """Version."""
    threads: int | None = None
    """On a CPU."""
    batch_size: int = 1
    """Pictures that were made in one batch; rounding depends on it."""
    batch_index: int = 0
    """This picture's place in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureRecord:
    """One picture."""

    verb: Literal["generate", "variations"]
    prompt: str | None
    seed: int
    model: ModelRecord
    sampling: Sampling
    machine: Machine
    version: str
    """Of unclip."""
    photo: PhotoRecord | None = None
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        check_ranges(self, "", seed=(0, INF))
        made_of = (self.prompt is not None, self.photo is not None)
        if made_of != ((True, False) if self.verb == "generate" else (False, True)):
            raise ConfigError("generate has a prompt and no photo, variations the reverse")
