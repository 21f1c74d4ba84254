"""Plans: what follows from what, what does not fit, and what a user is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unclip.cli.main import main
from unclip.planning.gpus import GPUS
from unclip.planning.kinds import Planned, open_run
from unclip.planning.plan import KEPT_FREE, Means, make_plan

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = CONFIGS / "tiny" / "prior.yaml"
MEANS = Means(gpu=GPUS["h100"], gpus=2, mfu=0.4, price=3.0, images=100.0, disk=1e9)


@pytest.fixture(scope="module")
def run() -> Planned:
    return open_run(TINY)


def test_a_plan_follows_from_what_is_counted(run: Planned) -> None:
    plan = make_plan(run, MEANS)
    assert [option.name for option in plan.options] == [
        "ddp",
        "fsdp2",
        "ddp, recomputing",
        "fsdp2, recomputing",
    ]
    assert (plan.batch, plan.steps, plan.batch_per_gpu) == (8, 10, 4)
    assert plan.epochs == 8 * 10 / 100
    assert plan.checkpoint_bytes == 4 * run.parameters * (3 + 2)
    plain = plan.options[0]
    assert plain.flops_per_sample == plan.train_flops
    # float32: its peak is not that of bf16. Half of the gradients go over the link, twice.
    compute = 4 * plan.train_flops / (67e12 * 0.4)
    sent = 2 * 4 * run.parameters / 2 / 450e9
    step = compute + max(0.0, sent - 2 / 3 * compute)
    assert plain.step_seconds == pytest.approx(step)
    assert plain.images_per_second == pytest.approx(8 / step)
    assert plain.days == pytest.approx(10 * step / 86400)
    assert plain.gpu_hours == pytest.approx(48 * plain.days)
    assert plain.cost == pytest.approx(3 * plain.gpu_hours)
    assert plain.loader_bytes_per_second == pytest.approx(8 / step * run.sample_bytes)
    assert plan.best in plan.options
    assert not plan.would_fit


def test_what_does_not_fit_is_told_with_what_would(run: Planned) -> None:
    fits = make_plan(run, MEANS)
    least = min(option.memory.total for option in fits.options)
    small = replace(MEANS.gpu, memory=(least - 1) / (1 - KEPT_FREE))
    plan = make_plan(run, replace(MEANS, gpu=small))
    assert plan.best is None
    assert "fsdp2, recomputing with --set train.accumulation=2" in plan.would_fit
    assert "fsdp2, recomputing on --gpu a100" in plan.would_fit
    # With that many parts it does.
    again = make_plan(open_run(TINY, ["train.accumulation=2"]), replace(MEANS, gpu=small))
    assert "fsdp2, recomputing" in [option.name for option in again.options if option.fits]
    # Where only what computes twice fits, what would do without is told, too.
    plain = min(o.memory.total for o in fits.options if "recomputing" not in o.name)
    between = replace(MEANS.gpu, memory=(least + plain) / 2 / (1 - KEPT_FREE))
    told = make_plan(run, replace(MEANS, gpu=between))
    assert told.best is not None
    assert "fsdp2 with --set train.accumulation=2" in told.would_fit
    assert make_plan(run, replace(MEANS, gpus=1)).options[1].name == "ddp, recomputing"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["plan", *arguments])
    captured = capsys.readouterr()
    return code, captured.out if code == 0 else captured.err


def test_the_command_tells_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    upsampler = str(CONFIGS / "tiny" / "upsampler_256.yaml")
    code, text = told(capsys, upsampler, "--gpus", "2", "--gpu", "a100", "--price", "2")
    assert code == 0
    assert text.startswith("upsampler: 96,313 parameters\n")
    for part in ("2 x A100 80 GB SXM, 80.0 GB each, at an MFU of 30%", "ddp: fits", " dollars"):
        assert part in text
    code, text = told(capsys, upsampler, "--gpus", "2", "--json", "--mfu", "0.2")
    answer = json.loads(text)
    assert (answer["ok"], answer["means"]["mfu"]) == (True, 0.2)
    assert answer["plan"]["parameters"] == 96_313
    assert len(answer["plan"]["options"]) == 4
    assert answer["plan"]["options"][0]["memory"]["total"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.yaml"], "cannot read the configuration none.yaml: No such file"),
        ([str(CONFIGS / "tiny" / "clip.yaml")], "is of no stage that can be planned"),
        ([str(TINY), "--gpus", "3"], "8 does not divide over 3 GPUs x 1 accumulated parts: use 2"),
        ([str(TINY), "--gpus", "16"], "use 8 GPUs, or --set train.batch_size=16"),
        ([str(TINY), "--gpus", "0"], "--gpus is 0, expected 1 or more"),
        ([str(TINY), "--gpu", "tpu"], "--gpu 'tpu' is not known: choose one of a100, h100"),
        ([str(TINY), "--mfu", "40"], "--mfu is 40, expected above 0 to 1: 0.4 is 40 %"),
        ([str(TINY), "--images", "0"], "--images is 0, expected above 0"),
        ([str(TINY), "--price", "-1"], "--price is -1, expected 0 or more"),
        ([str(TINY), "--set", "train.step=4"], "unknown key train.step; did you mean train.steps?"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code, text = told(capsys, *arguments)
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert says in text


@pytest.mark.slow
def test_a_real_run_takes_what_was_predicted() -> None:
    from benchmarks.plan_memory import TOLERANCE, compare

    found = compare("upsampler", "small")
    assert abs(found["ratio"] - 1) <= TOLERANCE, found
