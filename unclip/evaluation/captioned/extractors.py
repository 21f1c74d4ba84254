"""Networks whose features pictures are compared in: a CLIP, or one of torch-fidelity's.

Features are what the network gives, not normalised, in float32.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from unclip.clip.encoder import CLIP
from unclip.errors import BackendError, CheckpointError, InputError

BATCH = 32
"""Pictures or captions that go through a network at a time."""
NETWORKS = {
    "inception": ("inception-v3-compat", "2048", 299),
    "vgg16": ("vgg16", "fc2_relu", 224),
}
"""Of torch-fidelity: its name there, the layer whose features are taken, the side it works at. Its
CLIPs are read as pickled code, which unclip never runs, and its DINOv2 takes no file."""


@runtime_checkable
class Extractor(Protocol):
    """A network that pictures are compared in."""

    name: str
    """For people."""
    key: str
    """Tells the weights: features of two keys do not compare."""
    size_px: int
    """Side of the pictures that it takes."""

    def see(self, images: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Returns the features of pictures of its size, on the CPU."""
        ...


class CLIPExtractor:
    """A CLIP's image embeddings; it reads captions, too."""

    def __init__(self, clip: CLIP) -> None:
        """Takes a CLIP in evaluation mode, on the device where it will run.

        Raises:
            InputError: it has no image tower.
        """
        if clip.config.text_only:
            raise InputError(
                "this CLIP reads prompts alone, it has no image tower: give a whole CLIP's folder "
                "as --features"
            )
        self.clip, self.key = clip, clip.fingerprint()
        self.name = f"CLIP {self.key}"
        self.size_px = clip.config.image.image_size

    @torch.inference_mode()
    def see(self, images: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Returns image embeddings, not normalised, on the CPU."""

        def run(part: Tensor) -> Tensor:
            return self.clip.encode_image(part.float() / 127.5 - 1)

        return _in_batches(run, images)

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Float[Tensor, "batch dim"]:
        """Returns text embeddings, not normalised, on the CPU; what is too long is cut."""
        parts = []
        for start in range(0, len(texts), BATCH):
            embed = self.clip.encode_text(texts[start : start + BATCH]).embed
            parts.append(embed.float().cpu())
        return torch.cat(parts)


class FidelityExtractor:
    """A network of torch-fidelity with the weights of a file."""

    def __init__(self, network: str, weights: str | Path | None, device: torch.device) -> None:
        """Builds it.

        Args:
            network: one of `NETWORKS`.
            weights: its state dict, as torch-fidelity publishes it (`.pth`) or in safetensors.

        Raises:
            InputError: no weights are given.
            BackendError: torch-fidelity is not installed.
            CheckpointError: the file is missing, or holds other weights.
        """
        kind, layer, self.size_px = NETWORKS[network]
        if weights is None:
            raise InputError(
                f"--features {network} needs its weights: --feature-weights FILE "
                "(torch-fidelity's release page has them; nothing is fetched)"
            )
        tensors, self.key = _read_weights(Path(weights))
        self.name = f"{kind} of torch-fidelity, layer {layer}"
        self.device = device
        self.net = _build(network, tensors, Path(weights)).to(device)

    @torch.inference_mode()
    def see(self, images: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Returns the layer's features, on the CPU."""
        with torch.backends.cudnn.flags(allow_tf32=False):
            return _in_batches(lambda part: self.net(part.to(self.device))[0], images)


def unit(features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """Normalises features, in float64."""
    return functional.normalize(features.double(), dim=-1)


def _in_batches(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([run(part).float().cpu() for part in images.split(BATCH)])


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """A state dict, of a file that is never unpickled beyond plain tensors; and its hash."""
    try:
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot read --feature-weights {path}: {error.strerror or error}"
        ) from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"--feature-weights {path} is no state dict: give the file that torch-fidelity "
            "publishes for this network"
        ) from error
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise CheckpointError(f"--feature-weights {path} holds no state dict of tensors")
    return tensors, hashlib.sha256(content).hexdigest()[:16]


def _build(network: str, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
    except ImportError as error:
        raise BackendError(
            f"--features {network} needs torch-fidelity: pip install 'unclip[eval]'"
        ) from error
    kind, layer, _ = NETWORKS[network]
    # It unpickles what it is given: only what was read above, written again.
    plain = io.BytesIO()
    torch.save(tensors, plain)
    plain.seek(0)
    try:
        return FEATURE_EXTRACTORS_REGISTRY[kind](
            kind, [layer], feature_extractor_weights_path=plain
        )
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} holds no weights of {kind}: {reason}") from error
