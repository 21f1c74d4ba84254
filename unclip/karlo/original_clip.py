"""The CLIP in Kakao's folder: OpenAI's TorchScript archive, both towers, and the merges of its
words."""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from unclip.clip.encoder import CLIP
from unclip.clip.files import MERGES
from unclip.clip.names import OpenClipPlace, open_clip_places, to_open_clip
from unclip.clip.tokenize import OPEN_CLIP_MERGES, Tokenizer, open_clip_merges, parse_merges
from unclip.clip.weights import from_openai
from unclip.config import to_dict
from unclip.errors import BackendError, CheckpointError, shown
from unclip.karlo.opened import OpenStage
from unclip.karlo.original_file import OriginalFile, open_state
from unclip.karlo.pieces import third_of_rows, transposed
from unclip.karlo.weights import check_refs
from unclip.mapped import LazyTensor, TensorRef
from unclip.nn.initialise import NoFirstWeights

LOGIT_SCALE = "logit_scale"
OPENAI_MERGES = "bpe_simple_vocab_16e6.txt.gz"
MAX_MERGES_BYTES = 10_000_000


def open_original_clip(path: Path) -> OpenStage:
    """Opens OpenAI's CLIP. Kakao's folder has no merges: they are read from OpenAI's own file where
    it lies beside the archive, else from the installed open_clip.

    Raises:
        CheckpointError: its tensors are not those of a CLIP with a vision transformer, or there are
            no merges.
    """
    file = OriginalFile(path, open_state(path), "")
    with file.named():
        places = open_clip_places(file.refs)
    used = {place.name: file.refs[place.name] for place in places.values()}
    _check_axes(used, places.values(), path)
    shapes = {name: ref.shape for name, ref in used.items() if name != LOGIT_SCALE}
    with file.named(), NoFirstWeights(), torch.device("meta"):
        config, _ = from_openai({name: torch.empty(shape) for name, shape in shapes.items()})
        text = config.text
        merges = read_merges(path.parent)
        tokenizer = Tokenizer(merges, text.vocab_size, text.context_length, text.clean)
        wanted = CLIP(config, tokenizer).state_dict()
    check_refs(used, to_open_clip(wanted), path)
    tensors: dict[str, LazyTensor] = {
        name: _piece(file.refs[place.name], place) for name, place in places.items()
    }
    return OpenStage("clip", to_dict(config), tensors, extra={MERGES: tokenizer.merges_file()})


def _check_axes(used: Mapping[str, TensorRef], places: Iterable[OpenClipPlace], path: Path) -> None:
    """Refuses what could not be taken apart."""
    for place in places:
        shape = used[place.name].shape
        rows = shape[0] if shape else 0
        if (place.third is not None and rows % 3) or (place.transposed and len(shape) != 2):
            raise CheckpointError(f"{path} does not fit a CLIP: {shown(place.name)} is {shape}")


def _piece(ref: TensorRef, place: OpenClipPlace) -> LazyTensor:
    if place.third is not None:
        return third_of_rows(ref, place.third)
    return transposed(ref) if place.transposed else ref


def read_merges(folder: Path) -> list[tuple[str, str]]:
    """Reads CLIP's own merges.

    Raises:
        CheckpointError: they are nowhere, or damaged.
    """
    path = folder / OPENAI_MERGES
    if not path.is_file():
        try:
            return open_clip_merges()
        except BackendError as error:
            raise CheckpointError(
                f"{folder} has no {OPENAI_MERGES}, without which CLIP knows no words: put OpenAI's "
                "file there (clip/ in github.com/openai/CLIP), or install open_clip_torch"
            ) from error
    try:
        with gzip.open(path, "rb") as file:
            text = file.read(MAX_MERGES_BYTES).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the merges {path}: {error}") from error
    # The list goes on after the merges that CLIP uses.
    return parse_merges("\n".join(text.split("\n")[: OPEN_CLIP_MERGES + 1]))
