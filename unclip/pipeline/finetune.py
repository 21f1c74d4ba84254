"""Fine-tuning of one stage of any model on a folder of pictures: from the model itself to the
configuration of an ordinary training run, and from its result back to a model.

What a model is (its networks, its noise, its CLIP) is read from its folder, so nobody writes it
down a second time. The run is that of `prior.train`, `decoder.train` or `upsamplers.train`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import decoder.train
import prior.train
import upsamplers.train
from decoder.config import DecoderConfig, DecoderRun
from prior.config import PriorConfig, PriorRun
from unclip.checkpoint import WEIGHTS, describe_stage, load_stage
from unclip.clip.config import CLIPConfig
from unclip.config import from_dict, to_dict
from unclip.errors import CheckpointError, ConfigError, InputError
from unclip.karlo.load import is_karlo
from unclip.lora_file import FILE
from unclip.nn.lora import LoraConfig
from unclip.pipeline.convert import convert, open_source
from unclip.pipeline.folders import read_model, write_model
from unclip.pipeline.index import INDEX, read_index
from unclip.safetensors_file import open_safetensors
from unclip.training.entry import train_run
from unclip.training.folder import check_config
from unclip.training.settings import TrainConfig
from upsamplers.config import UpsamplerConfig, UpsamplerRun

RECIPE = "finetune.yaml"
CROP_PX = 128
Run = PriorRun | DecoderRun | UpsamplerRun


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody asks for."""

    stage: str = "decoder"
    """The name of its folder in a model: `prior`, `decoder`, `upsampler_256`."""
    pictures: Path
    caption: str
    """Said of pictures that have no caption of their own."""
    rank: int | None = 16
    """Of LoRA adapters; None trains the weights themselves."""
    steps: int
    batch_size: int
    lr: float | None = None
    """None is that of `LEARNING_RATES`."""
    seed: int = 0
    bf16: bool = False
    clip: Path | None = None
    """A CLIP stage folder, for a model whose own CLIP has no image tower."""


SMALL = 100_000_000
"""Weights of a stage, below which it is a small one."""
LEARNING_RATES = {"lora": (3e-3, 2e-4), "full": (3e-4, 1e-5)}
"""Of small and of large stages, for some tens of pictures and some hundreds of steps. Tried out on
the pocket model; those of large stages are what is usual for diffusion models."""


def base_folder(folder: Path, name: str, out: Path) -> Path:
    """Returns the model's folder in our layout: itself, or a conversion in the run's folder.

    Raises:
        CheckpointError: it is damaged or foreign, or the conversion cannot be written.
    """
    if not is_karlo(folder):
        return folder
    base = out / "base" / name
    if not (base / INDEX).is_file():
        convert(open_source(folder, name), base, "unclip")
    return base


def recipe(base: Path, wish: Wish) -> Run:
    """Writes down the run of a wish: the model's own shapes, and settings for a few pictures.

    Raises:
        InputError: the model has no such stage.
        ConfigError: it cannot be trained on pictures: its CLIP has no image tower.
    """
    index = read_index(base)
    named = (
        {"decoder": index.decoder}
        if index.prior is None
        else {
            "prior": index.prior,
            "decoder": index.decoder,
        }
    )
    sizes: list[int] = []
    for folder in index.upsamplers:
        sizes.append(describe_stage(base / folder, "upsampler").config["image_size"])
        named[f"upsampler_{sizes[-1]}"] = folder
    if wish.stage not in named:
        raise InputError(f"{index.name} has no stage {wish.stage}: choose {', '.join(named)}")
    folder = base / named[wish.stage]
    config = describe_stage(folder).config
    where = str(folder / "config.json")
    common: dict[str, Any] = {"images": str(wish.pictures), "train": _training(folder, wish)}
    if wish.stage.startswith("upsampler_"):
        first = wish.stage == f"upsampler_{sizes[0]}"
        return _upsampler_run(from_dict(UpsamplerConfig, config, where), common, first=first)
    clip = base / index.clip if wish.clip is None else wish.clip
    clip_px = _image_size(clip, index.name)
    common |= {"clip": str(clip), "caption": wish.caption}
    if wish.stage == "prior":
        return PriorRun(model=from_dict(PriorConfig, config, where), whitening="kept", **common)
    model = from_dict(DecoderConfig, config, where)
    return DecoderRun(
        model=model, clip_px=clip_px if clip_px > model.image_size else None, **common
    )


