"""Ten steps of every stage give the losses that are kept: a refactor must not change them.

A change that means to alter them renews the file with `UNCLIP_RENEW_GOLDEN=1 pytest tests/golden`,
and its commit says why.
"""

import json
import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("losses.json")
STAGES = ("clip", "prior", "decoder", "upsampler_256", "upsampler_1024")


@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_the_golden_ones(stage: str, request: pytest.FixtureRequest) -> None:
    losses = request.getfixturevalue("tiny_chain").losses
    if os.environ.get("UNCLIP_RENEW_GOLDEN"):
        GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
        pytest.skip("the golden losses were renewed")
    assert len(losses[stage]) >= 10
    assert losses[stage] == pytest.approx(json.loads(GOLDEN.read_text())[stage], rel=1e-4)
