"""Which networks of a model take turns on the device, in which order and precision."""

from collections.abc import Iterator

import torch

from unclip.nn.residency import Residency, Resident
from unclip.pipeline.registry import Components
from unclip.pipeline.stages import prior_dtype

LOW_MEMORY_BYTES = 4_000_000_000


def take_turns(
    model: Components, device: torch.device, dtype: torch.dtype, budget: int
) -> Residency:
    """Takes all networks off their device; `summon` brings one at a time.

    Args:
        dtype: of decoder, upsamplers, and a prior that has no candidates to choose from.
        budget: bytes of the device's memory that may be used.
    """
    residents = list(residents_of(model, dtype))
    theirs = {id(p) for resident in residents for p in resident.network.parameters()}
    for network, precision in (
        (model.clip, torch.float32),
        *((u, dtype) for u in model.upsamplers),
    ):
        for parameter in network.parameters():  # a few small ones that belong to no resident
            if id(parameter) not in theirs:
                parameter.data = parameter.data.to(device, precision)
    return Residency(residents, device, budget)


def residents_of(model: Components, dtype: torch.dtype) -> Iterator[Resident]:
    """Networks in the order in which they run."""
    if not model.clip.config.text_only:
        yield Resident(model.clip.image, torch.float32)
    yield Resident(model.clip.text, torch.float32)
    if model.prior is not None:
        yield Resident(model.prior, prior_dtype(model.prior.config.sampling.candidates, dtype))
    yield Resident(model.decoder, dtype)
    for upsampler in model.upsamplers:
        yield Resident(upsampler.unet, dtype)
        if (last := upsampler.network(last=True)) is not upsampler.unet:
            yield Resident(last, dtype)
