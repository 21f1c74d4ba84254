"""The benchmark's own lines, on the tiny shape: weights, engines, rounds, fresh processes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.against_diffusers import main
from benchmarks.speed.clock import CpuClock
from benchmarks.speed.cold import read_answer
from benchmarks.speed.engine import STAGES, Task, prompts, select
from benchmarks.speed.kinds import CPU, GPU, kinds_of
from benchmarks.speed.ours import Ours, load_exact
from benchmarks.speed.peers import load_plain, load_tuned
from benchmarks.speed.record import read_record, write_record
from benchmarks.speed.shapes import Steps, find_shape
from benchmarks.speed.weights import INDEX, write_weights
from unclip.errors import BackendError, DataError

DEVICE = torch.device("cpu")
TASK = Task(prompts=prompts(0, 2), seed=3, steps=Steps(prior=3, decoder=25, super_res=7))
SHORT = Task(prompts=prompts(1, 1), seed=3, steps=Steps(prior=2, decoder=2, super_res=2))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("speed") / "tiny", find_shape("tiny"))


@pytest.fixture(scope="module")
def reference(folder: Path) -> np.ndarray:
    return load_plain(folder, DEVICE, torch.float32).paint(TASK, lambda: None)


def test_weights_are_karlo_s_layout_and_always_the_same(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index == INDEX
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(INDEX) - {
        "_class_name",
        "_diffusers_version",
    }
    again = write_weights(tmp_path / "again", find_shape("tiny"))
    name = "decoder/diffusion_pytorch_model.safetensors"
    assert (again / name).read_bytes() == (folder / name).read_bytes()
    weight = load_file(folder / name)["mid_block.resnets.0.conv1.weight"]
    assert weight.std() == pytest.approx((64 * 9) ** -0.5, rel=0.05)


def test_another_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = (folder / "model_index.json").stat().st_mtime_ns
    assert write_weights(folder, find_shape("tiny")) == folder
    assert (folder / "model_index.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="no weights of the shape small"):
        write_weights(folder, find_shape("small"))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="no weights of the shape tiny"):
        write_weights(tmp_path, find_shape("tiny"))


def test_pictures_are_in_range_and_hang_on_the_prompt(folder: Path, reference: np.ndarray) -> None:
    assert reference.shape == (2, 32, 32, 3)
    assert reference.dtype == np.float32
    assert 0.2 < reference.std() < 0.45
    other = replace(TASK, prompts=prompts(2, 2))
    away = load_plain(folder, DEVICE, torch.float32).paint(other, lambda: None) - reference
    assert np.linalg.norm(away) / np.linalg.norm(reference) > 0.02


@pytest.mark.parametrize(("name", "psnr"), [("U0", 90), ("U0-bf16", 30)])
def test_engines_paint_the_reference_s_pictures(
    folder: Path, reference: np.ndarray, name: str, psnr: float
) -> None:
    (kind,) = select(CPU, [name])
    clock = CpuClock()
    images = kind.open(folder, DEVICE).paint(TASK, clock.mark)
    assert len(clock.seconds()) == len(STAGES)
    assert all(seconds >= 0 for seconds in clock.seconds())
    assert -10 * np.log10(((images - reference) ** 2).mean()) > psnr


def test_a_draft_paints_by_the_preset(folder: Path) -> None:
    (kind,) = select(CPU, ["U1"])
    clock = CpuClock()
    images = kind.open(folder, DEVICE).paint(TASK, clock.mark)
    assert images.shape == (2, 32, 32, 3)
    assert len(clock.seconds()) == len(STAGES)


def test_one_call_is_the_stages(folder: Path) -> None:
    engine = load_exact(folder, DEVICE, torch.float32)
    assert isinstance(engine, Ours)
    np.testing.assert_allclose(engine.call(SHORT), engine.paint(SHORT, lambda: None), atol=1e-6)


def test_the_peer_is_whole_again_after_a_run(folder: Path) -> None:
    from diffusers.pipelines.deprecated.unclip import pipeline_unclip
    from diffusers.schedulers import scheduling_unclip

    modules = (pipeline_unclip, scheduling_unclip)
    before = [vars(module)["randn_tensor"] for module in modules]
    engine = load_plain(folder, DEVICE, torch.float32)
    engine.paint(SHORT, lambda: None)
    assert vars(pipeline_unclip)["F"] is torch.nn.functional
    assert [vars(module)["randn_tensor"] for module in modules] == before
    assert "set_timesteps" not in vars(engine.pipe.decoder_scheduler)


def test_the_tuned_peer_is_compiled(folder: Path) -> None:
    # Compiling takes minutes: here is only what is compiled, and how it lies in memory.
    pipe = load_tuned(folder, DEVICE, torch.float32).pipe
    for name in ("prior", "decoder", "super_res_first", "super_res_last"):
        assert isinstance(getattr(pipe, name), torch._dynamo.OptimizedModule)
    assert pipe.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_a_run_is_recorded_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.json"
    command = ["run", "--shape", "tiny", "--weights", str(folder), "--engines", "P0", "U0"]
    command += ["--quiet", "--out", str(path)]
    assert main([*command, "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "| P0 / U0 |" in said
    assert str(path) in said
    record = read_record(path)
    assert [row.name for row in record.rows] == ["P0", "U0"]
    assert all(row.compared.equal for row in record.rows)
    peer, ours = record.rows
    assert len(ours.calls) == len(STAGES)
    # The context's keys and all scale/shifts are computed once for all steps.
    assert ours.calls[2] < peer.calls[2]
    assert ours.call_seconds is not None
    assert ours.profile[0].share > 0.1
    assert not peer.profile
    assert len(record.rounds) == 1

    # What was measured stays; what is missing is measured.
    assert main([*command, "--rounds", "2"]) == 0
    longer = read_record(path)
    assert longer.rounds[:1] == record.rounds
    assert len(longer.rounds) == 2
    assert longer.rows == record.rows

    # A record of something else is not touched.
    other = replace(longer, about=replace(longer.about, commit="another"))
    write_record(path, other)
    capsys.readouterr()
    assert main([*command, "--rounds", "3"]) == 2
    assert "is of another run (another, P0, U0): give --again" in capsys.readouterr().err
    assert read_record(path) == other
    assert main(["table", str(path)]) == 0
    assert capsys.readouterr().out.startswith("|  | engine | text |")


def test_a_fresh_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["cold", "--engine", "U0", "--shape", "tiny", "--weights", str(folder)]
    assert main(command) == 0
    answer = capsys.readouterr().out
    cold = read_answer(f"a library's words\n{answer}", started=0.0, cuda=False)
    assert 0 < cold.ready_seconds < cold.image_seconds
    assert cold.peak_bytes > 1e8
    line = '{"ready_cpu": 1, "ready_at": 107, "image_cpu": 2, "image_at": 109, "peak_bytes": 3}'
    gpu = read_answer(line, started=100.0, cuda=True)
    assert (gpu.ready_seconds, gpu.image_seconds, gpu.peak_bytes) == (7, 9, 3)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--engines", "P9"], "--engines names P9, expected some of P0, P0-bf16, U0"),
        (["--engines", "U0"], "--engines has no P0"),
        (["--shape", "huge"], "expected one of tiny, small, karlo"),
    ],
)
def test_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    reason: str,
) -> None:
    command = ["run", "--shape", "tiny", "--weights", str(folder), "--out", str(tmp_path / "r")]
    assert main([*command, *more]) == 2
    assert reason in capsys.readouterr().err


def test_both_devices_have_the_engines_of_the_targets() -> None:
    assert [kind.name for kind in CPU] == ["P0", "P0-bf16", "U0", "U0-bf16", "U1"]
    assert [kind.name for kind in GPU] == ["P0", "P1", "U0", "U0-fp16", "U1"]
    assert kinds_of("cuda") is GPU
    with pytest.raises(BackendError, match="P7"):
        select(GPU, ["P7"])
