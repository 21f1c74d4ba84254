"""Ablations by training: equal budgets are equal, what is done is done once, rows say it all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.ablations import arms, train
from benchmarks.ablations.answers import common_options
from benchmarks.ablations.exam import grade, write_exam
from benchmarks.ablations.questions import Arm, Question, read_questions
from decoder.train import main as train_decoder
from unclip.data.composer.heldout import is_held_out
from unclip.data.composer.world import WorldSettings, pairs
from unclip.errors import ConfigError
from unclip.evaluation.judge import load_judge

TABLE = """
questions:
  - key: width
    question: How wide
    kept: narrow, it is cheaper
    arms:
      - {name: narrow}
      - {name: wide, set: ["model.unet.channels=[32, 32]"]}
  - key: text
    question: How much text
    arms:
      - {name: some}
      - {name: no text, set: [text_dropout=1]}
"""
SMALL = (
    *("model.embed_dim=16", "model.text_width=32", "model.unet.channels=[16, 16]"),
    *("model.unet.context_dim=16", "model.sampling.num_steps=2", "train.batch_size=4"),
    *("train.steps=8", "train.warmup_steps=1", "train.precision=float32", "train.log_every=1"),
)


@pytest.fixture
def ablate(
    tmp_path: Path,
    tiny_set: Path,
    tiny_chain: Any,
    small_judge: Path,
    fresh_accelerate: Callable[[], None],
) -> Callable[..., int]:
    """`ablate("width", "--minutes", "0")` runs the command on a table of two questions."""
    (tmp_path / "table.yaml").write_text(TABLE)
    shared = ["--set", str(tiny_set), "--clip", str(tiny_chain.final("clip"))]
    shared += ["--judge", str(small_judge), "--out", str(tmp_path / "out")]
    shared += ["--seen", "4", "--heldout", "0", "--table", str(tmp_path / "table.yaml")]
    for override in SMALL:
        shared += ["--override", override]
    return lambda *arguments: train.main([*arguments, *shared])


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return json.loads((tmp_path / "out" / "rows.json").read_text())


def written(tmp_path: Path) -> dict[str, int]:
    found = (tmp_path / "out" / "arms").glob("*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
def test_from_questions_to_rows(
    ablate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate("width") == 0
    (row,) = rows(tmp_path)
    assert (row["question"], row["kept"]) == ("How wide", "narrow, it is cheaper")
    narrow, wide = row["arms"]
    assert [narrow["name"], wide["name"]] == ["narrow", "wide"]
    for arm in row["arms"]:
        assert set(arm["figures"]) == {"retrieval_seen", "cosine", "cosine_gain"}
        for figure in arm["figures"].values():
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert arm["cost"]["cpu_seconds"] > 0
    assert set(narrow["figures"]["cosine_gain"].values()) == {0.0, 4}
    assert wide["figures"]["cosine_gain"]["value"] == pytest.approx(
        wide["figures"]["cosine"]["value"] - narrow["figures"]["cosine"]["value"], abs=1e-6
    )
    assert row["real"]["cosine"]["value"] == pytest.approx(1, abs=1e-5)

    # Equal budgets: the wide network is dearer and sees fewer pictures.
    assert narrow["cost"]["pictures"] == 32
    assert wide["cost"]["gflops_forward"] > 1.5 * narrow["cost"]["gflops_forward"]
    assert wide["cost"]["pictures"] < 32
    half_a_step = 2 * wide["cost"]["tflops_training"] / wide["cost"]["pictures"]
    assert wide["cost"]["tflops_training"] == pytest.approx(
        narrow["cost"]["tflops_training"], abs=half_a_step
    )

    # The other question shares the baseline, and nothing is done again.
    before = written(tmp_path)
    assert set(before) == {"baseline", "width-wide"}
    assert ablate("--minutes", "0") == 0
    assert "1 arms are left" in capsys.readouterr().out
    assert ablate() == 0
    assert {name: written(tmp_path)[name] for name in before} == before
    assert set(written(tmp_path)) == {*before, "text-no_text"}
    first, second = rows(tmp_path)
    assert first == row
    assert second["arms"][0]["figures"] == narrow["figures"]
    assert second["arms"][1]["cost"]["tflops_training"] == narrow["cost"]["tflops_training"]
    assert "(kept: not decided)" in capsys.readouterr().out


QUESTION = Question(key="x", question="?", arms=(Arm(name="a"), Arm(name="b")))


@pytest.fixture
def bench(tmp_path: Path, tiny_set: Path, tiny_chain: Any, small_judge: Path) -> arms.Bench:
    """What the arms share, with two cases."""
    parser = common_options("test", train.TABLE, seen=2, heldout=0)
    out = ["--set", str(tiny_set), "--judge", str(small_judge), "--out", str(tmp_path)]
    options = parser.parse_args(out)
    options.clip, options.override = tiny_chain.final("clip"), list(SMALL)
    return train.prepare(options)


@pytest.mark.slow
def test_an_arm_that_was_stopped_goes_on(
    bench: arms.Bench, fresh_accelerate: Callable[[], None]
) -> None:
    run = arms.run_of(bench, QUESTION, QUESTION.arms[0])
    sets = [part for each in (*run.overrides, "train.steps=3") for part in ("--set", each)]
    assert train_decoder(["--config", str(arms.RECIPE), "--out", str(run.folder), *sets]) == 0

    assert run.kept is None
    result = arms.measure(bench, run)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6, 7, 8]
    # What the first steps took is not known, and told by the others.
    spent = json.loads((run.folder / "seconds.json").read_text())
    assert spent["steps"] == 5
    assert result.cost["cpu_seconds"] == pytest.approx(spent["seconds"] * 8 / 5)
    assert run.kept == result

    # With another CLIP or recipe it is another run: an error, no mixture.
    same, bench.clip.fingerprint = bench.clip.fingerprint, "another"
    with pytest.raises(ConfigError, match=r"was trained on the CLIP .*, now it is another"):
        arms.measure(bench, arms.run_of(bench, QUESTION, QUESTION.arms[0]))
    bench.clip.fingerprint = same
    wrong = arms.run_of(bench, QUESTION, Arm(name="other", set=("train.lr=0.5",)))
    run.folder.rename(wrong.folder)
    with pytest.raises(ConfigError, match=r"train\.lr"):
        arms.measure(bench, wrong)
    for override in ("train.steps=9", "train.seed=1", "train.batch_size=2"):
        with pytest.raises(ConfigError, match="all arms have that alike"):
            arms.run_of(bench, QUESTION, Arm(name="b", set=(override,)))


def test_the_exam_is_fixed_and_holds_out(tiny_set: Path, small_judge: Path) -> None:
    judge, settings = load_judge(small_judge), WorldSettings()
    exam = write_exam(tiny_set, settings, judge, 32, {"seen": 6, "heldout": 4})
    again = write_exam(tiny_set, settings, judge, 32, {"seen": 3})
    assert list(again.parts) == ["seen"]
    assert again.cases == exam.cases[:3]
    assert torch.equal(again.truth, exam.truth[:3])
    for group, part in exam.parts.items():
        for case in part.cases:
            assert any(map(is_held_out, pairs(case.key))) == (group == "heldout")
        assert part.rivals.shape[:2] == (len(part.cases), 100)
    grades = grade(judge, exam, exam.truth)
    assert {group: len(found) for group, found in grades.found.items()} == {"seen": 6, "heldout": 4}
    assert min(grades.cosines) > 0.999
    shuffled = grade(judge, exam, exam.truth.flip(0))
    assert max(shuffled.figures(grades)["cosine_gain"].value, 0) == 0


def test_the_tables_can_be_read() -> None:
    """Every arm of the real table is a valid run of the recipe."""
    for question in read_questions(train.TABLE):
        assert not question.arms[0].set, "the first is the baseline"
        for arm in question.arms:
            arms.load_recipe(arm.set)
    with pytest.raises(ConfigError, match="no question 'size': choose of mix, prediction"):
        read_questions(train.TABLE, ["size"])
