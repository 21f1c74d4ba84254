"""The loop in this process: resume, refusal, reports, signals, and every message of the command."""

import json
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy_stage
from processes import tensors

from unclip.checkpoint import load_stage
from unclip.errors import CheckpointError
from unclip.training import saving, state, world
from unclip.training.ema import track_of

Toy = Callable[..., int]


def weights(out: Path, step: int = 10) -> dict[str, dict[str, torch.Tensor]]:
    return tensors(out, step)


def same(a: Path, b: Path, step: int = 10) -> bool:
    first, second = weights(a, step), weights(b, step)
    return all(
        first[part].keys() == second[part].keys()
        and all(torch.equal(first[part][name], second[part][name]) for name in first[part])
        for part in first
    )


def log(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param((), marks=pytest.mark.slow),
        ("train.accumulation=2", "train.precision=float32"),
    ],
)
def test_a_resume_after_any_step_changes_nothing(
    tmp_path: Path, toy: Toy, setup: tuple[str, ...]
) -> None:
    # 20 pictures in batches of 4: the epoch ends at step 5; half of a step's sheet and dropout too.
    assert toy(tmp_path / "whole", "train.sheet_every=3", *setup) == 0
    for step in range(1, 10):
        out = tmp_path / str(step)
        assert toy(out, f"train.steps={step}", *setup) == 0
        assert toy(out, *setup) == 0
        assert same(tmp_path / "whole", out), step
        assert log(tmp_path / "whole") == log(out)
    final = load_stage(tmp_path / "whole" / "final", "toy").tensors
    for name, value in track_of(weights(tmp_path / "whole")["ema"], 0.1).items():
        assert torch.equal(final[name], value)


def test_dropout_and_the_seed_matter(tmp_path: Path, toy: Toy) -> None:
    # Else the tests above would prove nothing.
    toy(tmp_path / "a")
    toy(tmp_path / "b", "dropout=0.0")
    toy(tmp_path / "c", "train.seed=1")
    assert not same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_accumulation_gives_the_same_step(tmp_path: Path, toy: Toy) -> None:
    for parts in (1, 2, 4):
        toy(
            tmp_path / str(parts),
            f"train.accumulation={parts}",
            "train.precision=float32",
            "dropout=0",
        )
    whole = weights(tmp_path / "1")["model"]
    for parts in (2, 4):
        for name, value in weights(tmp_path / str(parts))["model"].items():
            assert torch.allclose(value, whole[name], atol=1e-6)


def test_the_folder_of_a_run(tmp_path: Path, toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert toy(out, "train.save_every=4", "train.sheet_every=5") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "ema",
        "final",
        "lock",
        "log.jsonl",
        "samples",
    ]
    assert [p.name for p in sorted((out / "checkpoints").iterdir())] == [
        "step_00000008",
        "step_00000010",
    ]
    assert [p.name for p in sorted((out / "samples").iterdir())] == [
        "step_00000005.png",
        "step_00000010.png",
    ]
    record = json.loads((out / "checkpoints" / "step_00000010" / "state.json").read_text())
    assert (record["step"], record["world_size"]) == (10, 1)
    assert record["config"]["train"]["save_every"] == 4
    assert set(record) >= {"unclip", "torch", "commit"}
    # Picture 0 of each of the two epochs reports a skipped file.
    assert [line["skipped"] for line in log(out)] == sorted(line["skipped"] for line in log(out))
    assert log(out)[-1]["skipped"] == 2
    rates = [line["lr"] for line in log(out)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075] + [0.01] * 7)
    assert set(log(out)[0]) == {"step", "loss", "level", "grad_norm", "lr", "skipped", "nonfinite"}
    printed = capsys.readouterr().out
    assert "1,187 parameters on 1 x cpu, bf16, from step 0" in printed
    if platform.machine() == "x86_64" and (flags := Path("/proc/cpuinfo")).is_file():
        emulated = "avx512bw" not in flags.read_text()
        assert ("--set train.precision=float32 is much faster" in printed) == emulated
    assert "step 10/10  loss 0." in printed
    assert "images_per_second" in printed
    assert "left" in printed
    assert f"finished: {out / 'final'}" in printed


