"""Ten steps of every stage give the losses that are kept: a refactor must not change them.

A change that means to alter them renews the file: `python tests/golden/renew.py`.
"""

import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("losses.json")
STAGES = ("clip", "prior", "decoder", "upsampler_256", "upsampler_1024")


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_the_golden_ones(stage: str, request: pytest.FixtureRequest) -> None:
    losses = request.getfixturevalue("tiny_chain").losses[stage]
    expected = json.loads(GOLDEN.read_text())[stage]
    assert len(losses) >= 10
    assert losses == pytest.approx(expected, rel=1e-4)
