"""What a GPU of each kind can do at most, by its data sheet.

Rates are dense: no structured sparsity. Sources: NVIDIA's data sheets of the A100 80 GB SXM, the
H100 SXM and the H200, AMD's of the MI300X. Networks: DGX A100 (8 x 200 Gb/s), DGX H100 and H200 and
AMD's reference of the MI300X (8 x 400 Gb/s).
"""

from dataclasses import dataclass
from typing import Literal

from unclip.errors import InputError

Precision = Literal["bf16", "float32"]
NODE = 8
"""GPUs of a node."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One kind of GPU in a node of eight."""

    name: str
    memory: float
    """Bytes."""
    bf16: float
    """FLOP/s of dense products in bfloat16."""
    float32: float
    """FLOP/s in float32; PyTorch does not use TF32 for products unless told to."""
    link: float
    """Bytes a second that a GPU sends to the others of its node."""
    network: float
    """Bytes a second that a GPU sends to other nodes."""

    def peak(self, precision: Precision) -> float:
        """FLOP/s at most."""
        return self.bf16 if precision == "bf16" else self.float32


GPUS = {
    "a100": Gpu(
        name="A100 80 GB SXM", memory=80e9, bf16=312e12, float32=19.5e12, link=300e9, network=25e9
    ),
    "h100": Gpu(
        name="H100 80 GB SXM", memory=80e9, bf16=989e12, float32=67e12, link=450e9, network=50e9
    ),
    "h200": Gpu(
        name="H200 141 GB SXM", memory=141e9, bf16=989e12, float32=67e12, link=450e9, network=50e9
    ),
    "mi300x": Gpu(
        name="MI300X 192 GB", memory=192e9, bf16=1307e12, float32=163e12, link=448e9, network=50e9
    ),
}


def find_gpu(name: str) -> Gpu:
    """Returns a kind of GPU.

    Raises:
        InputError: it is not known.
    """
    if name not in GPUS:
        raise InputError(f"--gpu {name!r} is not known: choose one of {', '.join(GPUS)}")
    return GPUS[name]
