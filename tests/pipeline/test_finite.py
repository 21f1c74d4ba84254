"""Numbers that are not finite are an error that names the stage, never a picture."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.errors import NumericalError
from unclip.pipeline.finite import check_finite, watch
from unclip.pipeline.pipeline import UnCLIPPipeline

PARTS = {
    "clip": lambda pipe: pipe.clip.text,
    "prior": lambda pipe: pipe.prior.proj_to_clip_embeddings,
    "decoder": lambda pipe: pipe.decoder.unet.conv_out,
    "upsampler_256": lambda pipe: pipe.upsamplers[0].unet.conv_out,
    "upsampler_1024": lambda pipe: pipe.upsamplers[1].unet.conv_out,
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("stage", PARTS)
def test_every_stage_is_watched(tiny_model: Path, stage: str, value: float) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model)
    with torch.no_grad():
        for parameter in PARTS[stage](pipe).parameters():
            parameter.view(-1)[0] = value
    with pytest.raises(NumericalError, match=f"the stage {stage} gave values") as caught:
        pipe("x", seed=0)
    assert "float32" in str(caught.value)
    assert caught.value.exit_code == 4


def test_overflow_in_half_precision_is_no_white_picture(tiny_model: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model)
    with torch.no_grad():
        pipe.upsamplers[0].unet.conv_out.weight.mul_(1e6)
        assert pipe.upsamplers[0].unet.conv_out.weight.isfinite().all()
    assert pipe("x", seed=0, size=256).images  # float32 can hold it
    pipe.upsamplers[0].to(torch.float16)
    with pytest.raises(NumericalError, match=r"upsampler_256 .* in float16: use --dtype float32"):
        pipe("x", seed=0, size=256)


class Once(nn.Module):
    """Overflows in one step of many."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return x * (math.inf if self.steps == 3 else 1)


def test_one_bad_step_is_enough() -> None:
    network = Once()

    def run() -> None:
        with watch(network, "decoder"):
            for _ in range(5):
                network(torch.ones(2))

    with pytest.raises(NumericalError, match="the stage decoder"):
        run()
    # The watch has ended.
    network(torch.full((2,), math.nan))
    with watch(network, "decoder"):
        network(torch.ones(2))


def test_other_errors_come_first() -> None:
    def fail() -> None:
        network: Any = Once()
        with watch(network, "decoder"):
            network(torch.full((2,), math.nan))
            raise RuntimeError("first")

    with pytest.raises(RuntimeError, match="first"):
        fail()


def test_values() -> None:
    check_finite(torch.ones(2), "x")
    with pytest.raises(NumericalError):
        check_finite(torch.tensor([1.0, math.nan]), "x")
