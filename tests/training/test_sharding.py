"""Sharded over two and three processes, networks learn what they learn whole in one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sharding_worker
import torch
from processes import TWO, finish, tensors
from safetensors.torch import load_file

Start = Callable[..., "subprocess.Popen[str]"]
WORKER = Path(sharding_worker.__file__)
THREE = (*TWO[:5], "3", *TWO[6:])


@pytest.mark.slow
def test_two_and_three_processes_are_one(tmp_path: Path, start_training: Start) -> None:
    """The prior, the decoder and CLIP: losses, gradients, norms, weights and averages."""
    whole, two, three = (tmp_path / f"{count}.safetensors" for count in (1, 2, 3))
    settings = "parallel=fsdp2"
    finish(start_training([sys.executable, str(WORKER), str(whole)]))
    finish(start_training([*TWO, str(WORKER), str(two), settings]))
    finish(start_training([*THREE, str(WORKER), str(three), settings, "recompute=true"]))
    expected = load_file(whole)
    for count, path in ((2, two), (3, three)):
        found = load_file(path)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if name.endswith(".held"):
                # Every process holds its share; what does not divide lies with the first ones.
                assert len(found[name]) == count
                assert found[name].max() < 1.1 * value.item() / count
                continue
            scale = max(1.0, value.abs().max().item())
            assert (found[name] - value).abs().max() <= 1e-5 * scale, (count, name)
    gradients = {
        name for name in expected if ".grad." in name and expected[name].abs().max() > 1e-4
    }
    assert len(gradients) > 100  # else nothing was compared


@pytest.mark.slow
def test_compiled_blocks_are_sharded(tmp_path: Path, start_training: Start) -> None:
    whole, two = tmp_path / "whole.safetensors", tmp_path / "two.safetensors"
    finish(start_training([sys.executable, str(WORKER), str(whole), "networks=prior"]))
    settings = ("parallel=fsdp2", "compile=true", "recompute=true", "networks=prior")
    finish(start_training([*TWO, str(WORKER), str(two), *settings]))
    found = load_file(two)
    for name, value in load_file(whole).items():
        if not name.endswith(".held"):
            assert (found[name] - value).abs().max() <= 1e-5 * max(1.0, value.abs().max()), name


@pytest.mark.slow
def test_a_run_goes_on_whole_or_in_parts(tmp_path: Path, start_toy: Start) -> None:
    """Six steps sharded over two processes, three by one, three sharded over three; one step of
    them is refused by all."""
    settings = ("train.precision=float32", "dropout=0", "nan_positions=[15]", "train.batch_size=6")
    one = start_toy(tmp_path / "one", "train.steps=12", *settings)
    parts = ("train.parallel=fsdp2", "train.recompute=true", "train.ema_every=5")
    output = finish(start_toy(tmp_path / "run", "train.steps=6", *settings, *parts, launcher=TWO))
    assert "1,187 parameters on 2 x cpu" in output
    assert output.count("step 3 (samples 12 to 17 of the stream) is not finite") == 1
    finish(start_toy(tmp_path / "run", "train.steps=9", *settings))
    output = finish(
        start_toy(tmp_path / "run", "train.steps=12", *settings, *parts, launcher=THREE)
    )
    assert "from step 9" in output
    finish(one)
    expected, found = tensors(tmp_path / "one", 12), tensors(tmp_path / "run", 12)
    for part, values in expected.items():
        assert found[part].keys() == values.keys()
        for name, value in values.items():
            assert torch.allclose(found[part][name], value, rtol=0, atol=1e-6), (part, name)
    final = [load_file(tmp_path / run / "final" / "model.safetensors") for run in ("one", "run")]
    for name, value in final[0].items():
        assert torch.allclose(final[1][name], value, rtol=0, atol=1e-6), name
    snapshots = sorted(path.name for path in (tmp_path / "run" / "ema" / "0.05").iterdir())
    assert snapshots == [f"step_{step:08d}" for step in (5, 6, 9, 10, 12)]
    assert (tmp_path / "run" / "samples" / "step_00000012.png").is_file()


@pytest.mark.slow
def test_one_process_has_nothing_to_shard_over(tmp_path: Path, start_toy: Start) -> None:
    output = finish(start_toy(tmp_path / "run", "train.parallel=fsdp2"), code=2)
    assert "train.parallel is fsdp2 in one process" in output
