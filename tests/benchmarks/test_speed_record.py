"""Records: ratios of rounds, what makes one void, the tables made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speed_records import record_of

from benchmarks.speed.compare import compare
from benchmarks.speed.counts import count_between, shares
from benchmarks.speed.ratios import ratio, seconds
from benchmarks.speed.record import read_record, write_record
from benchmarks.speed.rounds import order
from benchmarks.speed.table import table_of
from benchmarks.speed.targets import TARGETS, find, missed, targets_table
from benchmarks.speed.verdict import problems
from unclip.errors import ConfigError, DataError


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    # A machine that is ten times slower in the second round slows both: medians of times would say
    # (2 + 20) / ... what no round saw.
    record = record_of({"P0": [2.0, 20.0, 6.0], "U0": [1.0, 10.0, 2.0]})
    assert ratio(record, "P0", "U0") == pytest.approx((2, 2, 3))
    assert ratio(record, "P0", "U0", "prior") == pytest.approx((2, 2, 3))
    assert seconds(record, "U0") == pytest.approx((2, 1, 10))


def test_a_record_that_holds() -> None:
    assert problems(record_of({"P0": [2.0] * 7, "U0": [1.0] * 7})) == []


@pytest.mark.parametrize(("drift", "void"), [(1.029, False), (1.031, True), (0.969, True)])
def test_void_where_the_reference_differs_from_itself(drift: float, void: bool) -> None:
    record = record_of({"P0": [2.0] * 7, "U0": [1.0] * 7}, again=[2.0 * drift] * 7)
    assert bool(problems(record)) == void
    if void:
        assert "differs from itself by 3." in problems(record)[0]


def test_one_odd_round_is_no_drift() -> None:
    again = [2.0] * 6 + [9.0]
    assert problems(record_of({"P0": [2.0] * 7, "U0": [1.0] * 7}, again=again)) == []


def test_void_where_pictures_differ_or_rounds_lack() -> None:
    record = record_of({"P0": [2.0] * 7, "U0": [1.0] * 7})
    row = record.rows[1]
    other = replace(row, compared=replace(row.compared, equal=False, error=0.5, psnr=9.0))
    (found,) = problems(replace(record, rows=(record.rows[0], other)))
    assert found.startswith("U0: its pictures are not the reference's (relative distance 0.5")
    grey = replace(row, compared=replace(row.compared, saturated=0.75))
    assert "75%" in problems(replace(record, rows=(record.rows[0], grey)))[0]
    lost = replace(row, compared=replace(row.compared, finite=False))
    assert "not finite" in problems(replace(record, rows=(record.rows[0], lost)))[0]
    assert "6 rounds" in problems(replace(record, rounds=record.rounds[:6]))[0]
    partial = (*record.rounds[:6], record.rounds[6][:2])
    assert "1 rounds are not of all" in problems(replace(record, rounds=partial))[0]


def test_pictures_are_compared() -> None:
    reference = np.full((1, 4, 4, 3), 0.5, dtype=np.float32)
    same = compare(reference, reference, "float32")
    assert (same.error, same.psnr, same.equal) == (0, 200, True)
    near = reference + 0.0005
    assert compare(near, reference, "bfloat16").psnr == pytest.approx(66.0, abs=0.1)
    assert compare(near, reference, "float32").error == pytest.approx(1e-3, rel=0.01)
    far = reference + np.float32(0.04)
    assert not compare(far, reference, "bfloat16").equal  # 28 dB
    assert compare(far, reference, "bfloat16", equal_output=False).equal
    broken = np.full_like(reference, np.nan)
    assert not compare(broken, reference, "float32", equal_output=False).equal
    assert compare(np.ones_like(reference), reference, "float32").saturated == 1


def test_every_round_begins_elsewhere() -> None:
    names = ["P0", "P1", "U0"]
    turns = [order(names, number) for number in range(8)]
    assert turns[0] == ["P0", "P1", "P0 again", "U0"]
    assert {turn[0] for turn in turns} == {*names, "P0 again"}
    assert all(sorted(turn) == sorted([*names, "P0 again"]) for turn in turns)
    assert order(["P0"], 0) == ["P0", "P0 again"]


def test_kernels_are_counted_between_marks() -> None:
    assert count_between([1, 2, 11, 12, 13, 31], [10, 20, 30, 40]) == (2, 3, 0, 1)
    with pytest.raises(AssertionError, match="3 marks"):
        count_between([], [1, 2, 3])


def test_shares_of_a_profile() -> None:
    found = shares([("a", 1.0, 3), ("b", 3.0, 1), ("c", 0.0, 9)], most=2)
    assert [(share.operation, share.share, share.calls) for share in found] == [
        ("b", 0.75, 1),
        ("a", 0.25, 3),
    ]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = record_of({"P0": [2.0, 2.5], "U0": [1.0, 1.25]})
    path = tmp_path / "deep" / "cpu.json"
    write_record(path, record)
    assert read_record(path) == record
    assert [p.name for p in path.parent.iterdir()] == ["cpu.json"]
    lines = path.read_text().splitlines()
    assert sum(line.startswith('  [{"engine"') for line in lines) == 2  # a round a line
    path.write_text("[]")
    with pytest.raises(DataError, match="no record"):
        read_record(path)
    path.write_text('{"rounds": []}')
    with pytest.raises(ConfigError, match="about is missing"):
        read_record(path)
    with pytest.raises(DataError, match="cannot read"):
        read_record(tmp_path / "none.json")


def test_a_table() -> None:
    text = table_of(record_of({"P0": [2.0] * 7, "U0": [1.0] * 7}))
    assert "| P0 / U0 | 2.00 | 2.00 | 2.00 | 2.00 | **2.00** (2.00 to 2.00) |" in text
    assert "| P0 / P0 again | 1.00 |" in text
    assert "| U0 | ours (float32) | 0.25 | 0.25 | 0.25 | 0.25 | 1 (1 to 1) | 1 |" in text
    # Each stage's limit is a tenth of a second: computing 1 GFLOP at 10 a second.
    assert "| 2.50 | 2.5, 2.5, 2.5, 2.5, 2.5 |" in text


def test_targets() -> None:
    record = record_of({"P0": [2.0] * 7, "U0": [1.0] * 7, "U0-bf16": [0.9] * 7})
    lines = targets_table([("cpu", record)]).splitlines()
    assert len(lines) == 2 + len(TARGETS)
    assert (
        "| CPU, equal output, float32, against P0 | 1.6 × | 2.3 × | 2.00 × | must reached |"
        in lines
    )
    assert (
        "| H200, batch 1, time over the machine's limit | ≤ 2 | ≤ 1.6 | – | not measured |" in lines
    )
    named = [target.text for target, _, _ in missed([("cpu", record)])]
    assert named == [
        "CPU, equal steps, bfloat16, against P0",
        "CPU, the prior alone, float32, against P0",
        "CPU, the prior alone, bfloat16, against P0",
    ]
    over = next(target for target in TARGETS if target.less_is_better)
    assert [over.verdict(value) for value in (1.5, 1.8, 2.1)] == [
        "aim reached",
        "must reached",
        "**missed**",
    ]
    with pytest.raises(DataError, match="a, b all answer"):
        find(TARGETS[0], [("a", record), ("b", record)])