def test_figures_are_means_between_reports(tmp_path: Path, toy: Toy) -> None:
    toy(tmp_path / "each")
    toy(tmp_path / "some", "train.log_every=4")
    each, some = log(tmp_path / "each"), log(tmp_path / "some")
    assert [line["step"] for line in some] == [4, 8, 10]
    for line, first in zip(some, (0, 4, 8), strict=True):
        between = each[first : line["step"]]
        assert line["loss"] == pytest.approx(sum(x["loss"] for x in between) / len(between))


def test_a_longer_run_goes_on_and_a_finished_one_stays(tmp_path: Path, toy: Toy) -> None:
    out = tmp_path / "run"
    toy(out)
    before = weights(out)
    stamp = (out / "checkpoints" / "step_00000010").stat().st_ino
    assert toy(out) == 0
    assert (out / "checkpoints" / "step_00000010").stat().st_ino == stamp
    assert all(torch.equal(before["ema"][k], v) for k, v in weights(out)["ema"].items())
    assert toy(out, "train.steps=12") == 0
    assert [line["step"] for line in log(out)] == list(range(1, 13))


class TestNonFinite:
    def test_the_weights_never_see_it(self, tmp_path: Path, toy: Toy) -> None:
        # Sample 9 belongs to step 3, the last step here: the weights must be those of step 2.
        toy(tmp_path / "clean", "train.steps=2")
        assert toy(tmp_path / "nan", "train.steps=3", "nan_positions=[9]") == 0
        clean, nan = weights(tmp_path / "clean", 2), weights(tmp_path / "nan", 3)
        for part in clean:
            assert all(torch.equal(clean[part][name], nan[part][name]) for name in clean[part])
        line = log(tmp_path / "nan")[-1]
        assert (line["step"], line["nonfinite"]) == (3, 1)
        assert "loss" not in line

    def test_the_run_goes_on_and_resumes_exactly(self, tmp_path: Path, toy: Toy) -> None:
        bad = "nan_positions=[9, 13]"
        toy(tmp_path / "whole", bad)
        toy(tmp_path / "parts", bad, "train.steps=3")
        toy(tmp_path / "parts", bad)
        assert same(tmp_path / "whole", tmp_path / "parts")
        assert log(tmp_path / "whole") == log(tmp_path / "parts")
        assert log(tmp_path / "whole")[-1]["nonfinite"] == 2

    def test_an_infinite_gradient_is_refused_too(
        self, tmp_path: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = toy_stage.ToyStage.loss

        def steep(stage: Any, model: Any, batch: Any, draws: Any) -> Any:
            values = plain(stage, model, batch, draws)
            weight = next(model.parameters())
            # The square root of zero: a finite value, an infinite slope.
            values["loss"] = values["loss"] + (weight - weight.detach()).abs().sqrt().sum()
            assert torch.isfinite(values["loss"])
            return values

        monkeypatch.setattr(toy_stage.ToyStage, "loss", steep)
        assert toy(tmp_path / "run", "train.steps=1") == 0
        assert log(tmp_path / "run")[0]["nonfinite"] == 1
        found = weights(tmp_path / "run", 1)
        assert not any(value.any() for value in found["optimizer"].values())
        assert all(torch.isfinite(value).all() for value in found["model"].values())

    def test_too_many_in_a_row_end_the_run(
        self, tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        stop = ("nan_positions=[20, 24, 29]", "train.max_nonfinite=3", "train.save_every=4")
        assert toy(out, *stop) == 3
        streams = capfd.readouterr()
        assert "samples 20 to 23 of the stream) is not finite: the weights are left" in streams.out
        assert streams.err.startswith("error: the loss or gradient of step 8 (samples 28 to 31")
        assert len(streams.err.splitlines()) == 1
        assert [p.name for p in (out / "checkpoints").iterdir()] == ["step_00000004"]
        # Two in a row and then a good one do not.
        assert toy(tmp_path / "two", "nan_positions=[20, 24, 32, 36]", stop[1]) == 0


class TestTrouble:
    def test_a_failed_save_is_told_and_training_goes_on(
        self,
        tmp_path: Path,
        toy: Toy,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        calls = 0
        plain = saving.write_shard

        def sometimes(*args: Any) -> str:
            nonlocal calls
            calls += 1
            if calls in (2, 3):
                raise OSError(28, "No space left on device")
            return plain(*args)

        monkeypatch.setattr(saving, "write_shard", sometimes)
        assert toy(tmp_path / "run", "train.save_every=2") == 0
        printed = capfd.readouterr().err
        assert printed.count("No space left on device; training goes on") == 2
        monkeypatch.undo()
        toy(tmp_path / "clean")
        assert same(tmp_path / "run", tmp_path / "clean")

    def test_a_failed_last_save_fails_the_run(
        self,
        tmp_path: Path,
        toy: Toy,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        def full(*_: Any) -> None:
            raise CheckpointError("cannot write it: No space left on device")

        monkeypatch.setattr(state.Checkpoints, "save", full)
        assert toy(tmp_path / "run") == 2
        assert capfd.readouterr().err == "error: cannot write it: No space left on device\n"

    def test_a_damaged_newest_checkpoint_costs_only_time(
        self, tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str]
    ) -> None:
        toy(tmp_path / "whole")
        out = tmp_path / "run"
        toy(out, "train.steps=7", "train.save_every=3")
        newest = out / "checkpoints" / "step_00000007" / "shard_00000.safetensors"
        newest.write_bytes(newest.read_bytes()[:-1])
        assert toy(out) == 0
        streams = capfd.readouterr()
        assert "warning: " in streams.err
        assert "step_00000007" in streams.err
        assert "from step 6" in streams.out
        assert same(tmp_path / "whole", out)
        assert log(tmp_path / "whole") == log(out)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_saves_and_the_run_goes_on_later(
        self,
        tmp_path: Path,
        toy: Toy,
        monkeypatch: pytest.MonkeyPatch,
        number: signal.Signals,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        toy(tmp_path / "whole")
        plain = toy_stage.ToyData.__getitem__

        def interrupting(data: Any, key: tuple[int, int]) -> Any:
            if key[1] == 14:  # in step 4
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)  # as a launcher forwards it
            return plain(data, key)

        out = tmp_path / "run"
        with monkeypatch.context() as patch:
            patch.setattr(toy_stage.ToyData, "__getitem__", interrupting)
            with pytest.raises(SystemExit) as caught:
                toy(out)
        assert caught.value.code == (130 if number == signal.SIGINT else 85)
        assert "stopped, saved at 4" in capsys.readouterr().out
        assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
        assert not (out / "final").exists()
        assert toy(out) == 0
        assert same(tmp_path / "whole", out)

    def test_another_world_than_the_launched_one_is_refused(
        self,
        tmp_path: Path,
        toy: Toy,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setattr(world, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
        assert toy(tmp_path / "run") == 2
        error = capfd.readouterr().err
        assert "launched as 2 processes, but this one sees 1" in error
        assert "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2" in error
        assert not (tmp_path / "run").exists()


class TestCommand:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("train.lrr=1", "unknown key train.lrr; did you mean train.lr?"),
            ("train.batch_size=3", None),
            ("train.accumulation=3", "4 does not divide over 1 processes x 3 accumulated parts"),
            ("train.keep=1", "train.keep is 1, expected 2 or more"),
            ("pictures=0", "the data set is empty"),
        ],
    )
    def test_a_wrong_setting_is_one_line(
        self,
        tmp_path: Path,
        toy: Toy,
        capfd: pytest.CaptureFixture[str],
        override: str,
        message: str | None,
    ) -> None:
        assert toy(tmp_path / "run", override) == (2 if message else 0)
        error = capfd.readouterr().err
        if message:
            assert message in error
            assert len(error.splitlines()) == 1

    def test_another_configuration_does_not_go_on(
        self, tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str]
    ) -> None:
        toy(tmp_path / "run", "train.steps=2")
        assert toy(tmp_path / "run", "train.lr=0.02") == 2
        assert "train.lr = 0.01, now it is 0.02" in capfd.readouterr().err
        assert toy(tmp_path / "run", "train.accumulation=2", "train.log_every=5") == 0

    def test_the_default_folder_follows_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        monkeypatch.setattr("unclip.training.entry.train_run", lambda *args: seen.append(args[2]))
        monkeypatch.chdir(tmp_path)
        config = tmp_path / "configs" / "pocket" / "prior.yaml"
        config.parent.mkdir(parents=True)
        config.write_text("train: {steps: 1, batch_size: 1, lr: 1}")
        assert toy_stage.main(["--config", str(config)]) == 0
        assert seen == [Path("runs/pocket/prior")]

    def test_verbose_shows_the_traceback(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"none\.yaml"):
            toy_stage.main(["--config", str(tmp_path / "none.yaml"), "-v"])
