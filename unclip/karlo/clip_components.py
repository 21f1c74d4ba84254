"""transformers' halves of CLIP and its tokenizer, opened as our CLIP stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.files import MERGES, VOCABULARY
from unclip.clip.names import hugging_face_name
from unclip.clip.tokenize import Tokenizer, parse_merges
from unclip.clip.vocabulary import END, START, Vocabulary
from unclip.clip.weights import MAX_LOGIT_SCALE
from unclip.config import from_dict, to_dict
from unclip.errors import CheckpointError, ConfigError, shown
from unclip.karlo.component_files import component_weights, read_config
from unclip.karlo.components import TRANSFORMERS_REMARKS, CLIPTextModel, CLIPVisionModel
from unclip.karlo.json_file import read_json
from unclip.karlo.opened import LazyTensor, OpenStage

MAX_VOCABULARY_BYTES = 10_000_000
"""CLIP's own `vocab.json` has 862 kB, its `tokenizer.json` 2.2 MB."""
LEGACY_END = 2
"""`eos_token_id` of old files, by which transformers takes the largest id for the end of text."""


class GivenTensor:
    """A tensor that stands in no file."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.dtype = tensor.dtype
        self.shape = tuple(tensor.shape)

    def load(self) -> Tensor:
        """Returns it."""
        return self._tensor


def open_clip(folder: Path, *, with_images: bool) -> OpenStage:
    """Opens `text_encoder`, `tokenizer`, and for image variations `image_encoder` and
    `feature_extractor`.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is no part of a CLIP.
        ConfigError: a configuration asks for what our CLIP does not do.
    """
    text = _config(CLIPTextModel, folder / "text_encoder")
    image = _config(CLIPVisionModel, folder / "image_encoder") if with_images else None
    if image is not None:
        for key in ("hidden_act", "layer_norm_eps", "projection_dim"):
            if getattr(text, key) != getattr(image, key):
                raise ConfigError(
                    f"{folder}: text_encoder and image_encoder differ in {key}, "
                    f"{getattr(text, key)} and {getattr(image, key)}: expected one"
                )
    config = CLIPConfig(
        embed_dim=text.projection_dim,
        text=TextConfig(
            width=text.hidden_size,
            num_layers=text.num_hidden_layers,
            num_heads=text.num_attention_heads,
            mlp_dim=text.intermediate_size,
            context_length=text.max_position_embeddings,
            vocab_size=text.vocab_size,
            clean="hugging_face",
        ),
        image=ImageConfig() if image is None else _image(image, folder / "feature_extractor"),
        activation=text.hidden_act,
        eps=text.layer_norm_eps,
        text_only=image is None,
    )
    extra, end_id = read_tokenizer_files(folder / "tokenizer", config.text)
    if text.eos_token_id not in (LEGACY_END, end_id):
        raise ConfigError(
            f"{folder / 'text_encoder'}: eos_token_id is {text.eos_token_id}, expected {end_id}, "
            f"the tokenizer's, or {LEGACY_END}, which stands for it"
        )
    tensors: dict[str, LazyTensor] = {"logit_scale": GivenTensor(torch.tensor(MAX_LOGIT_SCALE))}
    for name in ("text_encoder", *(["image_encoder"] if with_images else [])):
        refs = component_weights(folder / name, "model", "pytorch_model")
        found = {hugging_face_name(theirs): ref for theirs, ref in refs.items()}
        tensors |= {ours: ref for ours, ref in found.items() if ours is not None}
    return OpenStage("clip", to_dict(config), tensors, extra=extra)


def _config(kind: type[Any], folder: Path) -> Any:
    data = read_json(folder / "config.json")
    known = {key: value for key, value in data.items() if key not in TRANSFORMERS_REMARKS}
    return from_dict(kind, known, str(folder / "config.json"))


def _image(image: CLIPVisionModel, folder: Path) -> ImageConfig:
    """The image tower, and how `feature_extractor` prepares pictures for it."""
    about = read_config(folder, "preprocessor_config.json")
    size = image.image_size
    expected: dict[str, tuple[object, ...]] = {
        "do_convert_rgb": (True,),
        "do_resize": (True,),
        "do_center_crop": (True,),
        "do_rescale": (True,),
        "do_normalize": (True,),
        "resample": (3,),  # bicubic
        "size": (size, {"shortest_edge": size}),
        "crop_size": (size, {"height": size, "width": size}),
    }
    for key, allowed in expected.items():
        if key in about and about[key] not in allowed:
            raise ConfigError(
                f"{folder}: {key} is {about[key]!r}, expected {allowed[-1]!r}, as CLIP has it"
            )
    remarks = {"feature_extractor_type", "image_processor_type", "processor_class", "_name_or_path"}
    numbers = {"rescale_factor", "image_mean", "image_std"}
    for key in about:
        if key not in expected.keys() | remarks | numbers:
            raise ConfigError(f"{folder}: unknown key {shown(key)}")
    if abs(about.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise ConfigError(f"{folder}: rescale_factor is {about['rescale_factor']}, expected 1/255")
    pixels = {
        ours: about[theirs]
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std"))
        if theirs in about
    }
    shape = {
        "width": image.hidden_size,
        "num_layers": image.num_hidden_layers,
        "num_heads": image.num_attention_heads,
        "mlp_dim": image.intermediate_size,
        "patch_size": image.patch_size,
        "image_size": size,
    }
    return from_dict(ImageConfig, shape | pixels, str(folder))


def read_tokenizer_files(folder: Path, text: TextConfig) -> tuple[dict[str, bytes], int]:
    """Reads `vocab.json` and `merges.txt`, or the `tokenizer.json` that newer versions write;
    returns the small files of our CLIP stage, and the id of end of text.

    Raises:
        CheckpointError: they are missing or damaged.
        ConfigError: they are no CLIP tokenizer, or of another length or vocabulary than the text
            tower.
    """
    about = read_config(folder, "tokenizer_config.json")
    length = about.get("model_max_length", text.context_length)
    if length != text.context_length:
        raise ConfigError(
            f"{folder}: model_max_length is {length}, expected the text tower's "
            f"{text.context_length}"
        )
    ids, merges = _vocabulary(folder)
    unknown = _token(about.get("unk_token", END))
    vocabulary = Vocabulary(ids, unknown)
    for key, wanted in (("bos_token", START), ("eos_token", END)):
        if _token(about.get(key, wanted)) != wanted:
            raise ConfigError(f"{folder}: {key} is no {wanted}, as CLIP's is")
    pairs = parse_merges(merges)
    extra = {MERGES: "".join(f"{first} {second}\n" for first, second in pairs).encode("utf-8")}
    own = _own_ids(pairs, text)
    if own != dict(ids):
        extra[VOCABULARY] = vocabulary.to_bytes()
    return extra, ids[END]


def _own_ids(pairs: list[tuple[str, str]], text: TextConfig) -> dict[str, int] | None:
    """The ids that CLIP's own rule gives; None where it gives none."""
    try:
        return Tokenizer(pairs, text.vocab_size, text.context_length, text.clean).ids()
    except ConfigError:
        return None


def _vocabulary(folder: Path) -> tuple[Mapping[str, int], str]:
    """Tokens to ids, and the merges as `merges.txt` has them."""
    if not (folder / "vocab.json").is_file() and (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer.json"
        model = read_json(path, max_bytes=MAX_VOCABULARY_BYTES).get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE":
            raise ConfigError(f"{path} holds no byte-pair encoding, as CLIP's tokenizer is")
        ids, merges = model.get("vocab"), model.get("merges")
        if not isinstance(ids, dict) or not isinstance(merges, list):
            raise CheckpointError(f"{path} has no vocab or no merges")
        pairs = [
            " ".join(map(str, merge)) if isinstance(merge, list) else merge for merge in merges
        ]
        if any(not isinstance(pair, str) for pair in pairs):
            raise CheckpointError(f"{path} has merges that are no pairs of tokens")
        return ids, "\n".join(["#version: 0.2", *pairs])
    path = folder / "merges.txt"
    ids = read_json(folder / "vocab.json", max_bytes=MAX_VOCABULARY_BYTES)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_VOCABULARY_BYTES)
        return ids, content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _token(value: object) -> str:
    """A special token is its text, or an object about it."""
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise ConfigError(f"a special token is {shown(text)}, expected text")
    return text
