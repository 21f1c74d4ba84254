"""`docs/scaling.md`: what the counts say, and the counts what the networks say."""

from dataclasses import asdict

import pytest

from benchmarks.scaling_page import (
    PAGE,
    RECORD,
    key_of,
    layouts,
    make_page,
    means_of,
    open_stage,
    read_counts,
)
from unclip.planning.plan import count


def test_the_committed_page_is_what_the_committed_counts_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(read_counts(RECORD)), (
        "docs/scaling.md is not what the counts give: python -m benchmarks.scaling_page page"
    )


@pytest.mark.slow
def test_a_count_is_what_the_network_says() -> None:
    counted = read_counts(RECORD)
    stage, gpus = next(pair for pair in layouts() if pair[0] == "upsampler_256")
    run = open_stage(stage)
    assert asdict(count(run, means_of(run, gpus))) == asdict(counted[key_of(stage, run, gpus)])