def module_of(run: Run) -> tuple[str, Callable[[Any], Any]]:
    """The module that trains a run, and what makes its stage."""
    if isinstance(run, PriorRun):
        return "prior.train", prior.train.PriorStage
    if isinstance(run, DecoderRun):
        return "decoder.train", decoder.train.DecoderStage
    return "upsamplers.train", upsamplers.train.UpsamplerStage


def write_recipe(run: Run, out: Path) -> Path:
    """Keeps a run's configuration beside the run, for more processes or other settings.

    Raises:
        ConfigError: the folder belongs to another run, or cannot be written.
    """
    check_config(out, to_dict(run))
    path = out / RECIPE
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(to_dict(run), sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def train(run: Run, out: Path) -> None:
    """Trains it, or goes on with it; raises as `unclip.training.loop.train`."""
    train_run(run, module_of(run)[1], out)


def result(base: Path, run: Run, stage: str, out: Path) -> Path:
    """Returns what was trained: the LoRA file, or the whole model with its new stage.

    Raises:
        CheckpointError: the training is not finished, or the model cannot be written.
    """
    final = out / "final"
    if not final.is_dir():
        raise CheckpointError(f"{out} is not trained to its end: run the same command again")
    if run.train.lora is not None:
        return final / FILE
    model, trained = read_model(base), load_stage(final)
    if stage == "prior":
        model = replace(model, prior=trained)
    elif stage == "decoder":
        model = replace(model, decoder=trained)
    else:
        chain = [
            trained if f"upsampler_{old.config['image_size']}" == stage else old
            for old in model.upsamplers
        ]
        model = replace(model, upsamplers=tuple(chain))
    write_model(out / "model", replace(model, name=out.resolve().name, hash=None))
    return out / "model"


def _training(folder: Path, wish: Wish) -> TrainConfig:
    rates = LEARNING_RATES["full" if wish.rank is None else "lora"]
    weights = open_safetensors(folder / WEIGHTS).values()
    small = sum(math.prod(weight.shape) for weight in weights) < SMALL
    return TrainConfig(
        seed=wish.seed,
        start_from=str(folder),
        lora=None if wish.rank is None else LoraConfig(rank=wish.rank),
        steps=wish.steps,
        batch_size=wish.batch_size,
        lr=(rates[0] if small else rates[1]) if wish.lr is None else wish.lr,
        betas=(0.9, 0.99),
        warmup_steps=min(20, wish.steps // 10),
        decay="cosine",
        ema_stds=(0.1,),
        ema_final=0.1,
        ema_every=wish.steps,
        precision="bf16" if wish.bf16 else "float32",
        log_every=max(1, wish.steps // 20),
        save_every=100,
        sheet_every=max(25, wish.steps // 4),
    )


def _upsampler_run(model: UpsamplerConfig, common: dict[str, Any], *, first: bool) -> UpsamplerRun:
    """The first upsampler learns from a blur, the others from more damage (unCLIP section 2.1)."""
    step = math.lcm(model.factor, model.unet.stride)
    return UpsamplerRun(
        model=model,
        crop_px=max(step, min(CROP_PX, model.image_size) // step * step),
        degradation="blur" if first else "bsr",
        max_augmentation=max(0.1, model.sampling.augmentation),
        clean_share=0.25 if model.tells_augmentation else 0.0,
        **common,
    )


def _image_size(clip: Path, name: str) -> int:
    """Side in pixels of the pictures that a CLIP sees."""
    values = dict(describe_stage(clip, "clip").config)
    values.pop("fingerprint", None)
    config = from_dict(CLIPConfig, values, f"{clip}/config.json")
    if config.text_only:
        raise ConfigError(
            f"the CLIP of {name} has no image tower, so no pictures can be learned from: give one "
            "with --clip (python -m unclip.training.import_clip makes its folder)"
        )
    return config.image.image_size
