"""Low-rank adaptation: a frozen layer learns by a product of two narrow matrices beside it.

W x becomes W x + (alpha / rank) B A x (LoRA, Hu et al., arXiv 2106.09685, section 4.1). A begins
random and B at zero, so that the first answer is the frozen network's own. The parameters' names
are those of PEFT and diffusers: `LAYER.lora_A.weight`, `LAYER.lora_B.weight`.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclip.config import ABOVE_ZERO, INF, check_ranges
from unclip.errors import ConfigError

PROJECTIONS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_k_proj",
    "add_v_proj",
    "ff.net.0.proj",
    "ff.net.2",
)
"""Of attention and feed-forward."""
CONVOLUTIONS = ("conv1", "conv2")
"""Of residual blocks."""

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Which layers learn, and how narrow."""

    rank: int = 16
    alpha: float | None = None
    """The product counts alpha / rank; None is the rank, so that it counts once."""
    targets: tuple[str, ...] = (*PROJECTIONS, *CONVOLUTIONS)
    """Last parts of the names of the layers, as far as the network has them."""

    def __post_init__(self) -> None:
        check_ranges(self, "lora.", rank=(1, INF), alpha=(ABOVE_ZERO, INF))
        if not self.targets:
            raise ConfigError("lora.targets is empty, expected names of layers, for example to_q")

    @property
    def scale(self) -> float:
        """What the product counts."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class Adapter(nn.Module):
    """The product beside one layer."""

    def __init__(self, layer: Layer, config: LoraConfig) -> None:
        super().__init__()
        self.scale = config.scale
        if isinstance(layer, nn.Conv2d):
            shape: Any = (layer.kernel_size, layer.stride, layer.padding)
            self.lora_A = nn.Conv2d(layer.in_channels, config.rank, *shape, bias=False)
            self.lora_B = nn.Conv2d(config.rank, layer.out_channels, 1, bias=False)
        else:
            self.lora_A = nn.Linear(layer.in_features, config.rank, bias=False)
            self.lora_B = nn.Linear(config.rank, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's answer."""
        return self.lora_B(self.lora_A(x)) * self.scale

    def delta(self) -> Float[Tensor, "out in ..."]:
        """What is added to the layer's weight instead, for good."""
        return product(self.lora_A.weight, self.lora_B.weight) * self.scale


def product(
    lora_A: Float[Tensor, "rank in ..."], lora_B: Float[Tensor, "out rank ..."]
) -> Float[Tensor, "out in ..."]:
    """Multiplies both matrices to one of the layer's shape, in float32; a convolution's B has a
    kernel of 1."""
    down, up = lora_A.detach().float(), lora_B.detach().float()
    return (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])


class LoraModel(nn.Module):
    """A frozen network with adapters; its parameters and its state are the adapters' alone.

    So whatever trains, averages or saves it handles what is trained and nothing else. Copies share
    the frozen network.
    """

    def __init__(self, base: nn.Module, config: LoraConfig) -> None:
        super().__init__()
        self._frozen = (base,)  # in a tuple it is no part of this module
        self._active = _Active()
        for name, layer in find_layers(base, config.targets).items():
            _place(self, name, Adapter(layer, config))
            layer.register_forward_hook(partial(_add, self._active, name))
        base.requires_grad_(False)

    @property
    def base(self) -> nn.Module:
        """The frozen network."""
        return self._frozen[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the network with these adapters."""
        self._active.adapters = self.adapters()
        self.base.train(self.training)
        return self.base(*args, **kwargs)

    def adapters(self) -> dict[str, Adapter]:
        """The adapters by the names of their layers."""
        return {name: m for name, m in self.named_modules() if isinstance(m, Adapter)}

    @contextmanager
    def merged(self) -> Iterator[nn.Module]:
        """The network itself in evaluation mode, with all adapters in its weights while the block
        lasts; then it is as it was, bit for bit. For sampling, which reads weights past their
        layers."""
        layers = dict(self.base.named_modules())
        weights = {name: cast(Layer, layers[name]).weight for name in self.adapters()}
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        active, self._active.adapters = self._active.adapters, {}
        try:
            with torch.no_grad():
                for name, adapter in self.adapters().items():
                    weights[name].add_(adapter.delta())
            yield self.base.eval()
        finally:
            self._active.adapters = active
            with torch.no_grad():
                for name, weight in before.items():
                    weights[name].copy_(weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LoraModel":
        """Moves the frozen network along."""
        self.base._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "LoraModel":
        copied = LoraModel.__new__(LoraModel)
        nn.Module.__init__(copied)
        copied._frozen, copied._active = self._frozen, self._active
        for name, child in self.named_children():
            copied.add_module(name, copy.deepcopy(child, memo))
        return copied.train(self.training)


def find_layers(base: nn.Module, targets: tuple[str, ...]) -> dict[str, Layer]:
    """Returns the layers whose names end in one of `targets`, without those that are frozen.

    Raises:
        ConfigError: there is none.
    """
    found: dict[str, Layer] = {}
    for name, layer in base.named_modules():
        wanted = any(f".{name}".endswith(f".{target}") for target in targets)
        if wanted and isinstance(layer, Layer) and layer.weight.requires_grad:
            found[name] = layer
    if not found:
        raise ConfigError(
            f"lora.targets is {', '.join(targets)}, but the network has no such layer: it has, for "
            f"example, {', '.join(PROJECTIONS[:3])} in attention and {', '.join(CONVOLUTIONS)} in "
            "residual blocks"
        )
    return found


@dataclass
class _Active:
    """The adapters that the frozen network runs with, by its layers' names."""

    adapters: dict[str, Adapter] | None = None


def _add(active: _Active, name: str, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output + active.adapters[name](inputs[0]) if active.adapters else output


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module where a dotted name says, with empty modules on the way."""
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(last, module)
