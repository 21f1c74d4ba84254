"""Ablations without training: the same model sampled otherwise, each setting once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_artists import save_small_judge

from benchmarks.ablations import sweep
from benchmarks.ablations.exam import write_exam
from benchmarks.ablations.questions import Arm, read_questions
from benchmarks.ablations.storage import Storage, stored, through_int8
from unclip.errors import ConfigError
from unclip.evaluation.judge import load_judge
from unclip.pipeline.artist import PipelineArtist
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.stages import needed_prior

TABLE = """
questions:
  - key: guidance
    question: How much guidance
    arms:
      - {name: own}
      - {name: "1", set: [decoder.guidance_scale=1]}
      - {name: "2", set: [decoder.guidance_scale=2]}
  - key: candidates
    question: How many embeddings
    arms:
      - {name: own}
      - {name: "4", set: [prior.candidates=4]}
"""


@pytest.fixture
def sweeping(
    tmp_path: Path, tiny_set: Path, tiny_runs: Path, small_judge: Path
) -> Callable[..., int]:
    """`sweeping("candidates")` runs the command on a model of random weights."""
    (tmp_path / "table.yaml").write_text(TABLE)

    def run(*arguments: str, judge: Path = small_judge) -> int:
        shared = ["--model", str(tiny_runs / "model"), "--set", str(tiny_set)]
        shared += ["--judge", str(judge), "--out", str(tmp_path), "--seen", "2", "--heldout", "0"]
        return sweep.main([*arguments, *shared, "--table", str(tmp_path / "table.yaml")])

    return run


def written(tmp_path: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "arms").glob("*.json")}


def test_every_setting_is_measured_once(
    sweeping: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeping("guidance") == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    arms = {arm["name"]: arm for arm in row["arms"]}
    assert list(arms) == ["own", "1", "2"]
    # The model's own guidance is 2: three arms, two settings.
    assert arms["2"]["figures"] == arms["own"]["figures"] != arms["1"]["figures"]
    assert len(written(tmp_path)) == 2
    for arm in row["arms"]:
        assert arm["cost"]["cpu_seconds_a_picture"] > 0
        assert set(arm["figures"]) == {"retrieval_seen", "cosine", "cosine_gain"}

    before = written(tmp_path)
    capsys.readouterr()
    assert sweeping() == 0
    tried = [line for line in capsys.readouterr().out.splitlines() if ": " in line[:14]]
    assert tried == ["candidates: 4"]
    assert {name: written(tmp_path)[name] for name in before} == before
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [each["key"] for each in rows] == ["guidance", "candidates"]
    assert rows[0] == row


def test_another_judge_measures_anew(
    sweeping: Callable[..., int], tmp_path: Path, tiny_runs: Path, capsys
) -> None:
    assert sweeping("candidates") == 0
    before = written(tmp_path)
    assert sweeping("candidates", judge=save_small_judge(tmp_path / "judge", seed=6)) == 0
    after = written(tmp_path)
    assert set(after) == set(before)
    assert all(after[name] > before[name] for name in before)
    assert sweeping(judge=tiny_runs / "clip" / "final") == 2
    assert "the judge is this model's own CLIP" in capsys.readouterr().err


def test_settings_are_the_model_s_but_for_the_arm_s(
    tiny_runs: Path, tiny_set: Path, small_judge: Path, tmp_path: Path
) -> None:
    pipe = UnCLIPPipeline.from_pretrained(tiny_runs / "model")
    judge, world = load_judge(small_judge), sweep.world_of(sweep.RECIPE)
    exam = write_exam(tiny_set, world, judge, 64, {"seen": 1})
    bench = sweep.Bench(out=tmp_path, pipe=pipe, judge=judge, exam=exam)
    own = bench.settings(Arm(name="own"))
    prior = needed_prior(pipe.model)
    assert (own.prior, own.decoder) == (prior.config.sampling, pipe.decoder.config.sampling)
    other = bench.settings(Arm(name="few", set=("decoder.num_steps=2", "prior.candidates=1")))
    assert (other.decoder.num_steps, other.prior.candidates) == (2, 1)
    assert other.decoder.guidance_scale == own.decoder.guidance_scale

    few = sweep.sampled(pipe, other)
    assert pipe.decoder.config.sampling == own.decoder
    assert few.settings().decoder_steps == 2
    prompts = ["a red apple"]
    painted = [PipelineArtist(each).paint(prompts, [0]) for each in (pipe, few)]
    assert not torch.equal(*painted)

    with pytest.raises(ConfigError, match=r"the arm x.*decoder\.step"):
        bench.settings(Arm(name="x", set=("decoder.step=2",)))
    for question in read_questions(sweep.TABLE):
        for arm in question.arms:
            sweep.sampled(pipe, bench.settings(arm))


def test_int8_rounds_each_output_channel_by_its_own_scale() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 4) * torch.tensor([1e-3, 1.0, 50.0, 0.2, 0.0])[:, None, None]
    back = through_int8(weight)
    largest = weight.abs().flatten(1).amax(1)
    error = (back - weight).abs().flatten(1).amax(1)
    assert (error <= largest * (0.5 / 127) * 1.001).all()
    assert (error[:4] > 0).all()
    steps = back[1] / back[1].abs().amax() * 127
    assert torch.allclose(steps, steps.round(), atol=1e-3)


def test_stored_weights_are_a_copy_of_so_many_bytes() -> None:
    layer = torch.nn.Linear(8, 4)
    before = layer.weight.detach().clone()
    narrow = stored(layer, Storage(bits=8))
    assert torch.equal(layer.weight, before)
    assert not torch.equal(narrow.weight, before)
    assert torch.equal(narrow.bias, layer.bias)
    assert torch.equal(narrow.weight, through_int8(before))
    assert stored(layer, Storage()) is layer
    assert Storage().num_bytes(layer) == 2 * (32 + 4)
    assert Storage(bits=8).num_bytes(layer) == 32 + 4 * 4 + 2 * 4
