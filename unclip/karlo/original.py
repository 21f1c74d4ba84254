"""Karlo as Kakao published it: three checkpoints, OpenAI's CLIP and its statistics, in one folder.

    prior-ckpt-*.ckpt  decoder-ckpt-*.ckpt  improved-sr-ckpt-*.ckpt  ViT-L-14.pt  ViT-L-14_stats.th

Sizes are read off the tensors; what no tensor tells (levels, heads, the diffusion) is Karlo's own
(configs/*.yaml and karlo/models of github.com/kakaobrain/karlo). No tensor is read here: all names
and shapes are compared with what the networks need first.
"""

from pathlib import Path

import torch

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig, PriorSampling
from prior.model import EXTRA_TOKENS, Prior
from unclip.config import to_dict
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import CheckpointError, shown
from unclip.karlo.archive import open_archive
from unclip.karlo.names import CLIP, DECODER, LICENCE, PRIOR, STATISTICS, UPSAMPLER
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.karlo.original_clip import open_original_clip
from unclip.karlo.original_file import HEAD_DIM, OriginalFile, open_state
from unclip.karlo.original_names import Place, conditioning_place, prior_place, unet_place
from unclip.karlo.pieces import Reshaped
from unclip.karlo.weights import below
from unclip.mapped import LazyTensor
from unclip.nn.initialise import NoFirstWeights
from unclip.nn.unet import UNetConfig
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

LEVELS = (1, 2, 3, 4)
"""Widths of a U-Net's levels, in those of the first."""
CLAMP = 10.0
"""The prior's x_start is clamped to plus or minus this; diffusers clamps to 5."""


def open_original(folder: str | Path, name: str | None = None) -> OpenModel:
    """Opens a folder of Kakao's files; without the prior's it is a model of image variations.

    Args:
        name: the model's; None takes the folder's.

    Raises:
        CheckpointError: a file is missing, doubled or damaged, or its tensors are not those of
            Karlo's networks: the first ten are listed.
    """
    folder = Path(folder)
    # What is missing is told before anything is opened.
    paths = [_find(folder, pattern) for pattern in (DECODER, UPSAMPLER, CLIP)]
    with_prior = any(folder.glob(PRIOR))
    prior_paths = [_find(folder, pattern) for pattern in (PRIOR, STATISTICS)] if with_prior else []
    return OpenModel(
        name=name or folder.resolve().name,
        clip=open_original_clip(paths[2]),
        prior=open_prior(*prior_paths) if with_prior else None,
        decoder=open_decoder(paths[0]),
        upsamplers=(open_upsampler(paths[1]),),
        licence=LICENCE,
    )


def _find(folder: Path, pattern: str) -> Path:
    """The one file of that name."""
    found = sorted(path.name for path in folder.glob(pattern))
    if not found:
        raise CheckpointError(
            f"{folder} has no {pattern}, which is a part of Karlo: the README of "
            "github.com/kakaobrain/karlo says where it can be had"
        )
    if len(found) > 1:
        raise CheckpointError(
            f"{folder} has {len(found)} files {pattern}, expected one: {', '.join(found[:3])}; "
            "move the others away"
        )
    return folder / found[0]


def open_prior(path: Path, statistics: Path) -> OpenStage:
    """Opens the prior, and what its embeddings are whitened by.

    Raises:
        CheckpointError: its tensors are not those of Karlo's network.
    """
    file = OriginalFile(path, open_state(path), "model.")
    names = below(file.refs, "transformer.resblocks.")
    with file.named():
        config = PriorConfig(
            embed_dim=file.size("clip_img_proj.weight", 1),
            text_width=file.size("text_enc_proj.weight", 1),
            context_length=file.size("positional_embedding", 1) - EXTRA_TOKENS,
            num_layers=len({name.split(".")[0] for name in names}),
            num_heads=file.size("clip_img_proj.weight", 0) // HEAD_DIM,
            head_dim=HEAD_DIM,
            diffusion=DiffusionConfig(prediction="x_start", clip_x_start=CLAMP),
            sampling=PriorSampling(guidance_scale=4.0, candidates=1),
        )
    with NoFirstWeights(), torch.device("meta"):
        wanted = Prior(config).state_dict()
    whitening = [wanted.pop(name) for name in ("clip_mean", "clip_std")]
    tensors = file.fit(wanted, prior_place)
    tensors |= open_statistics(statistics, tuple(whitening[0].shape))
    return OpenStage("prior", to_dict(config), tensors)


def open_statistics(path: Path, shape: tuple[int, ...]) -> dict[str, LazyTensor]:
    """Opens the mean and the standard deviation of CLIP's image embeddings: a tuple of two rows.

    Raises:
        CheckpointError: it holds something else.
    """
    refs = open_archive(path)
    fit = [ref.shape == shape[1:] and ref.dtype.is_floating_point for ref in refs.values()]
    if list(refs) != ["0", "1"] or not all(fit):
        found = [f"{shown(name)} {ref.shape} {ref.dtype}" for name, ref in list(refs.items())[:3]]
        raise CheckpointError(
            f"{path} holds {', '.join(found) or 'no tensors'}, expected two rows of {shape[1]} "
            "numbers: mean and standard deviation of the image embeddings"
        )
    return {"clip_mean": Reshaped(refs["0"], shape), "clip_std": Reshaped(refs["1"], shape)}


def open_decoder(path: Path) -> OpenStage:
    """Opens the decoder; its file holds the projections of CLIP's embeddings, too.

    Raises:
        CheckpointError: its tensors are not those of Karlo's network.
    """
    file = OriginalFile(path, open_state(path), "model.")
    with file.named():
        config = DecoderConfig(
            embed_dim=file.size("clip_emb.weight", 1),
            text_width=file.size("text_seq_proj.0.weight", 1),
            unet=UNetConfig(
                out_channels=6,
                channels=_channels(file),
                head_dim=HEAD_DIM,
                context_dim=file.size("text_seq_proj.0.weight", 0),
            ),
        )
    with NoFirstWeights(), torch.device("meta"):
        wanted = Decoder(config).state_dict()

    def place(name: str) -> Place:
        part, _, rest = name.partition(".")
        return conditioning_place(rest) if part == "conditioning" else unet_place(rest, config.unet)

    return OpenStage("decoder", to_dict(config), file.fit(wanted, place))


def open_upsampler(path: Path) -> OpenStage:
    """Opens the upsampler: a network for the first steps, another of the same shape for the last.

    Raises:
        CheckpointError: its tensors are not those of Karlo's network.
    """
    state = open_state(path)
    files = {
        "unet": OriginalFile(path, state, "model_first_steps."),
        "last": OriginalFile(path, state, "model_last_step."),
    }
    with files["unet"].named():
        unet = UNetConfig(
            in_channels=6,
            channels=_channels(files["unet"]),
            attention=(False,) * len(LEVELS),
            middle_attention=False,
            scale_shift=False,
        )
        config = UpsamplerConfig(unet=unet, last_network=True)
    with NoFirstWeights(), torch.device("meta"):
        wanted = Upsampler(config).state_dict()
    tensors: dict[str, LazyTensor] = {}
    for part, file in files.items():
        inside = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in wanted.items()
            if name.startswith(f"{part}.")
        }
        found = file.fit(inside, lambda name: unet_place(name, unet))
        tensors |= {f"{part}.{name}": ref for name, ref in found.items()}
    return OpenStage("upsampler", to_dict(config), tensors)


def _channels(file: OriginalFile) -> tuple[int, ...]:
    first = file.size("input_blocks.0.0.weight", 0)
    return tuple(times * first for times in LEVELS)
