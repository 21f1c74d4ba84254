"""The best stage of a run is kept while it trains."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from small_artists import ColourJudge, save_small_judge
from tiny_model import decoder_config, randomise

import decoder.model
from decoder.model import Decoder
from unclip.checkpoint import atomic_folder, load_stage
from unclip.config import to_dict
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import CheckpointError
from unclip.evaluation import suite
from unclip.pipeline import choose as choose_module
from unclip.pipeline import trial as trial_module
from unclip.pipeline.choose import Chooser, choose, main, others
from unclip.pipeline.trial import Trial, open_trial
from unclip.training.shards import write_whole
from unclip.training.signals import StopSignal
from unclip.training.state import read_checkpoint

SHAPE = replace(decoder_config(), diffusion=DiffusionConfig(clip_x_start=1.0))
FEW = replace(suite.SHORT, pictures={"seen": 4, "colour": 4})


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "SHORT", FEW)
    monkeypatch.setattr(choose_module, "POLL_SECONDS", 1)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_judge(tmp_path_factory.mktemp("judge") / "weights")


@pytest.fixture
def trial(tiny_runs: Path, judge: Path) -> Trial:
    return open_trial(others([str(tiny_runs / "model")]), judge, None)


def save_checkpoint(run: Path, step: int, seed: int, tiny_runs: Path, *, clip: str = "") -> Path:
    """Writes what the decoder's trainer writes; each seed paints in colours of its own."""
    made = Decoder(SHAPE)
    randomise(made, seed)
    tensors = made.state_dict()
    tensors["unet.conv_out.bias"] *= 8
    own = load_stage(tiny_runs / "decoder" / "final").metadata["clip"]
    record = {
        "step": step,
        "trained_on": {"clip": clip or own},
        "config": {
            **{"clip": "", "image_dropout": 0.1, "model": to_dict(SHAPE)},
            "train": {"ema_final": 0.1},
        },
    }
    with atomic_folder(run / "checkpoints" / f"step_{step:08d}") as place:
        averages = {f"ema.0.1.{name}": tensor for name, tensor in tensors.items()}
        averages |= {f"ema.0.05.{name}": tensor * 2 for name, tensor in tensors.items()}
        write_whole(place, {f"model.{n}": t for n, t in tensors.items()} | averages)
        (place / "state.json").write_text(json.dumps(record))
    return run


def finish(run: Path, steps: int) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump({"train": {"steps": steps}}))
    shutil.copytree(run / "checkpoints" / f"step_{steps:08d}", run / "final")
    (run / "final" / "config.json").touch()


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_best_is_kept(
    trial: Trial, tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "SHORT", replace(FEW, pictures={"seen": 12, "colour": 32}))
    trial = replace(trial, judge=ColourJudge())
    found = {}
    for step in range(1, 5):
        choose(save_checkpoint(tmp_path, step, 40 + step, tiny_runs), trial, once=True)
        found[step] = lines(tmp_path)[-1]["score"]
        best = load_stage(tmp_path / "best", "decoder")
        first = min(found, key=lambda each: (-found[each], each))
        assert (best.metadata["step"], best.metadata["score"]) == (first, found[first])
        kept = tmp_path / "checkpoints" / f"step_{first:08d}"
        for name, tensor in read_checkpoint(kept, "ema.0.1.").items():
            assert torch.equal(best.tensors[name], tensor)
    assert len(set(found.values())) > 1  # else nothing was chosen
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert set(lines(tmp_path)[0]["figures"]) == {"retrieval_seen", "colour"}


