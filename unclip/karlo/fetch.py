"""Which files of a repository make up Karlo: no weights twice, no pictures, no flax."""

from collections.abc import Collection
from pathlib import Path

from unclip.errors import CheckpointError
from unclip.karlo.component_files import weight_names
from unclip.karlo.diffusers_index import INDEX, read_diffusers_index
from unclip.karlo.diffusers_layout import WEIGHTS
from unclip.karlo.names import is_original

CARD = "README.md"
_SMALL = {
    "decoder_scheduler": ("scheduler_config.json",),
    "prior_scheduler": ("scheduler_config.json",),
    "super_res_scheduler": ("scheduler_config.json",),
    "feature_extractor": ("preprocessor_config.json",),
}
_TOWERS = ("text_encoder", "image_encoder")


def diffusers_files(folder: Path, there: Collection[str]) -> list[str]:
    """Chooses among the files of a repository whose index lies in `folder`: safetensors where they
    are there, `.bin` where they are not.

    Raises:
        CheckpointError: the index is none, or a component has no weights.
    """
    wanted = [INDEX, *(name for name in (CARD,) if name in there)]
    for component in sorted(read_diffusers_index(folder)):
        if component in _SMALL:
            wanted += [f"{component}/{name}" for name in _SMALL[component]]
        elif component == "tokenizer":
            wanted += _tokenizer_files(there)
        else:
            wanted.append(f"{component}/config.json")
            wanted += _weights(component, there)
    return wanted


def original_files(there: Collection[str]) -> list[str]:
    """Kakao Brain's files among those of a repository, the card with them; none if there are
    none."""
    found = [name for name in sorted(there) if is_original(name)]
    return [*found, CARD] if found and CARD in there else found


def _tokenizer_files(there: Collection[str]) -> list[str]:
    old = ("tokenizer/vocab.json", "tokenizer/merges.txt")
    files = old if all(name in there for name in old) else ("tokenizer/tokenizer.json",)
    return ["tokenizer/tokenizer_config.json", *files]


def _weights(component: str, there: Collection[str]) -> list[str]:
    towers = component in _TOWERS
    names = weight_names(*(("model", "pytorch_model") if towers else (WEIGHTS, WEIGHTS)))
    for name in names:
        if f"{component}/{name}" not in there:
            continue
        if not name.endswith(".index.json"):
            return [f"{component}/{name}"]
        stem = name.removesuffix(".safetensors.index.json")
        shards = [
            other
            for other in sorted(there)
            if other.startswith(f"{component}/{stem}-") and other.endswith(".safetensors")
        ]
        return [f"{component}/{name}", *shards]
    raise CheckpointError(f"{component} has no weights, expected {' or '.join(names)}")
