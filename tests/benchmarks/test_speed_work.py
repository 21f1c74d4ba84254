"""What a picture costs, against figures that were counted on diffusers' own modules."""

import pytest
import torch

from benchmarks.speed.engine import STAGES
from benchmarks.speed.machine import limits, machine, versions
from benchmarks.speed.record import Limit, Work
from benchmarks.speed.shapes import KARLO_STEPS, SHAPES, Steps, find_shape
from benchmarks.speed.work import count_work, least_seconds, over_limit
from unclip.errors import ConfigError

TERA = 1e12


@pytest.fixture(scope="module")
def karlo() -> dict[str, Work]:
    return {work.stage: work for work in count_work(find_shape("karlo"), KARLO_STEPS, 1)}


def test_karlo_s_operations_are_those_of_its_diffusers_modules(karlo: dict[str, Work]) -> None:
    # Counted on diffusers' modules: 328.8, 1216.6 and 8497 GFLOP a call, 26.6 for the text.
    expected = {"text": 0.0266, "prior": 8.22, "decoder": 30.41, "super_res": 59.48}
    for stage, value in expected.items():
        assert karlo[stage].plain_flop / TERA == pytest.approx(value, rel=0.01)
    assert sum(w.plain_flop for w in karlo.values()) / TERA == pytest.approx(98.1, rel=0.01)


def test_the_text_is_run_once(karlo: dict[str, Work]) -> None:
    prior = karlo["prior"]
    # Counted on a prior that keeps its text: 0.60 TFLOP in place of 8.22.
    assert prior.flop / TERA == pytest.approx(0.61, rel=0.03)
    assert karlo["super_res"].flop == karlo["super_res"].plain_flop
    assert 0.97 < karlo["decoder"].flop / karlo["decoder"].plain_flop < 1


def test_weights_are_read_once_an_evaluation(karlo: dict[str, Work]) -> None:
    # Parameters by diffusers' modules; clip_mean and clip_std are buffers of ours.
    assert karlo["prior"].weights == 25 * (1_022_030_080 - 2 * 768)
    assert karlo["decoder"].weights == 25 * (885_439_686 + 7_878_400)
    assert karlo["super_res"].weights == 7 * 691_579_523


def test_the_limit_of_an_h200(karlo: dict[str, Work]) -> None:
    h200 = Limit(
        dtype="bfloat16", flop_per_second=790e12, bytes_per_second=4.3e12, source="measured"
    )
    # The prior is bound by reading 2.04 GB 25 times, the upsampler by computing.
    assert least_seconds(karlo["prior"], h200) == pytest.approx(11.9e-3, rel=0.01)
    assert least_seconds(karlo["super_res"], h200) == pytest.approx(75.3e-3, rel=0.01)
    seconds = [2 * least_seconds(work, h200) for work in karlo.values()]
    assert over_limit(seconds, list(karlo.values()), [h200], "bfloat16") == pytest.approx([2] * 5)
    assert over_limit(seconds, list(karlo.values()), [h200], "float32") is None


def test_a_batch_costs_its_pictures() -> None:
    tiny, steps = find_shape("tiny"), Steps(prior=2, decoder=3, super_res=2)
    one, three = count_work(tiny, steps, 1), count_work(tiny, steps, 3)
    assert tuple(work.stage for work in one) == STAGES
    for small, large in zip(one, three, strict=True):
        assert large.flop == pytest.approx(3 * small.flop)
        assert large.weights == small.weights


def test_shapes() -> None:
    assert [find_shape(name).name for name in SHAPES] == ["tiny", "small", "karlo"]
    with pytest.raises(ConfigError, match="tiny, small, karlo"):
        find_shape("huge")


def test_a_cpu_s_limits_are_measured() -> None:
    found = {limit.dtype: limit for limit in limits(torch.device("cpu"), runs=1)}
    assert set(found) == {"float32", "bfloat16"}
    assert all(1e8 < limit.flop_per_second < 1e15 for limit in found.values())
    assert all(1e8 < limit.bytes_per_second < 1e13 for limit in found.values())


def test_what_is_said_of_the_machine() -> None:
    about = machine(torch.device("cpu"))
    assert about.name
    assert about.threads == torch.get_num_threads()
    assert about.memory_bytes > 1e8
    assert {"python", "torch", "unclip"} <= {name for name, _ in versions()}
