"""Makes a CLIP stage folder, which a prior or decoder is trained on, of another library's CLIP.

    python -m unclip.training.import_clip SRC --out DIR

SRC is a folder as the hub has it: transformers' (config.json, model.safetensors) or open_clip's
(open_clip_config.json, open_clip_model.safetensors). OpenAI's CLIPs are there in both forms. Only
safetensors are read. The merges are the folder's own merges.txt, or else CLIP's, from open_clip.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unclip.checkpoint import StageFolder, read_tensors, save_stage
from unclip.clip.config import OPENAI_MEAN, OPENAI_STD, CLIPConfig
from unclip.clip.encoder import CLIP
from unclip.clip.files import MERGES, build_clip, clip_to_stage
from unclip.clip.tokenize import open_clip_merges, parse_merges
from unclip.clip.weights import Triple, from_hugging_face, from_open_clip
from unclip.errors import CheckpointError, run_command

OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
HUGGING_FACE = ("config.json", "model.safetensors")
PREPROCESSOR = "preprocessor_config.json"


def import_clip(source: Path, out: Path) -> str:
    """Writes the CLIP of `source` as a stage folder; returns its fingerprint.

    Raises:
        CheckpointError: the folder is of neither library, damaged, or of another architecture.
    """
    clip = read_clip(source)
    values, weights, extra = clip_to_stage(clip)
    save_stage(out, StageFolder("clip", values, {}, weights, extra))
    return clip.fingerprint()


def read_clip(source: Path) -> CLIP:
    """Reads the CLIP of a folder of either library.

    Raises:
        CheckpointError: the folder is of neither library, damaged, or of another architecture.
    """
    if (source / OPEN_CLIP[0]).is_file():
        config, tensors = _from_open_clip(source)
    elif (source / HUGGING_FACE[0]).is_file():
        config, tensors = _from_hugging_face(source)
    else:
        raise CheckpointError(
            f"{source} has neither {OPEN_CLIP[0]} nor {HUGGING_FACE[0]}: give the folder of a CLIP "
            "of open_clip or transformers"
        )
    own = source / MERGES
    merges = parse_merges(own.read_text("utf-8")) if own.is_file() else open_clip_merges()
    return build_clip(config, tensors, merges)


def _from_open_clip(source: Path) -> tuple[CLIPConfig, dict[str, Tensor]]:
    about = _read_json(source / OPEN_CLIP[0])
    mean, std = _pixels(about.get("preprocess_cfg") or {}, "mean", "std")
    model_config = about.get("model_cfg", about)
    return from_open_clip(read_tensors(source / OPEN_CLIP[1]), model_config, mean=mean, std=std)


def _from_hugging_face(source: Path) -> tuple[CLIPConfig, dict[str, Tensor]]:
    about = _read_json(source / HUGGING_FACE[0])
    text, vision = about.get("text_config"), about.get("vision_config")
    if not isinstance(text, Mapping) or not isinstance(vision, Mapping):
        raise CheckpointError(
            f"{source / HUGGING_FACE[0]} is of {about.get('model_type', 'no known model')!r}, "
            "expected a CLIPModel with text_config and vision_config"
        )
    beside = source / PREPROCESSOR
    processor = _read_json(beside) if beside.is_file() else {}
    mean, std = _pixels(processor, "image_mean", "image_std")
    return from_hugging_face(
        read_tensors(source / HUGGING_FACE[1]), text, vision, mean=mean, std=std
    )


def _pixels(about: Mapping[str, Any], mean: str, std: str) -> tuple[Triple, Triple]:
    """How pixels are normalised: as the folder says, or else as OpenAI's CLIPs are."""
    means, stds = about.get(mean, OPENAI_MEAN), about.get(std, OPENAI_STD)
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(about, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return about


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.training.import_clip")
    parser.add_argument("source", type=Path, help="folder of a CLIP of transformers or open_clip")
    parser.add_argument("--out", type=Path, required=True, help="stage folder to write")
    options = parser.parse_args(argv)
    return run_command(lambda: f"{options.out}: CLIP {import_clip(options.source, options.out)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
