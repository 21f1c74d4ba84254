"""What a run writes down, and what it forgets when it goes back to a checkpoint."""

import json
from pathlib import Path

import pytest
from PIL import Image

from unclip.training import tracking
from unclip.training.tracking import Tracker, forget_after


@pytest.fixture(autouse=True)
def no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)


def test_figures_go_to_the_log_and_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(tmp_path, "prior", 40, 0, silent=False)
    tracker.log(10, {"loss": 0.51234, "lr": 1e-4, "images_per_second": 123.4, "skipped": 0})
    lines = capsys.readouterr().out.splitlines()
    assert "TensorBoard is not installed (pip install tensorboard)" in lines[0]
    assert lines[1].startswith("prior: step 10/40  loss 0.5123  lr 0.0001  images_per_second 123.4")
    assert lines[1].endswith("0:00:00 left")
    figures = json.loads((tmp_path / "log.jsonl").read_text())
    assert figures == {
        "step": 10,
        "loss": 0.51234,
        "lr": 1e-4,
        "images_per_second": 123.4,
        "skipped": 0,
    }


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(tmp_path, "prior", 40, 0, silent=True)
    tracker.log(10, {"loss": 1.0})
    tracker.say("hello")
    tracker.close()
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "los')
    forget_after(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    forget_after(tmp_path / "none.jsonl", 2)
    assert [child.name for child in tmp_path.iterdir()] == ["log.jsonl"]


def test_sheets_are_named_by_their_step(tmp_path: Path) -> None:
    Tracker(tmp_path, "prior", 40, 0, silent=False).sheet(20, Image.new("RGB", (2, 2)))
    assert (tmp_path / "samples" / "step_00000020.png").is_file()


def test_a_full_disk_costs_a_line_not_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(tmp_path, "prior", 40, 0, silent=False)
    (tmp_path / "log.jsonl").mkdir()
    (tmp_path / "samples").write_text("")
    tracker.log(1, {"loss": 1.0})
    tracker.sheet(1, Image.new("RGB", (2, 2)))
    printed = capsys.readouterr().out
    assert "warning: cannot write the figures: Is a directory; training goes on" in printed
    assert "step 1/40  loss 1" in printed
    assert "warning: cannot write a sample sheet: File exists; training goes on" in printed


def test_tensorboard_gets_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.undo()
    for first_step, steps in ((0, (1, 2, 3, 4)), (2, (3, 4, 5))):
        tracker = Tracker(tmp_path, "prior", 40, first_step, silent=False)
        for step in steps:
            tracker.log(step, {"loss": first_step + step / 10})
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = [(event.step, round(event.value, 3)) for event in events.Scalars("loss")]
    assert logged == [(1, 0.1), (2, 0.2), (3, 2.3), (4, 2.4), (5, 2.5)]
