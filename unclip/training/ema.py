"""The float32 moving averages of the weights, which are what is sampled from and shipped.

There are several, of different lengths (`unclip.training.profiles`), as flat tensors: under
`fully_shard` each process averages the parts that it has.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unclip.training.parts import local
from unclip.training.profiles import decay_at, gamma_of


def track_name(std: float) -> str:
    """Names the average of a length, in files and settings: `0.05`."""
    return f"{std:g}"


class Ema:
    """Averages of a model, a track for each length; buffers are copied, parameters averaged."""

    def __init__(self, model: nn.Module, stds: Sequence[float]) -> None:
        self.gammas = {track_name(std): gamma_of(std) for std in stds}
        parameters = {name for name, _ in model.named_parameters()}
        self.tracks = {
            track: {
                # In float32: a bf16 average would stand still at a decay of 0.999.
                name: (value.detach().float() if name in parameters else value).clone()
                for name, value in model.state_dict().items()
            }
            for track in self.gammas
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves all averages towards the model after step 1, 2, ..."""
        weights = {name: local(p.detach()).float() for name, p in model.named_parameters()}
        current = model.state_dict()
        for track, gamma in self.gammas.items():
            averages = self.tracks[track]
            moved = [local(averages[name]) for name in weights]
            share = 1 - decay_at(gamma, step)
            torch._foreach_lerp_(moved, list(weights.values()), share)  # type: ignore[reportPrivateImportUsage]  # has no public name
            for name in averages.keys() - weights.keys():
                averages[name].copy_(current[name])

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of all tracks, live, by `TRACK.NAME`."""
        return {
            f"{track}.{name}": value
            for track, averages in self.tracks.items()
            for name, value in averages.items()
        }


def track_of(tensors: Mapping[str, Tensor], std: float) -> dict[str, Tensor]:
    """Picks one track from `Ema.tensors`, by the model's own names."""
    prefix = f"{track_name(std)}."
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    assert found, f"there is no track {prefix}"
    return found


def without_weights(model: nn.Module) -> nn.Module:
    """Copies a model but for its parameters, which take no memory until `put_weights`."""
    memo: dict[int, object] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo).eval()


def put_weights(empty: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Lets a model of `without_weights` have these very tensors, not copies of them."""
    empty.load_state_dict(dict(tensors), assign=True)
    return empty