def test_it_is_an_ordinary_stage(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    choose(save_checkpoint(tmp_path, 7, 7, tiny_runs), trial, once=True)
    built = decoder.model.from_stage(load_stage(tmp_path / "best"))
    assert built.config == SHAPE


def test_nothing_is_measured_twice(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, 1, tiny_runs)
    choose(tmp_path, trial, once=True)
    before = (tmp_path / "scores.jsonl").read_text()
    choose(tmp_path, trial, once=True)
    assert (tmp_path / "scores.jsonl").read_text() == before
    # A kill between the stage and its line costs one measurement, and changes nothing else.
    (tmp_path / "scores.jsonl").write_text('{"step": 1, "sc')
    choose(tmp_path, trial, once=True)
    assert (tmp_path / "scores.jsonl").read_text().count("\n") == 1
    assert load_stage(tmp_path / "best").metadata["step"] == 1


def test_another_judge_judges_the_best_again(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    run = save_checkpoint(tmp_path / "run", 1, 1, tiny_runs)
    choose(run, trial, once=True)
    other = open_trial(trial.model, save_small_judge(tmp_path / "other", seed=6), None)
    save_checkpoint(run, 2, 2, tiny_runs)
    choose(run, other, once=True)
    assert [line["step"] for line in lines(run)] == [1, 1, 2]
    assert lines(run)[0]["trial"] != lines(run)[1]["trial"] == lines(run)[2]["trial"]
    assert load_stage(run / "best").metadata["trial"] == lines(run)[2]["trial"]


def test_a_run_that_is_going_on(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    """Checkpoints come, are pruned and damaged; it ends with the last one."""
    save_checkpoint(tmp_path, 10, 1, tiny_runs)
    damaged = save_checkpoint(tmp_path, 11, 1, tiny_runs) / "checkpoints" / "step_00000011"
    (damaged / "shard_00000.safetensors").write_bytes(b"")
    finish(tmp_path, 10)  # of a run that was given more steps since
    (tmp_path / "config.yaml").write_text("train: {steps: 30}")

    def train() -> None:
        time.sleep(2)
        save_checkpoint(tmp_path, 20, 2, tiny_runs)
        shutil.rmtree(tmp_path / "checkpoints" / "step_00000010")
        time.sleep(2)
        save_checkpoint(tmp_path, 30, 3, tiny_runs)

    trainer = threading.Thread(target=train)
    trainer.start()
    message = choose(tmp_path, trial, once=False)
    trainer.join()
    steps = [line["step"] for line in lines(tmp_path)]
    assert (steps[0], steps[-1]) == (10, 30)
    assert 11 not in steps
    assert message.startswith("best: step ")


def test_a_checkpoint_that_vanishes(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, 1, tiny_runs)
    gone = tmp_path / "checkpoints" / "step_00000002"
    with StopSignal() as stop:
        chooser = Chooser(tmp_path, trial, stop)
        assert chooser.measure_one([gone.with_name("step_00000001"), gone])
        assert not chooser.measure_one([gone.with_name("step_00000001"), gone])


def test_refused(
    trial: Trial, tiny_runs: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--with", str(tiny_runs / "model"), "--judge", str(judge), "--once"]
    run = save_checkpoint(tmp_path / "run", 1, 1, tiny_runs, clip="0123456789abcdef")
    for folder, reason in (
        (run, "the decoder was trained on the CLIP 0123456789abcdef, but this CLIP is"),
        (tmp_path / "none", "there is no training run"),
        (tmp_path, "has no whole checkpoint"),
    ):
        assert main([str(folder), *arguments]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
    assert not (run / "best").exists()
    own = ["--with", str(tiny_runs / "model"), "--judge", str(tiny_runs / "clip" / "final")]
    assert main([str(run), *own]) == 2
    assert "this model's own CLIP" in capsys.readouterr().err


def test_stages_instead_of_a_model(trial: Trial, tiny_runs: Path, tmp_path: Path) -> None:
    parts = [f"{kind}={tiny_runs / kind}" for kind in ("clip", "prior", "decoder")]
    assert replace(trial, model=others(parts)).name("prior") == trial.name("prior")
    with pytest.raises(CheckpointError, match="also needs decoder"):
        others(parts[:2])
