"""Whole pictures by recorded steps, as on CUDA, with a recorder that works on a CPU."""

import gc
import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tape import TapeRecorder

from unclip.errors import NumericalError
from unclip.nn import graphs
from unclip.nn.graphs import graphs_of
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.stages import lay_out


@pytest.fixture
def recorded(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> UnCLIPPipeline:
    """A model that records on the CPU."""
    monkeypatch.setitem(graphs.RECORDERS, "cpu", TapeRecorder)
    recorded = UnCLIPPipeline.from_pretrained(tiny_model)
    lay_out(recorded.model)
    return recorded


@contextmanager
def plain_steps() -> Iterator[None]:
    """Within it a CPU records nothing."""
    kept = graphs.RECORDERS.pop("cpu")
    try:
        yield
    finally:
        graphs.RECORDERS["cpu"] = kept


SETTINGS: list[dict[str, Any]] = [
    {},
    {"quality": "draft"},
    {"sampler": "ddpm", "guidance_scale": 5.0},
    {"sampler": "ddim", "guidance_scale": 1.0, "super_res_sampler": "ddpm"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_pictures_are_those_of_plain_steps(
    pipe: UnCLIPPipeline, recorded: UnCLIPPipeline, settings: dict[str, Any]
) -> None:
    """Other prompts of one length replay the graphs: nothing of the first prompt may be left."""
    for prompt, seed in (("a red apple", 1), ("a car hill", 2), ("a red apple", 3)):
        common = {"seed": seed, "size": 256, "output_type": "pt"} | settings
        with plain_steps():
            plain = pipe(prompt, 2, **common)
        again = recorded(prompt, 2, **common)
        assert torch.allclose(plain.image_embeds, again.image_embeds, atol=1e-4)
        assert (plain.images - again.images).abs().max() < 1e-3
    graph = graphs_of(recorded.upsamplers[0])
    assert len(graph) == 1


def test_a_replay_is_watched_too(recorded: UnCLIPPipeline) -> None:
    recorded("x", seed=0, size=64)
    bias = recorded.decoder.unet.conv_out.bias
    assert bias is not None
    with torch.no_grad():
        bias[0] = math.inf
    with pytest.raises(NumericalError, match="the stage decoder"):
        recorded("x", seed=0, size=64)
    with torch.no_grad():
        bias[0] = 0.1
    assert recorded("x", seed=0, size=64).images


def test_a_model_that_nobody_holds_is_gone(recorded: UnCLIPPipeline, tiny_model: Path) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_model)
    pipe("x", seed=0, size=64)
    assert len(graphs_of(pipe.decoder)) == 1
    gone = weakref.ref(pipe.decoder), weakref.ref(pipe.prior)
    del pipe
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
